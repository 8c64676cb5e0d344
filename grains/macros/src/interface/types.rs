//! What argument and return types may not be.

use syn::visit::{self, Visit};
use syn::{Lifetime, Path, Type, TypeImplTrait, TypeReference};

use crate::errors::Errors;
use crate::names::readable;

/// Notes what is wrong with the type; is it fine?
pub(super) fn check(ty: &Type, errors: &mut Errors) -> bool {
    let mut check = Check { errors, fine: true };
    check.visit_type(ty);
    check.fine
}

struct Check<'a> {
    errors: &'a mut Errors,
    fine: bool,
}

impl Check<'_> {
    fn refuse(&mut self, tokens: impl quote::ToTokens, message: impl std::fmt::Display) {
        self.errors.at(tokens, message);
        self.fine = false;
    }
}

impl<'ast> Visit<'ast> for Check<'_> {
    fn visit_type_reference(&mut self, ty: &'ast TypeReference) {
        let owned = match readable(&ty.elem).as_str() {
            "str" => "`String`".to_owned(),
            _ => match &*ty.elem {
                Type::Slice(slice) => format!("`Vec<{}>`", readable(&slice.elem)),
                elem => format!("`{}`", readable(elem)),
            },
        };
        self.refuse(ty, format!("a reference cannot travel in a grain call: use {owned}"));
    }

    fn visit_type_impl_trait(&mut self, ty: &'ast TypeImplTrait) {
        self.refuse(ty, "a grain method cannot be generic: name a type here");
    }

    fn visit_lifetime(&mut self, lifetime: &'ast Lifetime) {
        if lifetime.ident != "static" {
            self.refuse(lifetime, "a borrow cannot travel in a grain call: use an owned type, or `'static`");
        }
    }

    fn visit_path(&mut self, path: &'ast Path) {
        if path.segments.first().is_some_and(|segment| segment.ident == "Self") {
            self.refuse(path, "`Self` is the grain, which never leaves its silo: pass its key or a reference to it");
        }
        visit::visit_path(self, path);
    }
}
