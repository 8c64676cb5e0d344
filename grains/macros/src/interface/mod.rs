//! `#[grain_interface]`.
//!
//! - [`options`][]: what stands in the attribute's parentheses.
//! - [`parse`][]: reads the trait; a method that cannot be one is noted and left out.
//! - [`signature`][]: reads a method.
//! - [`types`][]: what argument and return types may not be.
//! - [`expand`][]: the trait, its marker and the module; [`method`][]: argument structs; [`reference`][]: `PlayerRef`.

mod expand;
mod method;
mod options;
mod parse;
mod reference;
mod signature;
mod types;

use proc_macro2::TokenStream;
use quote::quote;
use syn::ItemTrait;

use crate::errors::Errors;

pub(crate) fn expand(options: TokenStream, item: TokenStream) -> TokenStream {
    let item: ItemTrait = match syn::parse2(item.clone()) {
        Ok(item) => item,
        Err(error) => {
            let error = syn::Error::new(error.span(), format!("`#[grain_interface]` belongs on a trait: {error}"));
            let error = error.into_compile_error();
            return quote!(#error #item);
        }
    };
    let mut errors = Errors::default();
    let options = options::parse(options, &mut errors);
    let expanded = match parse::parse(item, options, &mut errors) {
        Ok(interface) => interface.expand(),
        Err(item) => quote!(#item),
    };
    let errors = errors.into_tokens();
    quote!(#errors #expanded)
}
