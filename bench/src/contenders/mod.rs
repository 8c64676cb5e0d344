//! The same small actor, four times.

pub(crate) mod channel;
pub(crate) mod gristmill;
pub(crate) mod kameo;
pub(crate) mod ractor;

use std::future::Future;

/// One way to have actors. A handle is what its users hold to call one.
pub(crate) trait Contender: Send + Sync + 'static {
    const NAME: &'static str;
    type Handle: Clone + Send + Sync + 'static;
    /// Inside its own runtime.
    fn start() -> impl Future<Output = Self> + Send;
    /// An actor that answers; equal names, equal actors, where there are names. `next`: whom it calls in a chain.
    fn actor(&self, name: &str, next: Option<Self::Handle>) -> impl Future<Output = Self::Handle> + Send;
    /// Must a handle be kept for the actor to live?
    const NEEDS_HANDLES: bool;
    /// An actor that holds so many bytes.
    fn holder(&self, name: &str, bytes: usize) -> impl Future<Output = Self::Handle> + Send;
    /// Adds to the actor's counter.
    fn add(actor: &Self::Handle, n: u64) -> impl Future<Output = u64> + Send;
    /// Reads it.
    fn get(actor: &Self::Handle) -> impl Future<Output = u64> + Send;
    /// Adds to it and lets others run before it answers.
    fn wait(actor: &Self::Handle) -> impl Future<Output = u64> + Send;
    /// Passes the call on to the end of the chain, and the answer back.
    fn chain(actor: &Self::Handle) -> impl Future<Output = u64> + Send;
}
