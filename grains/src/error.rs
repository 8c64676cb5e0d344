//! Why a call failed.

use std::borrow::Cow;
use std::convert::Infallible;
use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{GrainId, InvalidKey, chaos};

/// An error of application code that the runtime only carries.
pub type BoxError = Box<dyn Error + Send + Sync + 'static>;

/// The error of a method that returns no `Result`: there is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Never {}

impl fmt::Display for Never {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {}
    }
}

impl Error for Never {}

impl From<Infallible> for Never {
    fn from(value: Infallible) -> Self {
        match value {}
    }
}

impl Serialize for Never {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        match *self {}
    }
}

impl<'de> Deserialize<'de> for Never {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(serde::de::Error::custom("a method that returns no Result has no error to decode"))
    }
}

/// One step of a call chain: a grain and the method it runs or was asked to run.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ChainLink {
    /// The grain.
    pub grain: GrainId,
    /// The method, or the name of a lifecycle hook or timer.
    pub method: Cow<'static, str>,
}

impl fmt::Display for ChainLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.grain, self.method)
    }
}

/// Shows a chain as `a/1.x -> b/2.y`.
pub(crate) fn show_chain(chain: &[ChainLink]) -> String {
    chain.iter().map(ChainLink::to_string).collect::<Vec<_>>().join(" -> ")
}

/// What went wrong, apart from the method's own error.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Cause {
    /// No answer within the call's deadline.
    Timeout,
    /// Waiting would never end: the call waits for a turn that waits for it. The chain leads from the turn that holds
    /// the called grain to the refused call.
    Deadlock {
        /// From the holder to the refused call.
        chain: Vec<ChainLink>,
    },
    /// The grain's mailbox is full. Retry later, with back-off.
    Overloaded {
        /// The mailbox's size.
        limit: usize,
    },
    /// The grain could not be activated: its constructor, its stored state or `on_activate` failed.
    ActivationFailed {
        /// The original error.
        reason: String,
    },
    /// The activation was lost (fenced, aborted, over its turn limit) before the call's outcome was durable.
    ActivationLost {
        /// Why it was lost.
        reason: String,
    },
    /// The activation lost the right to write: another one opened the grain's storage.
    Fenced,
    /// The storage behind the grain failed or is not reachable.
    Storage {
        /// The storage's name in the silo.
        storage: String,
        /// What it said.
        detail: String,
    },
    /// The silo is stopping or gone.
    SiloUnavailable {
        /// Which, and why.
        reason: String,
    },
    /// No such grain type is hosted.
    UnknownGrain,
    /// The grain does not have this method.
    UnknownMethod {
        /// The method's wire id.
        id: u32,
    },
    /// The key cannot name a grain.
    InvalidKey {
        /// Why not.
        reason: String,
    },
    /// The method panicked; nothing of the turn was kept.
    Panicked {
        /// The panic's message.
        message: String,
    },
    /// Arguments or a result could not be encoded or decoded.
    Codec {
        /// What is wrong.
        detail: String,
    },
    /// The call was given up before it ran.
    Cancelled,
    /// A call filter refused the call, or ended without a result.
    Refused {
        /// The filter's reason.
        reason: String,
    },
    /// An awaited call out of a turn with uncommitted changes, in a grain with `dirty_calls = "deny"`.
    Uncommitted,
    /// The turn called `abort`: its changes and its activation are dropped.
    Aborted,
    /// The reference is not bound to a silo or client.
    Unbound,
    /// Between silos only: the activation has left, the call is to be routed anew.
    #[doc(hidden)]
    Moved,
}

/// A failure of the runtime's, not of the method's own. Cheap to clone: ten thousand queued callers share one. Travels in
/// calls, so a method's own error type can hold one.
#[derive(Clone, Serialize, Deserialize)]
pub struct Fault(Arc<Inner>);

#[derive(Clone, Serialize, Deserialize)]
struct Inner {
    cause: Cause,
    maybe_executed: bool,
    grain: Option<GrainId>,
    method: Option<Cow<'static, str>>,
    detail: Option<String>,
    /// Stays in the process that made it; its text is in the cause.
    #[serde(skip)]
    source: Option<Arc<dyn Error + Send + Sync + 'static>>,
}

