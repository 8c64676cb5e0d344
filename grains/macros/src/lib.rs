//! The macros of Gristmill: `#[grain_interface]` and `#[derive(Grain)]`.

mod derive;
mod duration;
mod errors;
mod interface;
mod names;
mod options;

use proc_macro::TokenStream;

/// Makes a trait a grain interface.
#[proc_macro_attribute]
pub fn grain_interface(options: TokenStream, item: TokenStream) -> TokenStream {
    interface::expand(options.into(), item.into()).into()
}

/// Makes a struct a grain.
#[proc_macro_derive(Grain, attributes(grain, state, service))]
pub fn derive_grain(item: TokenStream) -> TokenStream {
    derive::expand(item.into()).into()
}
