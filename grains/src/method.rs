//! What `#[grain_interface]` generates code against: interfaces, methods, and how a grain type binds to them.
//!
//! The turn is implemented on the *argument struct* of a method, generic in the grain
//! (`impl<G: Player> Exclusive<G> for TakeDamage`). So an interface crate needs no implementation, and a call passes
//! its arguments and its result by value through one dynamic call: no `Any`, no boxing, no encoding on one silo.

use std::future::Future;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{CallError, Grain, GrainKey};

/// What can travel in a grain call: an argument, a result, an error.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot travel in a grain call",
    label = "arguments, results and errors of grain methods must be `Serialize + DeserializeOwned + Send + 'static`",
    note = "derive `serde::Serialize` and `serde::Deserialize` for it, or pass what it stands for (a key, a grain reference)"
)]
pub trait Wire: Serialize + DeserializeOwned + Send + 'static {}

#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned + Send + 'static> Wire for T {}

/// How a turn holds its grain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// `&self`: beside other reads.
    Shared,
    /// `&mut self`: alone.
    Exclusive,
}

/// The marker type of a grain interface.
pub trait Interface: Send + Sync + 'static {
    /// The key of the grains that implement it.
    type Key: GrainKey;
    /// The interface's wire name.
    const NAME: &'static str;
    /// The wire name of the grain type that implements it.
    const GRAIN: &'static str;
}

/// The argument struct of one method of an interface.
pub trait Method: Wire {
    /// The interface it belongs to.
    type Interface: Interface;
    /// What the method returns; of a `Result`, the value.
    type Ok: Wire;
    /// The error of a method that returns a `Result`, else [`Never`](crate::Never).
    type Err: Wire;
    /// Its position in the interface: names its place in tables of one process, not on the wire.
    const INDEX: usize;
    /// Its name on the wire: unique in the interface, stable when given explicitly.
    const WIRE_ID: u32;
    /// Its Rust name, for messages.
    const NAME: &'static str;
    /// How it holds the grain.
    const ACCESS: Access;
}

/// The key of the grain that a method is called on.
pub type KeyOf<M> = <<M as Method>::Interface as Interface>::Key;

/// What awaiting a call gives.
pub type Outcome<M> = Result<<M as Method>::Ok, CallError<<M as Method>::Err>>;

/// What the method's body gives.
pub type Reply<M> = Result<<M as Method>::Ok, <M as Method>::Err>;

/// A `&mut self` method, run on grain `G`.
pub trait Exclusive<G>: Method {
    /// Runs the method's body.
    fn run(self, grain: &mut G) -> impl Future<Output = Reply<Self>> + Send;
}

/// A `&self` method, run on grain `G`.
pub trait Shared<G>: Method {
    /// Runs the method's body.
    fn run(self, grain: &G) -> impl Future<Output = Reply<Self>> + Send;
}

/// Receives the interfaces and methods of a grain type when it is registered.
pub trait Binder<G: Grain> {
    /// Begins an interface; its methods follow, in the order of their [`Method::INDEX`].
    fn interface<I: Interface<Key = G::Key>>(&mut self);
    /// A `&mut self` method of the interface begun last.
    fn exclusive<M: Exclusive<G>>(&mut self)
    where
        M::Interface: Interface<Key = G::Key>;
    /// A `&self` method of the interface begun last.
    fn shared<M: Shared<G>>(&mut self)
    where
        M::Interface: Interface<Key = G::Key>;
}

/// Lets the macro find the value and the error of a return type that is named `..Result`, aliases included.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is named like a `Result` but is none",
    label = "a grain method's return type whose name ends in `Result` must be `core::result::Result` or an alias of it"
)]
pub trait IsResult {
    /// The value.
    type Ok;
    /// The error.
    type Err;
    /// The value itself.
    fn into_result(self) -> Result<Self::Ok, Self::Err>;
}

impl<T, E> IsResult for Result<T, E> {
    type Ok = T;
    type Err = E;

    fn into_result(self) -> Self {
        self
    }
}

/// Fails to compile unless `T` can travel in a call, with one readable error at the argument's type.
#[doc(hidden)]
pub const fn assert_wire<T: Wire>() {}
