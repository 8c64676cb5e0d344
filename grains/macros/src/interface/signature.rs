//! Reads a method's signature.

use proc_macro2::TokenStream;
use quote::quote;
use syn::ext::IdentExt;
use syn::{FnArg, Ident, LitStr, Pat, Receiver, ReturnType, TraitItemFn, Type};

use super::parse::{Method, Output};
use super::types;
use crate::errors::Errors;
use crate::names::{fnv1a, is_wire_name, pascal_case, ungrouped};

/// The method; `None`, and every reason noted, if it cannot be one.
pub(super) fn method(function: &TraitItemFn, wire_name: Option<LitStr>, errors: &mut Errors) -> Option<Method> {
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
    let arguments = arguments(function, errors);
    fine &= arguments.is_some();
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
    let arguments = arguments.filter(|_| fine)?;
    Some(Method { ident, pascal: pascal_case(&name), wire_id, exclusive, arguments, output, docs })
}

/// The arguments; `None`, and every reason noted, if one cannot travel.
fn arguments(function: &TraitItemFn, errors: &mut Errors) -> Option<Vec<(Ident, Type)>> {
    let mut fine = true;
    let mut arguments = Vec::new();
    for input in &function.sig.inputs {
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
    fine.then_some(arguments)
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
    let Type::Path(path) = ungrouped(ty) else { return false };
    path.path.segments.last().is_some_and(|segment| segment.ident.to_string().ends_with("Result"))
}
