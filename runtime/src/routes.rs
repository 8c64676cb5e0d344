//! Where each thread last found the grains it called: a call of one of them touches no table that threads share.
//!
//! An entry is taken out for the time of a call and put back after it, so no count is touched either. An activation that
//! has ended says so when it is called, and is then looked up in the catalog. Bounded: 256 entries a thread; what they
//! keep of an ended activation, or of a silo that is over, is its bare bookkeeping.

use std::any::Any;
use std::cell::RefCell;
use std::sync::Arc;

use gristmill_grains::Grain;

use crate::activation::Activation;
use crate::host::TypeHost;

const SLOTS: usize = 256;

type Slot = Option<Arc<dyn Any + Send + Sync>>;

thread_local! {
    static ROUTES: RefCell<Box<[Slot; SLOTS]>> = RefCell::new(Box::new([const { None }; SLOTS]));
}

#[inline]
fn slot<R>(hash: u64, f: impl FnOnce(&mut Slot) -> R) -> Option<R> {
    if cfg!(shuttle) {
        return None; // its threads share one
    }
    // A thread that ends may still drop grains, which call others.
    ROUTES.try_with(|routes| f(&mut routes.borrow_mut()[hash as usize % SLOTS])).ok()
}

/// Takes out where this thread last found the grain.
#[inline]
pub(crate) fn take<G: Grain>(host: &TypeHost<G>, hash: u64, key: &G::Key) -> Option<Arc<Activation<G>>> {
    let found = slot(hash, |slot| {
        let known = slot.as_ref()?.downcast_ref::<Activation<G>>()?;
        if known.hash == hash && known.key == *key && std::ptr::eq(&*known.host, host) { slot.take() } else { None }
    });
    found.flatten()?.downcast().ok()
}

/// Puts it (back) in.
#[inline]
pub(crate) fn put<G: Grain>(activation: Arc<Activation<G>>) {
    if !activation.host.has_routes() {
        return;
    }
    let hash = activation.hash;
    let replaced = slot(hash, |slot| slot.replace(activation));
    drop(replaced); // outside of the borrow
}
