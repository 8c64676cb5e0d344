//! What `#[derive(Grain)]` implements, and the lifecycle a grain may add.

use std::borrow::Cow;
use std::future::Future;
use std::time::Duration;

use crate::state::{StateSpec, StateVisitor};
use crate::{Binder, BoxError, BuildContext, GrainKey, GrainType};

/// A type that a silo can host. Implemented by `#[derive(Grain)]`.
///
/// `Sync` because reads of one grain run side by side, on several threads.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a grain",
    label = "derive `Grain` for it",
    note = "a grain is `#[derive(Grain)] #[grain(implements(..))] struct {Self} {{ .. }}`, and must be `Send + Sync`"
)]
pub trait Grain: Lifecycle + Sized + Send + Sync + 'static {
    /// The key that names a grain of this type.
    type Key: GrainKey;

    /// The records of its state.
    const STATES: &'static [StateSpec];

    /// The type's wire and storage name, from the interfaces it implements.
    fn grain_type() -> GrainType;

    /// What its `#[grain(..)]` attributes say.
    fn options() -> GrainOptions;

    /// Tells `binder` every interface and method.
    fn bind<B: Binder<Self>>(binder: &mut B);

    /// Makes the grain's value when it is activated, its state loaded.
    fn build(cx: &mut BuildContext<'_, Self>) -> Result<Self, BoxError>;

    /// Shows every state field, in the order of [`STATES`](Self::STATES).
    fn visit_states<V: StateVisitor>(&self, visitor: &mut V);

    /// Has any state field changed since it was last encoded?
    fn is_dirty(&self) -> bool;
}

/// The key of a grain is that of its interfaces. Implemented by `#[derive(Grain)]`, for the grain's key only; required by
/// every interface, for its own.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "the grain `{Self}` has another key type than its interface",
    label = "the key of this interface is `{K}`",
    note = "`#[grain(key = ..)]` and `#[grain_interface(key = ..)]` must name the same type; without `key` it is `StrKey`"
)]
pub trait Keyed<K>: Grain<Key = K> {}

/// Why an activation ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum DeactivationReason {
    /// Nobody called it for its idle time.
    Idle,
    /// `ctx.deactivate_on_idle()` was called.
    Requested,
    /// The silo holds more than its memory budget, and this one was least recently used.
    MemoryPressure,
    /// The silo stops.
    SiloStopping,
}

/// Hooks around a grain's life in memory. Every method has a default.
///
/// To implement it, say so: `#[grain(implements(Player), lifecycle)]`, and write `impl Lifecycle for ..`.
pub trait Lifecycle {
    /// Runs once, after the state is loaded and before the first call. An error (or a panic) fails the activation: every
    /// queued caller gets it, nothing is written, and the next activation waits for the back-off.
    fn on_activate(&mut self) -> impl Future<Output = Result<(), BoxError>> + Send
    where
        Self: Send,
    {
        async { Ok(()) }
    }

    /// Runs after the last turn of an activation that ends in an orderly way; what it changes is committed. It is not
    /// run after a crash, a panic, or once the activation has lost its fence. An error is logged.
    fn on_deactivate(&mut self, reason: DeactivationReason) -> impl Future<Output = Result<(), BoxError>> + Send
    where
        Self: Send,
    {
        async move {
            let _ = reason;
            Ok(())
        }
    }
}

/// What an awaited call out of a turn with uncommitted changes does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum DirtyCalls {
    /// It goes out at once; a metric counts it.
    #[default]
    Allow,
    /// It fails with [`Cause::Uncommitted`](crate::Cause::Uncommitted): commit the state first.
    Deny,
}

/// On which silo of a cluster a grain is activated that is active on none: among the active ones that host its type.
/// Decided once for all who call it, by the grain's broker; an activation never moves because something would be decided
/// differently now.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum Placement {
    /// By a hash of its id: the same one for as long as the silos are the same, and all with an equal share.
    #[default]
    Hash,
    /// On the silo that it is first called from, if that one hosts the type; else by hash. A client's calls come from its
    /// gateway.
    PreferLocal,
    /// On any.
    Random,
    /// On the one with fewer activations of two that are taken at random.
    LeastLoaded,
    /// By hash among the silos with this label. While there are none, calls wait.
    Label {
        /// The label's name.
        name: Cow<'static, str>,
        /// Its value.
        value: Cow<'static, str>,
    },
    /// As a strategy says that was registered with the silo under this name.
    Custom(Cow<'static, str>),
}

/// How a silo hosts a grain type. The `#[grain(..)]` attribute sets the defaults; the silo's builder may change them.
#[derive(Clone, Debug)]
pub struct GrainOptions {
    /// Calls that may wait in one activation's mailbox; one more is refused with `Overloaded`. Default 1,000.
    pub mailbox: usize,
    /// Time without a call after which an activation is collected; `None` keeps it. Default 15 minutes.
    pub idle: Option<Duration>,
    /// How long one turn may run before its activation is given up. Default 5 minutes.
    pub turn_limit: Duration,
    /// May a turn be polled first on its caller's task? Say no for turns that compute for long. Default yes.
    pub inline: bool,
    /// Is the grain brought back whenever it is lost, until it calls `ctx.retire()`? Default no.
    pub keep_running: bool,
    /// `Some(n)`: any of up to n activations answers; for grains without state. Default `None`.
    pub stateless_workers: Option<usize>,
    /// Awaited calls out of a turn with uncommitted changes. Default allowed.
    pub dirty_calls: DirtyCalls,
    /// May the grain have `turn` state in two storages, which are not atomic with each other? Default no.
    pub several_storages: bool,
    /// On which silo of a cluster it is activated. Default by hash.
    pub placement: Placement,
    /// May nobody ever read what is no longer true? A silo that the others have declared dead, but does not know it yet,
    /// may answer a read with state that was committed before its death; not so for strict grains. The price: after a silo's
    /// death its strict grains are away until its lease is over, 8 s by default. Default no.
    pub strict: bool,
}

impl Default for GrainOptions {
    fn default() -> Self {
        Self {
            mailbox: 1_000,
            idle: Some(Duration::from_secs(15 * 60)),
            turn_limit: Duration::from_secs(5 * 60),
            inline: true,
            keep_running: false,
            stateless_workers: None,
            dirty_calls: DirtyCalls::Allow,
            several_storages: false,
            placement: Placement::Hash,
            strict: false,
        }
    }
}
