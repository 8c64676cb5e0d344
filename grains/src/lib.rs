//! The programming model of Gristmill: what a crate of grain interfaces, or of grains, depends on. No I/O.
//!
//! # Layout
//! - [`GrainId`], [`GrainKey`] and their kin: who a grain is.
//! - [`Interface`], [`Method`], [`Exclusive`], [`Shared`]: what `#[grain_interface]` makes of a trait.
//! - [`Grain`], [`Lifecycle`], [`GrainOptions`]: what `#[derive(Grain)]` makes of a struct.
//! - [`GrainRef`] and [`call`]: reaching a grain.
//! - [`CallError`], [`Fault`], [`Cause`]: how a call fails.
//! - [`GrainContext`]: what a grain asks of the runtime.
//! - [`state`] and [`storage`]: durable state, and the port to the stores that hold it.
//! - [`filter`]: code around every call.
//! - [`port`], [`cell`], [`turn`], [`codec`]: the seam between this crate and the runtime.

pub mod call;
pub mod cell;
#[doc(hidden)]
pub mod chaos;
pub mod codec;
pub mod context;
mod error;
pub mod filter;
mod grain;
mod id;
mod key;
mod method;
mod outbound;
pub mod port;
pub mod reference;
mod request;
pub mod state;
pub mod storage;
#[doc(hidden)]
pub mod sync;
pub mod turn;

pub use call::Call;
pub use context::{BuildContext, GrainContext, TimerHandle};
pub use error::{BoxError, CallError, CallResultExt, Cause, ChainLink, DEFAULT_TIMEOUT, Fault, Never};
pub use grain::{DeactivationReason, DirtyCalls, Grain, GrainOptions, Lifecycle, Placement};
pub use gristmill_macros::{Grain, grain_interface};
pub use id::{ActivationId, GrainId, GrainType};
pub use key::{Compound, GrainKey, InvalidKey, MAX_KEY_LEN, StrKey};
pub use method::{
    Access, Binder, Exclusive, Interface, IsResult, KeyOf, Method, Outcome, Reply, Shared, Wire, assert_wire,
};
pub use port::BoxFuture;
pub use reference::{GrainRef, InterfaceRef, RefKey};
pub use request::{RequestContext, TRACEPARENT};
pub use storage::StorageError;

#[doc(hidden)]
pub mod __private;
