//! Reads the trait.

use std::collections::BTreeMap;

use proc_macro2::TokenStream;
use quote::quote;
use syn::ext::IdentExt;
use syn::{
    Attribute, FnArg, Ident, ItemTrait, LitStr, Pat, PatWild, Receiver, ReturnType, TraitItem, TraitItemFn, Type,
};

use super::options::InterfaceOptions;
use super::types;
use crate::errors::Errors;
use crate::names::{fnv1a, is_wire_name, pascal_case};
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
        if let Some(method) = method(function, wire_name, errors)
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

/// The method; `None`, and every reason noted, if it cannot be one.
fn method(function: &TraitItemFn, wire_name: Option<LitStr>, errors: &mut Errors) -> Option<Method> {
    let TraitItemFn { attrs, sig, default, .. } = function;
    let mut fine = true;
    let mut refuse = |tokens: TokenStream, message: &str| {
        errors.at(tokens, message);
        fine = false;
    };
    for attribute in attrs.iter().filter(|attr| attr.path().is_ident("cfg") || attr.path().is_ident("cfg_attr")) {
        refuse(quote!(#attribute), "a grain method cannot be conditional: silos would disagree on the interface");
    }
    if sig.asyncness.is_none() {
        let keyword = &sig.fn_token;
        refuse(quote!(#keyword), "a grain method is an `async fn`: its caller always waits");
    }
    let (constness, unsafety, abi) = (&sig.constness, &sig.unsafety, &sig.abi);
    if constness.is_some() || unsafety.is_some() || abi.is_some() {
        refuse(quote!(#constness #unsafety #abi), "a grain method is a plain `async fn`");
    }
    if !sig.generics.params.is_empty() || sig.generics.where_clause.is_some() {
        let (params, bounds) = (&sig.generics.params, &sig.generics.where_clause);
        refuse(quote!(#params #bounds), "a grain method cannot be generic: its arguments travel as one known type");
    }
    if let Some(body) = default {
        refuse(quote!(#body), "a grain method has no body here: the grain's `impl` has it");
    }
    let exclusive = match sig.inputs.first() {
        Some(FnArg::Receiver(receiver)) => exclusive(receiver, &mut refuse),
        _ => {
            let name = &sig.ident;
            refuse(quote!(#name), "a grain method takes `&self` (it reads) or `&mut self` (it may change the grain)");
            false
        }
    };
    let mut arguments = Vec::new();
    for input in &sig.inputs {
        let FnArg::Typed(input) = input else { continue };
        if let Some(attribute) = input.attrs.first() {
            errors.at(attribute, "an argument of a grain method takes no attributes");
            fine = false;
        }
        fine &= types::check(&input.ty, errors);
        match &*input.pat {
            Pat::Ident(name) if name.by_ref.is_none() && name.mutability.is_none() && name.subpat.is_none() => {
                arguments.push((name.ident.clone(), (*input.ty).clone()));
            }
            pattern => {
                errors.at(pattern, "an argument of a grain method is a plain name: callers see it as a field");
                fine = false;
            }
        }
    }
    let output = match &sig.output {
        ReturnType::Default => Output::Unit,
        ReturnType::Type(_, ty) => {
            fine &= types::check(ty, errors);
            if is_named_result(ty) { Output::Result((**ty).clone()) } else { Output::Plain((**ty).clone()) }
        }
    };
    let name = sig.ident.unraw().to_string();
    if wire_name.is_none() && !is_wire_name(&name) {
        errors.at(&sig.ident, "this name is not ASCII: give a wire name with `#[method(id = \"..\")]`");
        fine = false;
    }
    let wire_id = fnv1a(&wire_name.map_or_else(|| name.clone(), |name| name.value()));
    let docs = attrs.iter().filter(|attr| attr.path().is_ident("doc") || attr.path().is_ident("deprecated"));
    let (ident, docs) = (sig.ident.clone(), docs.cloned().collect());
    fine.then(|| Method { ident, pascal: pascal_case(&name), wire_id, exclusive, arguments, output, docs })
}

fn exclusive(receiver: &Receiver, refuse: &mut impl FnMut(TokenStream, &str)) -> bool {
    let tokens = quote!(#receiver);
    if receiver.colon_token.is_some() || receiver.reference.is_none() {
        refuse(tokens, "a grain stays in its silo: take `&self` (it reads) or `&mut self` (it may change the grain)");
    } else if receiver.lifetime().is_some() {
        refuse(tokens, "a grain method cannot be generic in a lifetime: take `&self` or `&mut self`");
    }
    receiver.mutability.is_some()
}

fn is_named_result(ty: &Type) -> bool {
    let Type::Path(path) = ty else { return false };
    path.path.segments.last().is_some_and(|segment| segment.ident.to_string().ends_with("Result"))
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
