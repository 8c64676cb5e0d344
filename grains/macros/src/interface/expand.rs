//! The trait, its marker type, and the module that names the argument structs.

use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::{Ident, ItemTrait, ReturnType, TraitItem, Visibility, parse_quote};

use super::method::MethodNames;
use super::parse::Interface;
use crate::names::snake_case;

impl Interface {
    pub(super) fn expand(&self) -> TokenStream {
        let methods = self.methods.iter().enumerate().map(|(index, method)| method.expand(index, self));
        let item = self.trait_item();
        let (marker, reference, module) = (self.marker(), self.reference(), self.module());
        quote! {
            #(#methods)*
            #item
            #marker
            #reference
            #module
        }
    }

    /// `Player`.
    pub(super) fn name(&self) -> String {
        self.item.ident.unraw().to_string()
    }

    /// The marker type that the module shows as `Interface`.
    pub(super) fn marker_name(&self) -> Ident {
        format_ident!("__{}_Interface", self.name(), span = Span::call_site())
    }

    fn module_name(&self) -> Ident {
        format_ident!("{}_methods", snake_case(&self.name()), span = Span::call_site())
    }

    /// A generated type, as documentation shows it: by its name in the module, if there is one.
    pub(super) fn shown(&self, in_module: &Ident, beside: &Ident) -> TokenStream {
        let module = self.module_name();
        if self.options.local { quote!(#beside) } else { quote!(#module::#in_module) }
    }

    fn grain_type(&self) -> String {
        self.options.grain.as_ref().map_or_else(|| snake_case(&self.name()), syn::LitStr::value)
    }

    fn trait_item(&self) -> ItemTrait {
        let mut item = self.item.clone();
        for entry in &mut item.items {
            let TraitItem::Fn(function) = entry else { continue };
            if function.sig.asyncness.is_none() || function.default.is_some() {
                continue;
            }
            function.sig.asyncness = None;
            let output = match &function.sig.output {
                ReturnType::Default => quote!(()),
                ReturnType::Type(_, ty) => quote!(#ty),
            };
            let span = function.sig.ident.span();
            let send = quote_spanned!(span=> ::core::marker::Send);
            function.sig.output = parse_quote!(-> impl ::core::future::Future<Output = #output> + #send);
        }
        let (grains, key, marker, grain) =
            (&self.options.krate, &self.options.key, self.marker_name(), self.grain_type());
        let bind = self.methods.iter().map(|method| {
            let MethodNames { arguments, .. } = method.names(self);
            if method.exclusive {
                quote!(binder.exclusive::<#arguments>();)
            } else {
                quote!(binder.shared::<#arguments>();)
            }
        });
        item.items.push(parse_quote! {
            #[doc(hidden)]
            const __GRISTMILL_GRAIN: &'static str = #grain;
        });
        item.items.push(parse_quote! {
            #[doc(hidden)]
            fn __gristmill_type() -> #grains::GrainType
            where
                Self: ::core::marker::Sized,
            {
                #grains::GrainType::new(#grain)
            }
        });
        item.items.push(parse_quote! {
            #[doc(hidden)]
            fn __gristmill_bind<B: #grains::Binder<Self>>(binder: &mut B)
            where
                Self: #grains::__private::Keyed<#key>,
            {
                binder.interface::<#marker>();
                #(#bind)*
            }
        });
        let message = format!("`{{Self}}` does not implement the grain interface `{}`", self.name());
        let note = format!("write `impl {} for {{Self}}`, with an `async fn` for each method", self.name());
        item.attrs.push(parse_quote!(#[allow(async_fn_in_trait, clippy::too_many_arguments)]));
        item.attrs.push(parse_quote!(#[diagnostic::on_unimplemented(message = #message, note = #note)]));
        item
    }

    fn marker(&self) -> TokenStream {
        let (grains, key, vis, marker) = (&self.options.krate, &self.options.key, &self.item.vis, self.marker_name());
        let (trait_name, grain) = (self.name(), self.grain_type());
        let name = self.options.name.as_ref().map_or_else(|| snake_case(&trait_name), syn::LitStr::value);
        let docs = format!("The grain interface [`{trait_name}`], as a type.");
        quote! {
            #[doc(hidden)]
            #[doc = #docs]
            #[allow(non_camel_case_types, unreachable_pub, dead_code, clippy::exhaustive_structs)]
            #vis struct #marker;

            #[automatically_derived]
            impl #grains::Interface for #marker {
                type Key = #key;
                const NAME: &'static str = #name;
                const GRAIN: &'static str = #grain;
            }
        }
    }

    /// The module in which users find what is generated; the types themselves stand beside the trait, where the names in
    /// the methods' signatures mean what they mean to the user.
    fn module(&self) -> TokenStream {
        if self.options.local {
            return TokenStream::new();
        }
        let trait_name = self.name();
        let module = self.module_name();
        let (vis, inner) = (&self.item.vis, one_deeper(&self.item.vis));
        let marker = self.marker_name();
        let methods = self.methods.iter().map(|method| {
            let MethodNames { arguments, pascal, .. } = method.names(self);
            quote! {
                #[doc(inline)]
                #inner use super::#arguments as #pascal;
            }
        });
        let docs =
            format!("The methods of [`{trait_name}`] as types: what filters, tests and generic code name them by.");
        quote! {
            #[doc = #docs]
            #[allow(unused_imports, unreachable_pub)]
            #vis mod #module {
                #[doc(inline)]
                #inner use super::#marker as Interface;
                #(#methods)*
            }
        }
    }
}

/// The same visibility, as it is written in a child module.
fn one_deeper(vis: &Visibility) -> Visibility {
    let Visibility::Restricted(restricted) = vis else {
        return match vis {
            Visibility::Inherited => parse_quote!(pub(super)),
            _ => vis.clone(),
        };
    };
    let path = &restricted.path;
    match path.segments.first() {
        Some(first) if first.ident == "self" => parse_quote!(pub(super)),
        Some(first) if first.ident == "super" => parse_quote!(pub(in super::#path)),
        _ => vis.clone(),
    }
}
