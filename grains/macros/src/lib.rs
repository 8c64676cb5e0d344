//! The macros of Gristmill: [`grain_interface`] and [`derive@Grain`].
//!
//! # Layout
//! - `interface`: `#[grain_interface]`.
//! - `derive`: `#[derive(Grain)]`.
//! - `options`: attribute options, unknown and repeated ones refused. `errors`: collects errors, so that all are shown.
//! - `names`, `duration`: wire names and ids, `"100ms"`.

mod derive;
mod duration;
mod errors;
mod interface;
mod names;
mod options;

use proc_macro::TokenStream;

/// Makes a trait a grain interface.
///
/// ```
/// # mod example {
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Serialize, Deserialize)] pub struct PlayerState;
/// # #[derive(Serialize, Deserialize)] pub struct BuffError;
/// use gristmill_grains::grain_interface; // in a program: gristmill::prelude::*
///
/// /// A player.
/// #[grain_interface(crate = gristmill_grains)] // in a program: #[grain_interface]
/// pub trait Player {
///     /// Is it still alive?
///     async fn take_damage(&mut self, amount: u32, source: String) -> bool;
///     async fn apply_buff(&mut self, name: String) -> Result<(), BuffError>;
///     #[method(id = "state")]
///     async fn get_state(&self) -> PlayerState;
/// }
///
/// async fn fight(alice: PlayerRef) -> Result<(), gristmill_grains::CallError> {
///     let alive: bool = alice.take_damage(30, "bob".to_owned()).await?;
/// #   let _ = alive;
///     Ok(())
/// }
/// # }
/// ```
///
/// # Methods
/// Every method is an `async fn` that takes `&self` (it reads, beside other reads) or `&mut self` (it runs alone).
/// Arguments, results and errors are owned types that serde can carry. A method that returns a type named `..Result`
/// (`Result` or an alias of it) has an error of its own, which its caller gets as `CallError::App`. Methods are not
/// generic, have no body, and are not conditional (`#[cfg]`). They may not be named `key` or `id`, as the reference type
/// has methods of these names, nor `interface`. The trait has no generics, types or constants. Supertraits are passed
/// through: they are the business of the implementation and cannot be called from elsewhere; a supertrait that is a grain
/// interface itself is listed in the grain's `implements(..)` too.
///
/// # Options
/// - `grain = "player"`: the wire name of the grain type that implements it. Default: the trait's name, in snake case.
///   It is part of every stored record's name: state it before you rename the trait.
/// - `name = "inventory"`: the interface's wire name. Default: the trait's name, in snake case. A grain type that
///   implements several interfaces has one `grain` and several `name`s.
/// - `key = Type`: the key of its grains. Default: `StrKey`.
/// - `local`: leaves the module `player_methods` out. For a trait within a function, where a module cannot see it.
/// - `crate = path`: where the grains crate is found. Default: `::gristmill::grains`.
///
/// `#[method(id = "state")]` on a method gives its wire name, so that it can be renamed. Default: its name.
///
/// # Expansion
/// ```ignore
/// pub trait Player {
///     fn take_damage(&mut self, amount: u32, source: String) -> impl Future<Output = bool> + Send;
///     // ..
/// }                                                    // implemented with plain `async fn`
///
/// pub struct PlayerRef(GrainRef<player_methods::Interface>);           // Clone, Eq, Hash, Debug, Serialize, Deserialize
/// impl PlayerRef {
///     pub fn key(&self) -> &StrKey;
///     pub fn id(&self) -> GrainId;
///     pub fn take_damage(&self, amount: u32, source: String) -> Call<'_, player_methods::TakeDamage>;
///     // ..
/// }
///
/// pub mod player_methods {
///     pub struct Interface;                                            // impl Interface
///     pub struct TakeDamage { pub amount: u32, pub source: String }    // impl Method, impl<G: Player> Exclusive<G>
///     pub struct ApplyBuff { pub name: String }
///     pub struct GetState;                                             // impl Method, impl<G: Player> Shared<G>
/// }
/// ```
/// The types of the module stand beside the trait under mangled names and are re-exported: so the names in the methods'
/// signatures mean what they mean to you, whatever is imported, and a method may be named like a type.
#[proc_macro_attribute]
pub fn grain_interface(options: TokenStream, item: TokenStream) -> TokenStream {
    interface::expand(options.into(), item.into()).into()
}

