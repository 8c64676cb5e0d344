//! The fields of a grain: `#[state(..)]`, `#[service]`, its context, and the rest.

use std::collections::BTreeMap;
use std::time::Duration;

use syn::ext::IdentExt;
use syn::meta::ParseNestedMeta;
use syn::{Attribute, Fields, Ident, LitInt, Meta, Path, Type};

use crate::duration;
use crate::errors::Errors;
use crate::names::ungrouped;
use crate::options::Options;

pub(super) struct Field {
    pub(super) ident: Ident,
    pub(super) ty: Type,
    pub(super) kind: Kind,
}

pub(super) enum Kind {
    Context,
    Service,
    State(StateOptions),
    Other,
}

/// What `#[state(..)]` says.
#[derive(Default)]
pub(super) struct StateOptions {
    pub(super) name: String,
    pub(super) storage: String,
    pub(super) policy: Policy,
    pub(super) bincode: bool,
    pub(super) version: u32,
    pub(super) migrate: Option<Path>,
}

#[derive(Default)]
pub(super) enum Policy {
    #[default]
    Turn,
    Manual,
    OnDeactivate,
    Every(Duration),
}

pub(super) fn parse(fields: &Fields, errors: &mut Errors) -> Vec<Field> {
    let mut records = BTreeMap::new();
    let mut parsed = Vec::new();
    for field in fields {
        let Some(ident) = field.ident.clone() else { continue };
        let attribute = |name| field.attrs.iter().find(|attribute| attribute.path().is_ident(name));
        let kind = match (attribute("state"), attribute("service")) {
            (Some(_), Some(service)) => {
                errors.at(service, "a field is either state or a service");
                Kind::Service
            }
            (Some(state), None) => {
                let options = state_options(&ident, state, errors);
                let record = (options.storage.clone(), options.name.clone());
                if let Some(other) = records.insert(record, ident.clone()) {
                    let message = format!(
                        "`{other}` is stored as {:?} in storage {:?} already: give one of them another `name`",
                        options.name, options.storage
                    );
                    errors.at(&ident, message);
                }
                Kind::State(options)
            }
            (None, Some(service)) => {
                if !matches!(service.meta, Meta::Path(_)) {
                    errors.at(service, "`#[service]` has no options");
                }
                Kind::Service
            }
            (None, None) if is_context(&field.ty) => Kind::Context,
            (None, None) => Kind::Other,
        };
        parsed.push(Field { ident, ty: field.ty.clone(), kind });
    }
    parsed
}

fn is_context(ty: &Type) -> bool {
    let Type::Path(path) = ungrouped(ty) else { return false };
    path.path.segments.last().is_some_and(|segment| segment.ident == "GrainContext")
}

fn state_options(field: &Ident, attribute: &Attribute, errors: &mut Errors) -> StateOptions {
    const KNOWN: &[&str] = &["name", "storage", "manual", "on_deactivate", "every", "codec", "version", "migrate"];
    let name = field.unraw().to_string();
    let mut state = StateOptions { name, storage: "default".to_owned(), ..StateOptions::default() };
    if matches!(attribute.meta, Meta::Path(_)) {
        return state;
    }
    let mut options = Options::new("state", KNOWN, errors);
    let mut policies = 0;
    let parsed = attribute.parse_nested_meta(|meta| {
        let Some(name) = options.name(&meta)? else { return Ok(()) };
        if matches!(name.as_str(), "manual" | "on_deactivate" | "every") {
            policies += 1;
            if policies == 2 {
                options.errors.at(&meta.path, "a record is written by one rule: `manual`, `on_deactivate` or `every`");
            }
        }
        state.read(&name, &meta, &mut options)
    });
    errors.ok(parsed);
    if let Some(migrate) = state.migrate.as_ref().filter(|_| state.version == 0) {
        errors.at(migrate, "there is nothing to migrate from at version 0: add `version = ..`");
    }
    state
}

impl StateOptions {
    fn read(&mut self, name: &str, meta: &ParseNestedMeta<'_>, options: &mut Options<'_>) -> syn::Result<()> {
        match name {
            "name" => self.name = options.wire_name(meta)?.map_or_else(String::new, |name| name.value()),
            "storage" => self.storage = options.wire_name(meta)?.map_or_else(String::new, |name| name.value()),
            "manual" => self.policy = Policy::Manual,
            "on_deactivate" => self.policy = Policy::OnDeactivate,
            "every" => self.policy = Policy::Every(duration::parse(&options.value(meta)?)?),
            "codec" => self.bincode = options.one_of(meta, &["json", "bincode"])? == Some(1),
            "version" => self.version = options.value::<LitInt>(meta)?.base10_parse()?,
            "migrate" => self.migrate = Some(options.value(meta)?),
            _ => {}
        }
        Ok(())
    }
}
