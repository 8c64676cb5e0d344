//! What the macros' output names besides.

use std::future::Future;
use std::marker::PhantomData;

use crate::{IsResult, Never, Wire};

pub use serde;

pub use crate::grain::Keyed;

/// A type of a method's signature, as the generated code uses it.
///
/// Its methods are the inherent ones where the type is fit for them, and [`Unfit`]'s otherwise. So a type that is not has
/// one readable error, at its own place, and none in the generated code.
pub struct Field<T>(PhantomData<T>);

impl<T: Wire> Field<T> {
    /// What is serialized.
    pub fn write(value: &T) -> &T {
        value
    }

    /// What was deserialized.
    pub fn read(value: T) -> T {
        value
    }
}

impl<T: IsResult> Field<T> {
    /// The turn of a method that returns this `Result`.
    pub async fn turn<F: Future<Output = T>>(method: F) -> Result<T::Ok, T::Err> {
        method.await.into_result()
    }
}

/// Stands in for [`Field`]'s methods. Code that uses it does not compile, so nothing here runs.
pub trait Unfit<T> {
    /// Never called.
    fn write(_: &T) -> &() {
        unreachable!("the type cannot travel")
    }

    /// Never called.
    fn read((): ()) -> T {
        unreachable!("the type cannot travel")
    }

    /// Never called.
    fn turn<F, R>(_: F) -> std::future::Pending<R> {
        unreachable!("the type is no `Result`")
    }
}

impl<T> Unfit<T> for Field<T> {}

/// A value or an error that a method returns: `Of` is the type itself. An error at `<T as Travels>` is one error.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot travel in a grain call",
    label = "arguments, results and errors of grain methods must be `Serialize + DeserializeOwned + Send + 'static`",
    note = "derive `serde::Serialize` and `serde::Deserialize` for it, or pass what it stands for (a key, a grain reference)"
)]
pub trait Travels {
    /// The type itself.
    type Of: Wire;
}

#[diagnostic::do_not_recommend]
impl<T: Wire> Travels for T {
    type Of = T;
}

/// The turn of a method that returns no `Result`.
pub async fn infallible<F: Future>(method: F) -> Result<F::Output, Never> {
    Ok(method.await)
}