/// Makes a struct a grain: a type that a silo can host.
///
/// ```
/// # mod example {
/// # use std::sync::Arc;
/// # use gristmill_grains::grain_interface;
/// # pub struct Prices;
/// # #[grain_interface(crate = gristmill_grains)]
/// # pub trait Player { async fn rename(&mut self, name: String); }
/// use gristmill_grains::state::Persistent; // in a program: gristmill::prelude::*
/// use gristmill_grains::{Grain, GrainContext};
///
/// #[derive(Grain)]
/// #[grain(implements(Player), idle = "5m", crate = gristmill_grains)]
/// pub struct PlayerGrain {
///     ctx: GrainContext<Self>,
///     #[state(storage = "gameStore")]
///     name: Persistent<String>,
///     #[service]
///     prices: Arc<Prices>,
///     seen: Vec<String>,
/// }
///
/// impl Player for PlayerGrain {
///     async fn rename(&mut self, name: String) {
///         *self.name = name;
///     }
/// }
/// # }
/// ```
///
/// # Options of `#[grain(..)]`
/// - `implements(Player, other::Inventory)`: its interfaces, at least one; all of one grain type.
/// - `key = Type`: its key, that of its interfaces. Default: `StrKey`.
/// - `lifecycle`: you write `impl Lifecycle for ..`. Without it, an empty one is generated.
/// - `mailbox = 100`: calls that may wait. Default: 1,000.
/// - `idle = "15m"`, or `"never"`: time without a call after which an activation is collected. Default: 15 minutes.
/// - `turn_limit = "5m"`: how long one turn may run. Default: 5 minutes.
/// - `inline = false`: turns are never polled on their caller's task.
/// - `keep_running`: brought back whenever it is lost.
/// - `stateless_worker`, `stateless_worker = 4`: any of several activations answers. Without a number, as many as the
///   silo has threads.
/// - `dirty_calls = "deny"`, or `"allow"`: awaited calls out of a turn with uncommitted changes. Default: allowed.
/// - `placement = "hash"`, `"prefer-local"`, `"random"`, `"least-loaded"`, `"label(zone=eu)"` or `"custom(name)"`: on which
///   silo of a cluster it is activated. Default: by hash.
/// - `several_storages`: it may have `turn` state in two storages.
/// - `strict`: no silo that is dead to the others answers for it, not even a read; after a silo's death it is away for longer.
/// - `crate = path`: where the grains crate is found. Default: `::gristmill::grains`.
///
/// Durations are a whole number and `ms`, `s`, `m` or `h`.
///
/// # Fields
/// A field of type `GrainContext` is the grain's context; a `#[service]` field, an `Arc` of something the silo was built
/// with; a `#[state(..)]` field (`Persistent` or `PersistentCell`) is loaded from storage. Any other field begins as its
/// `Default`.
///
/// # Options of `#[state(..)]`
/// - `name = "bag"`: the record's name, part of the stored data. Default: the field's name.
/// - `storage = "gameStore"`: the storage's name in the silo. Default: `default`.
/// - `manual`, `on_deactivate`, `every = "1s"`: when it is written. Default: at the end of every turn that changed it.
/// - `codec = "bincode"`, or `"json"`. Default: JSON.
/// - `version = 3`: the schema version of the value. Default: 0.
/// - `migrate = path`: a `fn(Old<'_>) -> Result<Value, BoxError>` that reads records of older versions.
///
/// # Expansion
/// ```ignore
/// impl Grain for PlayerGrain {
///     type Key = StrKey;
///     const STATES: &'static [StateSpec] = &[StateSpec { name: "name", storage: "gameStore", .. }];
///     fn options() -> GrainOptions { GrainOptions { idle: Some(Duration::new(300, 0)), ..Default::default() } }
///     fn build(cx: &mut BuildContext<'_, Self>) -> Result<Self, BoxError> {
///         Ok(Self { ctx: cx.context(), name: cx.state(0)?, prices: cx.service()?, seen: Default::default() })
///     }
///     // grain_type, bind, visit_states, is_dirty
/// }
/// impl Lifecycle for PlayerGrain {}
/// ```
#[proc_macro_derive(Grain, attributes(grain, state, service))]
pub fn derive_grain(item: TokenStream) -> TokenStream {
    derive::expand(item.into()).into()
}
