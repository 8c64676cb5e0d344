//! Options in attributes: `name = value`, flags, and lists.

use syn::ext::IdentExt;
use syn::meta::ParseNestedMeta;
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::{LitStr, Path, Token, parenthesized};

use crate::errors::Errors;
use crate::names::is_wire_name;

/// The options of one attribute while they are read: notes unknown and repeated ones.
pub(crate) struct Options<'a> {
    attribute: &'static str,
    known: &'static [&'static str],
    seen: Vec<String>,
    pub(crate) errors: &'a mut Errors,
}

impl<'a> Options<'a> {
    pub(crate) fn new(attribute: &'static str, known: &'static [&'static str], errors: &'a mut Errors) -> Self {
        Self { attribute, known, seen: Vec::new(), errors }
    }

    /// The name of the option, if it is a known one; otherwise its value is skipped, the error noted.
    pub(crate) fn name(&mut self, meta: &ParseNestedMeta<'_>) -> syn::Result<Option<String>> {
        let name = meta.path.get_ident().map(|name| name.unraw().to_string()).unwrap_or_default();
        let known = self.known.contains(&name.as_str());
        if !known {
            let known = self.known.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
            let shown = crate::names::readable(&meta.path);
            self.errors.at(&meta.path, format!("`{}` has no option `{shown}`; it has {known}", self.attribute));
        } else if self.seen.contains(&name) {
            self.errors.at(&meta.path, format!("`{name}` is given twice"));
        } else {
            self.seen.push(name.clone());
            return Ok(Some(name));
        }
        skip(meta.input)?;
        Ok(None)
    }

    /// `= "wire-name"`.
    pub(crate) fn wire_name(&mut self, meta: &ParseNestedMeta<'_>) -> syn::Result<Option<LitStr>> {
        let text: LitStr = meta.value()?.parse()?;
        if is_wire_name(&text.value()) {
            return Ok(Some(text));
        }
        self.errors.at(&text, "a wire name is made of ASCII letters, digits, `_`, `-` and `.`");
        Ok(None)
    }

    /// `= value`.
    pub(crate) fn value<T: Parse>(&mut self, meta: &ParseNestedMeta<'_>) -> syn::Result<T> {
        meta.value()?.parse()
    }

    /// `= path`, which may begin with a keyword, as in `crate::grains`.
    pub(crate) fn path(&mut self, meta: &ParseNestedMeta<'_>) -> syn::Result<Path> {
        meta.value()?.call(Path::parse_mod_style)
    }

    /// `(A, b::B)`.
    pub(crate) fn list<T: Parse>(&mut self, meta: &ParseNestedMeta<'_>) -> syn::Result<Vec<T>> {
        let list;
        parenthesized!(list in meta.input);
        Ok(Punctuated::<T, Token![,]>::parse_terminated(&list)?.into_iter().collect())
    }

    /// One of these texts; gives its place among them.
    pub(crate) fn one_of(&mut self, meta: &ParseNestedMeta<'_>, texts: &[&str]) -> syn::Result<Option<usize>> {
        let text: LitStr = meta.value()?.parse()?;
        let place = texts.iter().position(|known| *known == text.value());
        if place.is_none() {
            let known = texts.iter().map(|text| format!("{text:?}")).collect::<Vec<_>>().join(" or ");
            self.errors.at(&text, format!("expected {known}"));
        }
        Ok(place)
    }
}

fn skip(input: ParseStream<'_>) -> syn::Result<()> {
    while !input.is_empty() && !input.peek(Token![,]) {
        input.parse::<proc_macro2::TokenTree>()?;
    }
    Ok(())
}
