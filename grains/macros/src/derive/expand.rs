//! The implementation of `Grain`.

use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{DeriveInput, Ident, Path};

use super::fields::{Field, Kind};
use super::options::{GrainOptions, Placement};
use super::states::states;
use crate::duration;
use crate::names::readable;

pub(super) fn expand(item: &DeriveInput, options: &GrainOptions, fields: &[Field]) -> TokenStream {
    let (grain, grains, key) = (&item.ident, &options.krate, &options.key);
    let (bodies, states) = (hosting(options), states(grains, fields));
    let build = build(grains, fields);
    let lifecycle = (!options.lifecycle).then(|| {
        quote! {
            #[automatically_derived]
            impl #grains::Lifecycle for #grain {}
        }
    });
    let same_type = same_type(item, options);
    quote! {
        #[automatically_derived]
        impl #grains::Grain for #grain {
            type Key = #key;
            #bodies
            #build
            #states
        }
        // The bound with a lifetime is assumed here and not checked, so that a mistake in the grain is told once.
        #[automatically_derived]
        impl #grains::__private::Keyed<#key> for #grain where for<'grain> Self: #grains::Grain<Key = #key> {}
        #lifecycle
        #same_type
    }
}

/// Its type, its options and its interfaces.
fn hosting(options: &GrainOptions) -> TokenStream {
    let grains = &options.krate;
    let grain_type =
        options.implements.first().map(|path| quote_spanned!(path.span()=> <Self as #path>::__gristmill_type()));
    let binder = local("binder");
    let bind =
        options.implements.iter().map(|path| quote_spanned!(path.span()=> <Self as #path>::__gristmill_bind(#binder);));
    let mut set = Vec::new();
    let mut option = |name: &str, value: TokenStream| {
        let name = Ident::new(name, Span::call_site());
        set.push(quote!(#name: #value,));
    };
    if let Some(mailbox) = options.mailbox {
        option("mailbox", quote!(#mailbox));
    }
    if let Some(idle) = options.idle {
        option("idle", optional(idle.map(duration::expr)));
    }
    if let Some(limit) = options.turn_limit {
        option("turn_limit", duration::expr(limit));
    }
    if let Some(inline) = options.inline {
        option("inline", quote!(#inline));
    }
    if options.keep_running {
        option("keep_running", quote!(true));
    }
    if let Some(workers) = options.stateless_workers {
        option("stateless_workers", optional(Some(quote!(#workers))));
    }
    if let Some(deny) = options.deny_dirty_calls {
        let choice = if deny { quote!(Deny) } else { quote!(Allow) };
        option("dirty_calls", quote!(#grains::DirtyCalls::#choice));
    }
    if let Some(placement) = &options.placement {
        let cow = quote!(::std::borrow::Cow::Borrowed);
        let choice = match placement {
            Placement::Plain(name) => {
                let name = format_ident!("{name}");
                quote!(#name)
            }
            Placement::Label(name, value) => quote!(Label { name: #cow(#name), value: #cow(#value) }),
            Placement::Custom(name) => quote!(Custom(#cow(#name))),
        };
        option("placement", quote!(#grains::Placement::#choice));
    }
    if options.several_storages {
        option("several_storages", quote!(true));
    }
    if options.strict {
        option("strict", quote!(true));
    }
    let default = quote!(<#grains::GrainOptions as ::core::default::Default>::default());
    let all = if set.is_empty() { default } else { quote!(#grains::GrainOptions { #(#set)* ..#default }) };
    quote! {
        fn grain_type() -> #grains::GrainType {
            #grain_type
        }

        #[allow(clippy::needless_update)]
        fn options() -> #grains::GrainOptions {
            #all
        }

        fn bind<B: #grains::Binder<Self>>(#binder: &mut B) {
            #(#bind)*
        }
    }
}

fn build(grains: &Path, fields: &[Field]) -> TokenStream {
    let mut index = 0usize;
    let mut used = false;
    let cx = local("cx");
    let values: Vec<_> = fields
        .iter()
        .map(|field| {
            let (ident, ty, span) = (&field.ident, &field.ty, field.ty.span());
            used |= !matches!(field.kind, Kind::Other);
            let value = match &field.kind {
                Kind::Context => quote_spanned!(span=> #cx.context()),
                Kind::Service => quote_spanned!(span=> #cx.service()?),
                Kind::State(_) => {
                    let value = quote_spanned!(span=> #cx.state::<#ty>(#index)?);
                    index += 1;
                    value
                }
                Kind::Other => quote_spanned!(span=> <#ty as ::core::default::Default>::default()),
            };
            quote!(#ident: #value,)
        })
        .collect();
    let cx = if used { quote!(#cx) } else { quote!(_) };
    quote! {
        fn build(#cx: &mut #grains::BuildContext<'_, Self>) -> ::core::result::Result<Self, #grains::BoxError> {
            ::core::result::Result::Ok(Self { #(#values)* })
        }
    }
}

/// The interfaces of one grain name one grain type.
fn same_type(item: &DeriveInput, options: &GrainOptions) -> TokenStream {
    let Some((first, others)) = options.implements.split_first() else { return TokenStream::new() };
    let checks = others.iter().map(|other| {
        let mut grain = item.ident.clone();
        grain.set_span(other.span());
        let message = format!(
            "`{}` and `{}` belong to different grain types: give both the same `#[grain_interface(grain = \"..\")]`",
            readable(first),
            readable(other)
        );
        quote_spanned! {other.span()=>
            const _: () = {
                let (a, b) = (<#grain as #first>::__GRISTMILL_GRAIN, <#grain as #other>::__GRISTMILL_GRAIN);
                let (a, b) = (a.as_bytes(), b.as_bytes());
                let (mut same, mut at) = (a.len() == b.len(), 0);
                while same && at < a.len() {
                    same = a[at] == b[at];
                    at += 1;
                }
                ::core::assert!(same, #message);
            };
        }
    });
    quote!(#(#checks)*)
}

/// A name that parts with different spans share: the same hygiene in all of them.
pub(super) fn local(name: &str) -> Ident {
    Ident::new(name, Span::call_site())
}

pub(super) fn optional(value: Option<TokenStream>) -> TokenStream {
    match value {
        Some(value) => quote!(::core::option::Option::Some(#value)),
        None => quote!(::core::option::Option::None),
    }
}
