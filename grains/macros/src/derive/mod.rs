//! `#[derive(Grain)]`.
//!
//! - [`options`][]: `#[grain(..)]`.
//! - [`fields`][]: the fields, `#[state(..)]` and `#[service]`.
//! - [`expand`][]: the implementation; [`states`][]: its state.

mod expand;
mod fields;
mod options;
mod states;

use proc_macro2::TokenStream;
use syn::{Data, DeriveInput, Fields};

use crate::errors::Errors;

pub(crate) fn expand(item: TokenStream) -> TokenStream {
    let mut errors = Errors::default();
    let expanded = syn::parse2(item).map(|item| derive(&item, &mut errors));
    let expanded = errors.ok(expanded).unwrap_or_default();
    let errors = errors.into_tokens();
    quote::quote!(#errors #expanded)
}

fn derive(item: &DeriveInput, errors: &mut Errors) -> TokenStream {
    let options = options::parse(item, errors);
    if !item.generics.params.is_empty() {
        errors.at(&item.generics, "a grain cannot be generic: its type has one name in the cluster");
        return TokenStream::new();
    }
    let fields = match &item.data {
        Data::Struct(data) if !matches!(data.fields, Fields::Unnamed(_)) => fields::parse(&data.fields, errors),
        Data::Struct(data) => {
            errors.at(&data.fields, "a grain's fields have names: `#[state]` records are stored under them");
            return TokenStream::new();
        }
        _ => {
            errors.at(&item.ident, "a grain is a struct");
            return TokenStream::new();
        }
    };
    options.map(|options| expand::expand(item, &options, &fields)).unwrap_or_default()
}
