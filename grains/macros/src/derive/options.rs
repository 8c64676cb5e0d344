//! `#[grain(..)]`.

use std::time::Duration;

use proc_macro2::Span;
use syn::meta::ParseNestedMeta;
use syn::{DeriveInput, LitBool, LitInt, LitStr, Path, Token, Type, parse_quote};

use crate::duration;
use crate::errors::Errors;
use crate::names::located;
use crate::options::Options;

const KNOWN: &[&str] = &[
    "implements",
    "key",
    "lifecycle",
    "mailbox",
    "idle",
    "turn_limit",
    "inline",
    "keep_running",
    "stateless_worker",
    "dirty_calls",
    "placement",
    "several_storages",
    "strict",
    "crate",
];

/// What `#[grain(..)]` says.
pub(super) struct GrainOptions {
    pub(super) implements: Vec<Path>,
    pub(super) key: Type,
    /// Does the user write `impl Lifecycle`?
    pub(super) lifecycle: bool,
    pub(super) mailbox: Option<usize>,
    /// `Some(None)`: never.
    pub(super) idle: Option<Option<Duration>>,
    pub(super) turn_limit: Option<Duration>,
    pub(super) inline: Option<bool>,
    pub(super) keep_running: bool,
    /// `Some(0)`: as many as the silo has threads.
    pub(super) stateless_workers: Option<usize>,
    pub(super) deny_dirty_calls: Option<bool>,
    pub(super) several_storages: bool,
    pub(super) strict: bool,
    pub(super) placement: Option<Placement>,
    pub(super) krate: Path,
}

/// `placement = ".."`.
pub(super) enum Placement {
    Plain(&'static str),
    Label(String, String),
    Custom(String),
}

fn placement(text: &LitStr, options: &mut Options<'_>) -> Option<Placement> {
    let value = text.value();
    let inside = |name: &str| value.strip_prefix(name)?.strip_prefix('(')?.strip_suffix(')').map(str::trim);
    let parsed = match value.as_str() {
        "hash" => Some(Placement::Plain("Hash")),
        "prefer-local" => Some(Placement::Plain("PreferLocal")),
        "random" => Some(Placement::Plain("Random")),
        "least-loaded" => Some(Placement::Plain("LeastLoaded")),
        _ => match (inside("label").and_then(|label| label.split_once('=')), inside("custom")) {
            (Some((name, label)), _) => Some(Placement::Label(name.trim().to_owned(), label.trim().to_owned())),
            (_, Some(name)) if !name.is_empty() => Some(Placement::Custom(name.to_owned())),
            _ => None,
        },
    };
    if parsed.is_none() {
        let known = "`hash`, `prefer-local`, `random`, `least-loaded`, `label(name=value)` or `custom(name)`";
        options.errors.at(text, format!("unknown placement {value:?}: it is one of {known}"));
    }
    parsed
}

#[derive(Default)]
struct Given {
    implements: Option<Vec<Path>>,
    key: Option<Type>,
    lifecycle: bool,
    mailbox: Option<usize>,
    idle: Option<Option<Duration>>,
    turn_limit: Option<Duration>,
    inline: Option<bool>,
    keep_running: bool,
    stateless_workers: Option<usize>,
    deny_dirty_calls: Option<bool>,
    several_storages: bool,
    strict: bool,
    placement: Option<Placement>,
    krate: Option<Path>,
}

/// The options; `None`, the error noted, if no interface is named.
pub(super) fn parse(item: &DeriveInput, errors: &mut Errors) -> Option<GrainOptions> {
    let mut given = Given::default();
    let mut options = Options::new("grain", KNOWN, errors);
    for attribute in item.attrs.iter().filter(|attribute| attribute.path().is_ident("grain")) {
        let parsed = attribute.parse_nested_meta(|meta| {
            if let Some(name) = options.name(&meta)? {
                given.read(&name, &meta, &mut options)?;
            }
            Ok(())
        });
        options.errors.ok(parsed);
    }
    let implements = given.implements.unwrap_or_default();
    if implements.is_empty() {
        errors.at(&item.ident, "a grain implements an interface: add `#[grain(implements(..))]`");
        return None;
    }
    let krate = given.krate.unwrap_or_else(|| parse_quote!(::gristmill::grains));
    Some(GrainOptions {
        implements,
        key: given.key.unwrap_or_else(|| parse_quote!(#krate::StrKey)),
        lifecycle: given.lifecycle,
        mailbox: given.mailbox,
        idle: given.idle,
        turn_limit: given.turn_limit,
        inline: given.inline,
        keep_running: given.keep_running,
        stateless_workers: given.stateless_workers,
        deny_dirty_calls: given.deny_dirty_calls,
        several_storages: given.several_storages,
        strict: given.strict,
        placement: given.placement,
        krate,
    })
}

impl Given {
    fn read(&mut self, name: &str, meta: &ParseNestedMeta<'_>, options: &mut Options<'_>) -> syn::Result<()> {
        match name {
            "implements" => self.implements = Some(options.list(meta)?),
            "key" => self.key = Some(options.value(meta)?),
            "lifecycle" => self.lifecycle = true,
            "mailbox" => self.mailbox = Some(options.value::<LitInt>(meta)?.base10_parse()?),
            "idle" => {
                let text: LitStr = options.value(meta)?;
                self.idle = Some(if text.value() == "never" { None } else { Some(duration::parse(&text)?) });
            }
            "turn_limit" => self.turn_limit = Some(duration::parse(&options.value(meta)?)?),
            "inline" => self.inline = Some(options.value::<LitBool>(meta)?.value),
            "keep_running" => self.keep_running = true,
            "stateless_worker" if meta.input.peek(Token![=]) => {
                let number: LitInt = options.value(meta)?;
                self.stateless_workers = Some(number.base10_parse()?);
                if self.stateless_workers == Some(0) {
                    options
                        .errors
                        .at(number, "at least one; without a number there are as many as the silo has threads");
                }
            }
            "stateless_worker" => self.stateless_workers = Some(0),
            "dirty_calls" => {
                self.deny_dirty_calls = options.one_of(meta, &["allow", "deny"])?.map(|place| place == 1);
            }
            "placement" => self.placement = placement(&options.value(meta)?, options),
            "several_storages" => self.several_storages = true,
            "strict" => self.strict = true,
            "crate" => self.krate = Some(located(&options.path(meta)?, Span::call_site())),
            _ => {}
        }
        Ok(())
    }
}
