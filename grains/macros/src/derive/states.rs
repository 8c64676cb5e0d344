//! `STATES`, `visit_states` and `is_dirty`.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::Path;
use syn::spanned::Spanned;

use super::expand::{local, optional};
use super::fields::{Field, Kind, Policy, StateOptions};
use crate::duration;
use crate::names::located;

pub(super) fn states(grains: &Path, fields: &[Field]) -> TokenStream {
    let states = fields.iter().filter_map(|field| match &field.kind {
        Kind::State(options) => Some((field, options)),
        _ => None,
    });
    let states: Vec<_> = states.collect();
    let specs = states.iter().map(|(field, options)| spec(grains, field, options));
    let (this, visitor) = (local("self"), local("visitor"));
    let visits = states.iter().enumerate().map(|(index, (field, _))| {
        let (ident, span) = (&field.ident, field.ty.span());
        let grains = located(grains, span);
        quote_spanned!(span=> #visitor.field(&<Self as #grains::Grain>::STATES[#index], &#this.#ident);)
    });
    let dirty = states.iter().map(|(field, _)| {
        let (ident, span) = (&field.ident, field.ty.span());
        let grains = located(grains, span);
        quote_spanned!(span=> #grains::state::StateField::is_dirty(&#this.#ident))
    });
    let (shown, dirty) =
        if states.is_empty() { (quote!(_), quote!(false)) } else { (quote!(#visitor), quote!(#(#dirty)||*)) };
    quote! {
        const STATES: &'static [#grains::state::StateSpec] = &[#(#specs),*];

        fn visit_states<V: #grains::state::StateVisitor>(&#this, #shown: &mut V) {
            #(#visits)*
        }

        fn is_dirty(&#this) -> bool {
            #dirty
        }
    }
}

fn spec(grains: &Path, field: &Field, options: &StateOptions) -> TokenStream {
    let StateOptions { name, storage, policy, bincode, version, migrate } = options;
    let policy = match policy {
        Policy::Turn => quote!(Turn),
        Policy::Manual => quote!(Manual),
        Policy::OnDeactivate => quote!(OnDeactivate),
        Policy::Every(every) => {
            let every = duration::expr(*every);
            quote!(Every(#every))
        }
    };
    let codec = if *bincode { quote!(Bincode) } else { quote!(Json) };
    let ty = &field.ty;
    let migrate = optional(migrate.as_ref().map(|migrate| {
        let grains = located(grains, migrate.span());
        quote_spanned! {migrate.span()=>
            &(#migrate as #grains::state::Migrate<<#ty as #grains::state::StateField>::Value>)
                as &'static (dyn ::core::any::Any + ::core::marker::Send + ::core::marker::Sync)
        }
    }));
    quote! {
        #grains::state::StateSpec {
            name: #name,
            storage: #storage,
            policy: #grains::state::Policy::#policy,
            codec: #grains::codec::Codec::#codec,
            schema: #version,
            migrate: #migrate,
        }
    }
}
