//! The argument struct of a method, and the turn that runs it.

use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Ident, Path, Type};

use super::parse::{Interface, Method, Output};
use crate::names::{located, readable};

pub(super) struct MethodNames {
    /// The argument struct beside the trait.
    pub(super) arguments: Ident,
    /// Its name in the module.
    pub(super) pascal: Ident,
    /// How documentation shows it: in the module, if there is one.
    pub(super) shown: TokenStream,
}

impl Method {
    pub(super) fn names(&self, interface: &Interface) -> MethodNames {
        let arguments = format_ident!("__{}_{}", interface.name(), self.pascal, span = Span::call_site());
        let pascal = format_ident!("{}", self.pascal, span = Span::call_site());
        let shown = interface.shown(&pascal, &arguments);
        MethodNames { arguments, pascal, shown }
    }

    pub(super) fn expand(&self, index: usize, interface: &Interface) -> TokenStream {
        let (assertions, arguments) = (self.assertions(interface), self.arguments(interface));
        let (method, turn) = (self.method(index, interface), self.turn(interface));
        quote!(#assertions #arguments #method #turn)
    }

    /// One readable error at each argument that cannot travel.
    fn assertions(&self, interface: &Interface) -> TokenStream {
        let types = self.arguments.iter().map(|(_, ty)| ty);
        let assertions = types.map(|ty| {
            let span = ty.span();
            let grains = located(&interface.options.krate, span);
            quote_spanned!(span=> const _: () = #grains::assert_wire::<#ty>();)
        });
        quote!(#(#assertions)*)
    }

    fn arguments(&self, interface: &Interface) -> TokenStream {
        let vis = &interface.item.vis;
        let MethodNames { arguments, .. } = self.names(interface);
        let fields = self.arguments.iter().map(|(name, ty)| {
            let docs = format!("The argument `{}`.", name.unraw());
            quote! { #[doc = #docs] #vis #name: #ty, }
        });
        let docs = format!("The method [`{}::{}`]: its arguments.", interface.name(), self.ident);
        let body = if self.arguments.is_empty() { quote!(;) } else { quote!({ #(#fields)* }) };
        let serde = self.serde(interface);
        quote! {
            #[doc(hidden)]
            #[doc = #docs]
            #[allow(non_camel_case_types, unreachable_pub, dead_code, deprecated)]
            #vis struct #arguments #body

            #serde
        }
    }

    /// `Serialize` and `Deserialize`, through a generic twin of the struct: in the derived code no type is known, so a type
    /// that cannot travel has no errors there.
    fn serde(&self, interface: &Interface) -> TokenStream {
        let grains = &interface.options.krate;
        let MethodNames { arguments, pascal, .. } = self.names(interface);
        let serde = quote!(#grains::__private::serde);
        let (serde_path, renamed) = (readable(&serde), pascal.to_string());
        let names: Vec<_> = self.arguments.iter().map(|(name, _)| name).collect();
        let types: Vec<_> = self.arguments.iter().map(|(_, ty)| ty).collect();
        let holes = names.iter().map(|_| quote!(_));
        let params: Vec<_> = (0..names.len()).map(|index| format_ident!("T{index}")).collect();
        quote! {
            const _: () = {
                #[allow(unused_imports)]
                use #grains::__private::{Field, Unfit as _};

                #[derive(#serde::Serialize, #serde::Deserialize)]
                #[serde(crate = #serde_path, rename = #renamed)]
                struct Fields<#(#params),*> { #(#names: #params),* }

                #[automatically_derived]
                impl #serde::Serialize for #arguments {
                    fn serialize<S: #serde::Serializer>(&self, serializer: S) -> ::core::result::Result<S::Ok, S::Error> {
                        let fields = Fields { #(#names: Field::<#types>::write(&self.#names)),* };
                        #serde::Serialize::serialize(&fields, serializer)
                    }
                }

                #[automatically_derived]
                impl<'de> #serde::Deserialize<'de> for #arguments {
                    fn deserialize<D: #serde::Deserializer<'de>>(
                        deserializer: D,
                    ) -> ::core::result::Result<Self, D::Error> {
                        let fields: Fields<#(#holes),*> = #serde::Deserialize::deserialize(deserializer)?;
                        ::core::result::Result::Ok(Self { #(#names: Field::<#types>::read(fields.#names)),* })
                    }
                }
            };
        }
    }

    fn method(&self, index: usize, interface: &Interface) -> TokenStream {
        let (grains, marker) = (&interface.options.krate, interface.marker_name());
        let MethodNames { arguments, .. } = self.names(interface);
        let (ok, err) = self.outcome(grains);
        let span = self.output_span();
        let ok = quote_spanned!(span=> type Ok = #ok;);
        let err = quote_spanned!(span=> type Err = #err;);
        let (wire_id, name) = (self.wire_id, self.ident.unraw().to_string());
        let access = if self.exclusive { quote!(Exclusive) } else { quote!(Shared) };
        quote! {
            #[automatically_derived]
            impl #grains::Method for #arguments {
                type Interface = #marker;
                #ok
                #err
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
        let span = self.output_span();
        let here = located(grains, span);
        let (turn, grain) = if self.exclusive {
            (quote!(Exclusive), quote_spanned!(span=> &mut G))
        } else {
            (quote!(Shared), quote_spanned!(span=> &G))
        };
        let fields = self.arguments.iter().map(|(field, _)| quote_spanned!(span=> self.#field));
        let call = quote_spanned!(span=> <G as #player>::#name(grain, #(#fields),*));
        let body = match &self.output {
            Output::Result(ty) => quote_spanned! {span=>
                #[allow(unused_imports)]
                use #here::__private::Unfit as _;
                #here::__private::Field::<#ty>::turn(#call)
            },
            Output::Unit | Output::Plain(_) => quote_spanned!(span=> #here::__private::infallible(#call)),
        };
        // Spanned at the return type, and without `async` (which would change the span): so one mistake in it is one error.
        let run = quote_spanned! {span=>
            fn run(
                self,
                grain: #grain,
            ) -> impl ::core::future::Future<Output = #here::Reply<Self>> + ::core::marker::Send {
                #body
            }
        };
        quote! {
            #[automatically_derived]
            #[allow(deprecated, clippy::all, clippy::pedantic, clippy::nursery)]
            impl<G> #grains::#turn<G> for #arguments
            where
                G: #player + ::core::marker::Send + ::core::marker::Sync + 'static,
            {
                #run
            }
        }
    }

    /// Where the user wrote the return type.
    fn output_span(&self) -> Span {
        match &self.output {
            Output::Unit => Span::call_site(),
            Output::Plain(ty) | Output::Result(ty) => ty.span(),
        }
    }

    /// The types of the value and of the error.
    fn outcome(&self, grains: &Path) -> (TokenStream, TokenStream) {
        let never = quote!(#grains::Never);
        match &self.output {
            Output::Unit => (quote!(()), never),
            Output::Plain(ty) => (travels(grains, ty, &quote!(#ty)), never),
            Output::Result(ty) => {
                let span = ty.span();
                let here = located(grains, span);
                let part = |part| travels(grains, ty, &quote_spanned!(span=> <#ty as #here::IsResult>::#part));
                (part(quote_spanned!(span=> Ok)), part(quote_spanned!(span=> Err)))
            }
        }
    }
}

/// The type, which must be able to travel; an error stands at the type that the user wrote.
fn travels(grains: &Path, at: &Type, ty: &TokenStream) -> TokenStream {
    let span = at.span();
    let grains = located(grains, span);
    quote_spanned!(span=> <#ty as #grains::__private::Travels>::Of)
}