impl Cause {
    /// As a simulation counts that it was reached.
    fn place(&self) -> &'static str {
        match self {
            Self::Timeout => "cause: timeout",
            Self::Deadlock { .. } => "cause: deadlock",
            Self::Overloaded { .. } => "cause: overloaded",
            Self::ActivationFailed { .. } => "cause: activation failed",
            Self::ActivationLost { .. } => "cause: activation lost",
            Self::Fenced => "cause: fenced",
            Self::Storage { .. } => "cause: storage",
            Self::SiloUnavailable { .. } => "cause: silo unavailable",
            Self::UnknownGrain => "cause: unknown grain",
            Self::UnknownMethod { .. } => "cause: unknown method",
            Self::InvalidKey { .. } => "cause: invalid key",
            Self::Panicked { .. } => "cause: panicked",
            Self::Codec { .. } => "cause: codec",
            Self::Cancelled => "cause: cancelled",
            Self::Refused { .. } => "cause: refused",
            Self::Uncommitted => "cause: uncommitted",
            Self::Aborted => "cause: aborted",
            Self::Unbound => "cause: unbound",
            Self::Moved => "cause: moved",
        }
    }
}

impl Fault {
    /// A failure of a call that did not run.
    pub fn not_executed(cause: Cause) -> Self {
        Self::new(cause, false)
    }

    /// A failure of a call that may have run, in part or whole.
    pub fn maybe_executed_with(cause: Cause) -> Self {
        Self::new(cause, true)
    }

    fn new(cause: Cause, maybe_executed: bool) -> Self {
        chaos::reach(cause.place());
        Self(Arc::new(Inner { cause, maybe_executed, grain: None, method: None, detail: None, source: None }))
    }

    fn edit(mut self, edit: impl FnOnce(&mut Inner)) -> Self {
        edit(Arc::make_mut(&mut self.0));
        self
    }

    /// The same failure, naming the grain, unless it names one already.
    pub fn of(self, grain: &GrainId) -> Self {
        if self.0.grain.is_some() { self } else { self.edit(|inner| inner.grain = Some(grain.clone())) }
    }

    /// The same failure, naming the method, unless it names one already.
    pub fn in_method(self, method: impl Into<Cow<'static, str>>) -> Self {
        if self.0.method.is_some() { self } else { self.edit(|inner| inner.method = Some(method.into())) }
    }

    /// The same failure, with more to say (what the call waited for, since when).
    pub fn detailed(self, detail: impl Into<String>) -> Self {
        self.edit(|inner| inner.detail = Some(detail.into()))
    }

    /// The same failure, with the error behind it.
    pub fn caused_by(self, source: BoxError) -> Self {
        self.edit(|inner| inner.source = Some(source.into()))
    }

    /// The same failure of a call that had begun.
    pub fn after_start(self) -> Self {
        if self.0.maybe_executed { self } else { self.edit(|inner| inner.maybe_executed = true) }
    }

    /// What went wrong.
    pub fn cause(&self) -> &Cause {
        &self.0.cause
    }

    /// May the call have run, in part or whole? When not, it is safe to retry.
    pub fn maybe_executed(&self) -> bool {
        self.0.maybe_executed
    }

