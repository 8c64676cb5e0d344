//! The argument struct of a method, and the turn that runs it.

use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Ident, Type};

use super::parse::{Interface, Method, Output};

pub(super) struct MethodNames {
    /// The argument struct beside the trait.
    pub(super) arguments: Ident,
    /// Its name in the module.
    pub(super) pascal: Ident,
}

impl Method {
    pub(super) fn names(&self, interface: &Interface) -> MethodNames {
        MethodNames {
            arguments: format_ident!("__{}_{}", interface.name(), self.pascal, span = Span::call_site()),
            pascal: format_ident!("{}", self.pascal, span = Span::call_site()),
        }
    }

    pub(super) fn expand(&self, index: usize, interface: &Interface) -> TokenStream {
        let (assertions, arguments) = (self.assertions(interface), self.arguments(interface));
        let (method, turn) = (self.method(index, interface), self.turn(interface));
        quote!(#assertions #arguments #method #turn)
    }

    /// One readable error at each type that cannot travel.
    fn assertions(&self, interface: &Interface) -> TokenStream {
        let grains = &interface.options.krate;
        let types = self.arguments.iter().map(|(_, ty)| ty);
        let assertions = types.map(|ty| quote_spanned!(ty.span()=> const _: () = #grains::assert_wire::<#ty>();));
        quote!(#(#assertions)*)
    }

    fn arguments(&self, interface: &Interface) -> TokenStream {
        let (grains, vis) = (&interface.options.krate, &interface.item.vis);
        let MethodNames { arguments, pascal } = self.names(interface);
        let serde = quote!(#grains::__private::serde);
        let serde_path = crate::names::readable(&serde);
        let fields = self.arguments.iter().map(|(name, ty)| {
            let docs = format!("The argument `{}`.", name.unraw());
            quote! { #[doc = #docs] #vis #name: #ty, }
        });
        let docs = format!("The method [`{}::{}`]: its arguments.", interface.name(), self.ident);
        let renamed = pascal.to_string();
        let body = if self.arguments.is_empty() { quote!(;) } else { quote!({ #(#fields)* }) };
        quote! {
            #[doc = #docs]
            #[derive(#serde::Serialize, #serde::Deserialize)]
            #[serde(crate = #serde_path, rename = #renamed)]
            #[allow(non_camel_case_types, unreachable_pub, dead_code, deprecated)]
            #vis struct #arguments #body
        }
    }

    fn method(&self, index: usize, interface: &Interface) -> TokenStream {
        let (grains, marker) = (&interface.options.krate, interface.marker_name());
        let MethodNames { arguments, .. } = self.names(interface);
        let (ok, err) = self.outcome(grains);
        let (wire_id, name) = (self.wire_id, self.ident.unraw().to_string());
        let access = if self.exclusive { quote!(Exclusive) } else { quote!(Shared) };
        quote! {
            #[automatically_derived]
            impl #grains::Method for #arguments {
                type Interface = #marker;
                type Ok = #ok;
                type Err = #err;
                const INDEX: usize = #index;
                const WIRE_ID: u32 = #wire_id;
                const NAME: &'static str = #name;
                const ACCESS: #grains::Access = #grains::Access::#access;
            }
        }
    }

    fn turn(&self, interface: &Interface) -> TokenStream {
        let (grains, player, name) = (&interface.options.krate, &interface.item.ident, &self.ident);
        let MethodNames { arguments, .. } = self.names(interface);
        let (turn, grain) =
            if self.exclusive { (quote!(Exclusive), quote!(&mut G)) } else { (quote!(Shared), quote!(&G)) };
        let fields = self.arguments.iter().map(|(field, _)| quote!(self.#field));
        let name = Ident::new(&name.to_string(), Span::call_site());
        let call = quote!(<G as #player>::#name(grain, #(#fields),*).await);
        let body = match &self.output {
            Output::Result(ty) => quote!(<#ty as #grains::IsResult>::into_result(#call)),
            _ => quote!(::core::result::Result::Ok(#call)),
        };
        quote! {
            #[automatically_derived]
            #[allow(deprecated)]
            impl<G> #grains::#turn<G> for #arguments
            where
                G: #player + ::core::marker::Send + ::core::marker::Sync + 'static,
            {
                async fn run(self, grain: #grain) -> #grains::Reply<Self> {
                    #body
                }
            }
        }
    }

    /// The types of the value and of the error.
    pub(super) fn outcome(&self, grains: &syn::Path) -> (TokenStream, TokenStream) {
        let never = quote!(#grains::Never);
        let part = |ty: &Type, part: &str| {
            let part = Ident::new(part, ty.span());
            quote_spanned!(ty.span()=> <#ty as #grains::IsResult>::#part)
        };
        match &self.output {
            Output::Unit => (quote!(()), never),
            Output::Plain(ty) => (quote!(#ty), never),
            Output::Result(ty) => (part(ty, "Ok"), part(ty, "Err")),
        }
    }
}
