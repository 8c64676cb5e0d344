//! One life of a grain in memory.
//!
//! - [`mailbox`]: who may run now, who waits.
//! - [`turn`]: running a turn, here or on a task of its own ([`warm`]), and ending it.
//! - [`call`]: awaited and one-way calls as turns; [`bodies`]: what those turns do.
//! - [`gate`]: what waits for a commit; [`commit`]: the commits.
//! - [`activate`], [`lifecycle`]: beginning and ending; [`claim`]: whose the grain is; [`timers`]; [`port`]: what the grain's own code sees.
//! - [`sweep`]: deadlines, stuck turns; [`idle`]: collection.

mod activate;
pub(crate) mod bodies;
pub(crate) mod call;
mod claim;
mod commit;
pub(crate) mod gate;
mod idle;
#[cfg(all(test, shuttle))]
mod interleavings;
pub(crate) mod lifecycle;
pub(crate) mod mailbox;
mod port;
mod sweep;
mod timers;
pub(crate) mod turn;
mod warm;

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Weak};

use gristmill_grains::sync::{Mutex, MutexGuard};
use gristmill_grains::{ActivationId, Fault, Grain, GrainId, GrainKey};

use crate::host::TypeHost;
use mailbox::Inner;

pub(crate) use claim::Claiming;
pub(crate) use commit::Stored;

/// One life of a grain in memory. The catalog holds it; turns and commits under way keep it alive.
pub(crate) struct Activation<G: Grain> {
    me: Weak<Self>,
    pub(crate) host: Arc<TypeHost<G>>,
    pub(crate) key: G::Key,
    /// The key's hash, for the catalog.
    pub(crate) hash: u64,
    pub(crate) id: ActivationId,
    /// Is `Inner::lost` set?
    mute: AtomicBool,
    /// Is a turn being polled in place, on some thread? A hint.
    polling: AtomicBool,
    /// The collector's clock when it was last called.
    last_used: AtomicU32,
    /// Held from encoding the grain's state until it is put behind the gate, where several turns may do so side by side:
    /// an older snapshot must not replace a newer one, nor a reply leave between the two. Taken before `inner`.
    encoding: Mutex<()>,
    inner: Mutex<Inner<G>>,
}

impl<G: Grain> Activation<G> {
    pub(crate) fn new(host: &Arc<TypeHost<G>>, key: G::Key, hash: u64) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            me: me.clone(),
            host: host.clone(),
            key,
            hash,
            id: host.core.next_activation_id(),
            mute: AtomicBool::new(false),
            polling: AtomicBool::new(false),
            last_used: AtomicU32::new(host.core.coarse_now()),
            encoding: Mutex::new(()),
            inner: Mutex::new(Inner::new()),
        })
    }

    pub(crate) fn grain_id(&self) -> GrainId {
        GrainId::new(self.host.grain_type.clone(), self.key.to_text())
    }

    fn arc(&self) -> Arc<Self> {
        // Whoever calls a method holds an `Arc` of it.
        match self.me.upgrade() {
            Some(me) => me,
            None => unreachable!("an activation is used only through its Arc"),
        }
    }

    /// Locks what every call locks twice. When another thread is at it, backing off lets that one make many calls on warm
    /// caches; two that take turns spend their time on moving the lock between them.
    #[inline]
    fn lock_often(&self) -> MutexGuard<'_, Inner<G>> {
        match self.inner.try_lock() {
            Some(inner) => inner,
            None => self.lock_contended(),
        }
    }

    #[cold]
    fn lock_contended(&self) -> MutexGuard<'_, Inner<G>> {
        let mut pause = mailbox::FIRST_PAUSE;
        while pause <= mailbox::LAST_PAUSE {
            (0..pause).for_each(|_| std::hint::spin_loop());
            if let Some(inner) = self.inner.try_lock() {
                return inner;
            }
            pause *= 2;
        }
        self.inner.lock()
    }

    /// Why the activation may do nothing more, if it may not.
    fn lost_fault(&self) -> Option<Fault> {
        if !self.mute.load(Ordering::Acquire) {
            return None;
        }
        self.inner.lock().lost.clone()
    }
}
