//! What stands in the parentheses of `#[grain_interface(..)]`.

use proc_macro2::{Span, TokenStream};
use syn::parse::Parser;
use syn::{LitStr, Path, Type, parse_quote};

use crate::errors::Errors;
use crate::names::located;
use crate::options::Options;

pub(super) struct InterfaceOptions {
    /// The grain type's wire name.
    pub(super) grain: Option<LitStr>,
    /// The interface's wire name.
    pub(super) name: Option<LitStr>,
    pub(super) key: Type,
    /// Where the grains crate is found.
    pub(super) krate: Path,
    /// Is the module of methods left out?
    pub(super) local: bool,
}

pub(super) fn parse(tokens: TokenStream, errors: &mut Errors) -> InterfaceOptions {
    let (mut grain, mut name, mut key, mut krate, mut local) = (None, None, None, None, false);
    let mut options = Options::new("grain_interface", &["grain", "name", "key", "local", "crate"], errors);
    let parser = syn::meta::parser(|meta| {
        match options.name(&meta)?.as_deref() {
            Some("grain") => grain = options.wire_name(&meta)?,
            Some("name") => name = options.wire_name(&meta)?,
            Some("key") => key = Some(options.value(&meta)?),
            Some("crate") => krate = Some(located(&options.path(&meta)?, Span::call_site())),
            Some("local") => local = true,
            _ => {}
        }
        Ok(())
    });
    let parsed = parser.parse2(tokens);
    errors.ok(parsed);
    let krate = krate.unwrap_or_else(|| parse_quote!(::gristmill::grains));
    let key = key.unwrap_or_else(|| parse_quote!(#krate::StrKey));
    InterfaceOptions { grain, name, key, krate, local }
}
