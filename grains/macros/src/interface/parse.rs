//! Reads the trait.

use std::collections::BTreeMap;

use quote::quote;
use syn::ext::IdentExt;
use syn::{Attribute, FnArg, Ident, ItemTrait, LitStr, Pat, PatWild, TraitItem, TraitItemFn, Type};

use super::options::InterfaceOptions;
use super::signature;
use crate::errors::Errors;
use crate::options::Options;

pub(super) struct Interface {
    pub(super) options: InterfaceOptions,
    /// The trait as the user wrote it, `#[method]` attributes taken off.
    pub(super) item: ItemTrait,
    pub(super) methods: Vec<Method>,
}

pub(super) struct Method {
    pub(super) ident: Ident,
    /// `TakeDamage`.
    pub(super) pascal: String,
    pub(super) wire_id: u32,
    /// `&mut self`?
    pub(super) exclusive: bool,
    pub(super) arguments: Vec<(Ident, Type)>,
    pub(super) output: Output,
    /// Documentation and deprecation.
    pub(super) docs: Vec<Attribute>,
}

pub(super) enum Output {
    Unit,
    Plain(Type),
    /// Named `..Result`.
    Result(Type),
}

/// The interface; or the trait, if it cannot be one at all.
pub(super) fn parse(
    mut item: ItemTrait,
    options: InterfaceOptions,
    errors: &mut Errors,
) -> Result<Interface, Box<ItemTrait>> {
    let generics = &item.generics;
    if !generics.params.is_empty() || generics.where_clause.is_some() {
        let (params, bounds) = (&generics.params, &generics.where_clause);
        errors.at(quote!(#params #bounds), "a grain interface cannot be generic: its methods travel by name");
        return Err(Box::new(item));
    }
    if let Some(unsafety) = &item.unsafety {
        errors.at(unsafety, "a grain interface cannot be unsafe");
        return Err(Box::new(item));
    }
    let mut methods = Vec::new();
    let mut names = Names::default();
    for entry in &mut item.items {
        let TraitItem::Fn(function) = entry else {
            errors.at(&*entry, "a grain interface has methods only: a constant or type cannot travel in a call");
            continue;
        };
        let wire_name = take_method_options(function, errors);
        if let Some(method) = signature::method(function, wire_name, errors)
            && names.claim(function, &method, errors)
        {
            methods.push(method);
        }
        forget_patterns(function);
    }
    Ok(Interface { options, item, methods })
}

/// A pattern is refused here; the compiler need not refuse it again.
fn forget_patterns(function: &mut TraitItemFn) {
    for input in &mut function.sig.inputs {
        if let FnArg::Typed(input) = input
            && !matches!(&*input.pat, Pat::Ident(name) if name.subpat.is_none())
        {
            *input.pat = Pat::Wild(PatWild { attrs: Vec::new(), underscore_token: Default::default() });
        }
    }
}

/// What `#[method(..)]` says; the attribute is taken off.
fn take_method_options(function: &mut TraitItemFn, errors: &mut Errors) -> Option<LitStr> {
    let mut id = None;
    let mut options = Options::new("method", &["id"], errors);
    function.attrs.retain(|attribute| {
        if !attribute.path().is_ident("method") {
            return true;
        }
        let parsed = attribute.parse_nested_meta(|meta| {
            if options.name(&meta)?.is_some() {
                id = options.wire_name(&meta)?;
            }
            Ok(())
        });
        options.errors.ok(parsed);
        false
    });
    id
}

/// The names that the methods have taken so far.
#[derive(Default)]
struct Names {
    wire_ids: BTreeMap<u32, Ident>,
    pascal: BTreeMap<String, Ident>,
}

impl Names {
    fn claim(&mut self, function: &TraitItemFn, method: &Method, errors: &mut Errors) -> bool {
        let name = &method.ident;
        if let Some(other) = self.wire_ids.insert(method.wire_id, name.clone()) {
            let message = format!(
                "`{name}` has the wire id of `{other}` ({:#010x}): give one of them another `#[method(id = \"..\")]`",
                method.wire_id
            );
            errors.at(name, message);
            return false;
        }
        if matches!(method.pascal.as_str(), "Interface") {
            errors.at(name, "the arguments of this method would be named `Interface`, as the interface is: rename it");
            return false;
        }
        if matches!(name.unraw().to_string().as_str(), "key" | "id") {
            errors.at(name, "the reference type has a method of this name already: rename it");
            return false;
        }
        if let Some(other) = self.pascal.insert(method.pascal.clone(), function.sig.ident.clone()) {
            let message =
                format!("its arguments would be named `{}`, like those of `{other}`: rename it", method.pascal);
            errors.at(name, message);
            return false;
        }
        true
    }
}