    /// The grain that was called.
    pub fn grain(&self) -> Option<&GrainId> {
        self.0.grain.as_ref()
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { cause, maybe_executed, grain, method, detail, .. } = &*self.0;
        match (grain, method) {
            (Some(grain), Some(method)) => write!(f, "{grain}.{method}: ")?,
            (Some(grain), None) => write!(f, "{grain}: ")?,
            (None, Some(method)) => write!(f, "{method}: ")?,
            (None, None) => {}
        }
        match cause {
            Cause::Timeout => write!(f, "no answer within the deadline")?,
            Cause::Deadlock { chain } => write!(f, "deadlock, the call would wait for itself: {}", show_chain(chain))?,
            Cause::Overloaded { limit } => write!(f, "overloaded, {limit} calls are queued; retry later")?,
            Cause::ActivationFailed { reason } => write!(f, "activation failed: {reason}")?,
            Cause::ActivationLost { reason } => write!(f, "activation lost: {reason}")?,
            Cause::Fenced => write!(f, "fenced: another activation owns the grain's storage")?,
            Cause::Storage { storage, detail } => write!(f, "storage {storage:?}: {detail}")?,
            Cause::SiloUnavailable { reason } => write!(f, "silo unavailable: {reason}")?,
            Cause::UnknownGrain => {
                write!(f, "no silo hosts this grain type; register it with Silo::builder().grain()")?
            }
            Cause::UnknownMethod { id } => write!(f, "the grain has no method with wire id {id:#010x}")?,
            Cause::InvalidKey { reason } => write!(f, "invalid key: {reason}")?,
            Cause::Panicked { message } => write!(f, "panicked: {message}")?,
            Cause::Codec { detail } => write!(f, "codec: {detail}")?,
            Cause::Cancelled => write!(f, "cancelled")?,
            Cause::Refused { reason } => write!(f, "refused by a call filter: {reason}")?,
            Cause::Uncommitted => {
                write!(f, "an awaited call from a turn with uncommitted changes; commit() the state first")?;
            }
            Cause::Aborted => write!(f, "the turn aborted; its changes were dropped")?,
            Cause::Moved => write!(f, "the activation has left this silo")?,
            Cause::Unbound => write!(
                f,
                "the reference is bound to no silo; make it with silo.grain(), or ctx.grain() of a hosted grain"
            )?,
        }
        if let Some(detail) = detail {
            write!(f, " ({detail})")?;
        }
        f.write_str(if *maybe_executed { " [may have run]" } else { " [did not run]" })
    }
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fault({self})")
    }
}

impl Error for Fault {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source.as_ref().map(|source| &**source as _)
    }
}

impl From<InvalidKey> for Fault {
    fn from(error: InvalidKey) -> Self {
        Self::not_executed(Cause::InvalidKey { reason: error.0 })
    }
}

/// Why a call gave no value: the method's own error, or the runtime's.
///
/// A method that returns `Result<T, E>` gives `Result<T, CallError<E>>`; any other gives `Result<T, CallError>`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum CallError<E = Never> {
    /// The method ran and returned this error.
    App(E),
    /// The call failed.
    Fault(Fault),
}

impl<E> CallError<E> {
    /// The runtime's failure, if it is one.
    pub fn fault(&self) -> Option<&Fault> {
        match self {
            Self::App(_) => None,
            Self::Fault(fault) => Some(fault),
        }
    }

    /// The cause of the runtime's failure, if it is one.
    pub fn cause(&self) -> Option<&Cause> {
        self.fault().map(Fault::cause)
    }

    /// May the call have run, in part or whole? When not, it is safe to retry.
    pub fn maybe_executed(&self) -> bool {
        self.fault().is_none_or(Fault::maybe_executed)
    }
}

impl<E> From<Fault> for CallError<E> {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl<E: fmt::Display> fmt::Display for CallError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::App(error) => error.fmt(f),
            Self::Fault(fault) => fault.fmt(f),
        }
    }
}

impl<E: Error + 'static> Error for CallError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::App(error) => error.source(),
            Self::Fault(fault) => fault.source(),
        }
    }
}

/// Splits a call's outcome into the runtime's part and the application's.
pub trait CallResultExt<T, E> {
    /// `Err` holds only the runtime's failure; the application's own `Result` is inside. With it, one
    /// `#[from] CallError` in an error type serves calls to every grain: `let n = shop.buy(item).await.app()??`.
    fn app(self) -> Result<Result<T, E>, CallError>;
}

impl<T, E> CallResultExt<T, E> for Result<T, CallError<E>> {
    fn app(self) -> Result<Result<T, E>, CallError> {
        match self {
            Ok(value) => Ok(Ok(value)),
            Err(CallError::App(error)) => Ok(Err(error)),
            Err(CallError::Fault(fault)) => Err(CallError::Fault(fault)),
        }
    }
}

/// The deadline of calls without `.timeout(..)`, unless the silo's options say otherwise.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
