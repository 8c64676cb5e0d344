//! The reference type, such as `PlayerRef`.

use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote};
use syn::{GenericArgument, Ident, PathArguments, Type};

use super::method::MethodNames;
use super::parse::{Interface, Method, Output};
use crate::names::{readable, ungrouped};

impl Interface {
    pub(super) fn reference(&self) -> TokenStream {
        let (grains, vis, marker, key) = (&self.options.krate, &self.item.vis, self.shown_marker(), &self.options.key);
        let trait_name = self.name();
        let name = format_ident!("{trait_name}Ref", span = Span::call_site());
        let methods = self.methods.iter().map(|method| method.call(self));
        let docs = format!(
            "A reference to a grain that implements [`{trait_name}`]: its key, never a channel, so it cannot go stale. \
             Cheap to clone; an argument, a result or a field of stored state."
        );
        let traits = self.reference_traits(&name);
        quote! {
            #[doc = #docs]
            #[allow(unreachable_pub, dead_code)]
            #vis struct #name(#grains::GrainRef<#marker>);

            #[automatically_derived]
            #[allow(unreachable_pub, dead_code, clippy::too_many_arguments, clippy::must_use_candidate)]
            impl #name {
                /// The grain's key.
                #vis fn key(&self) -> &#key {
                    self.0.key()
                }

                /// The grain.
                #vis fn id(&self) -> #grains::GrainId {
                    self.0.id()
                }

                #(#methods)*
            }

            #traits
        }
    }

    fn shown_marker(&self) -> TokenStream {
        self.shown(&Ident::new("Interface", Span::call_site()), &self.marker_name())
    }

    fn reference_traits(&self, name: &Ident) -> TokenStream {
        let (grains, marker) = (&self.options.krate, self.shown_marker());
        let serde = quote!(#grains::__private::serde);
        quote! {
            #[automatically_derived]
            impl #grains::InterfaceRef for #name {
                type Interface = #marker;

                fn from_ref(grain: #grains::GrainRef<#marker>) -> Self {
                    Self(grain)
                }

                fn as_ref(&self) -> &#grains::GrainRef<#marker> {
                    &self.0
                }
            }

            #[automatically_derived]
            impl ::core::clone::Clone for #name {
                fn clone(&self) -> Self {
                    Self(::core::clone::Clone::clone(&self.0))
                }
            }

            #[automatically_derived]
            impl ::core::cmp::PartialEq for #name {
                fn eq(&self, other: &Self) -> bool {
                    self.0 == other.0
                }
            }

            #[automatically_derived]
            impl ::core::cmp::Eq for #name {}

            #[automatically_derived]
            impl ::core::hash::Hash for #name {
                fn hash<H: ::core::hash::Hasher>(&self, state: &mut H) {
                    ::core::hash::Hash::hash(&self.0, state);
                }
            }

            #[automatically_derived]
            impl ::core::fmt::Debug for #name {
                fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                    ::core::fmt::Debug::fmt(&self.0, f)
                }
            }

            #[automatically_derived]
            impl #serde::Serialize for #name {
                fn serialize<S: #serde::Serializer>(&self, serializer: S) -> ::core::result::Result<S::Ok, S::Error> {
                    #serde::Serialize::serialize(&self.0, serializer)
                }
            }

            #[automatically_derived]
            impl<'de> #serde::Deserialize<'de> for #name {
                fn deserialize<D: #serde::Deserializer<'de>>(deserializer: D) -> ::core::result::Result<Self, D::Error> {
                    ::core::result::Result::map(#serde::Deserialize::deserialize(deserializer), Self)
                }
            }
        }
    }
}

impl Method {
    /// The method of the reference type.
    fn call(&self, interface: &Interface) -> TokenStream {
        let (grains, vis, name, docs) = (&interface.options.krate, &interface.item.vis, &self.ident, &self.docs);
        let MethodNames { arguments, shown, .. } = self.names(interface);
        let parameters = self.arguments.iter().map(|(name, ty)| quote!(#name: #ty));
        let fields = self.arguments.iter().map(|(name, _)| name);
        let outcome = format!("Awaiting the call gives {}.", self.shown_outcome());
        let gap = (!docs.is_empty()).then(|| quote!(#[doc = ""]));
        quote! {
            #(#docs)*
            #gap
            #[doc = #outcome]
            #vis fn #name(&self, #(#parameters),*) -> #grains::Call<'_, #shown> {
                self.0.call(#arguments { #(#fields),* })
            }
        }
    }

    fn shown_outcome(&self) -> String {
        match &self.output {
            Output::Unit => "`Result<(), CallError>`".to_owned(),
            Output::Plain(ty) => format!("`Result<{}, CallError>`", readable(ty)),
            Output::Result(ty) => match result_parts(ty) {
                Some((ok, err)) => format!("`Result<{}, CallError<{}>>`", readable(ok), readable(err)),
                None => format!("the value of its `{}`, or a `CallError` with its error", readable(ty)),
            },
        }
    }
}

/// `T` and `E` of `Result<T, E>`.
fn result_parts(ty: &Type) -> Option<(&Type, &Type)> {
    let Type::Path(path) = ungrouped(ty) else { return None };
    let last = path.path.segments.last().filter(|segment| segment.ident == "Result")?;
    let PathArguments::AngleBracketed(arguments) = &last.arguments else { return None };
    let mut types = arguments.args.iter();
    match (types.next(), types.next(), types.next()) {
        (Some(GenericArgument::Type(ok)), Some(GenericArgument::Type(err)), None) => Some((ok, err)),
        _ => None,
    }
}
