//! Through whom the grains are called.

use gristmill::grains::{InterfaceRef, RefKey};
use gristmill::{Client, Silo};

/// A silo, or a client of a cluster.
pub trait Calls: Clone + Send + Sync + 'static {
    /// Is it over when one silo is?
    const IS_ONE_SILO: bool;

    /// A reference to a grain.
    fn grain<R: InterfaceRef>(&self, key: impl Into<RefKey<R>>) -> R;
}

impl Calls for Silo {
    const IS_ONE_SILO: bool = true;

    fn grain<R: InterfaceRef>(&self, key: impl Into<RefKey<R>>) -> R {
        Silo::grain(self, key)
    }
}

impl Calls for Client {
    const IS_ONE_SILO: bool = false;

    fn grain<R: InterfaceRef>(&self, key: impl Into<RefKey<R>>) -> R {
        Client::grain(self, key)
    }
}
