//! The silo: hosts grains, and is how a program calls them.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use gristmill_grains::call::deadline_after;
use gristmill_grains::sync::Mutex;
use gristmill_grains::{Cause, DeactivationReason, Fault, GrainId, GrainRef, GrainType, InterfaceRef, RefKey};
use tokio::sync::broadcast;
use tokio::time::Instant;

use crate::builder::SiloBuilder;
use crate::clustering::start::Taking;
use crate::core::Core;
use crate::events::SiloEvent;
use crate::metrics::{Metrics, StorageMetrics};
use crate::services::Services;

/// A running silo. Cheap to clone; when the last clone is dropped the silo is cut off without ceremony: call
/// [`stop`](Self::stop) to end it in order.
#[derive(Clone)]
pub struct Silo(Arc<Running>);

struct Running {
    core: Arc<Core>,
    services: Mutex<Option<Services>>,
    taking: Mutex<Option<Taking>>,
    /// How the silo was stopped, once it is; held while it is being stopped.
    stopped: tokio::sync::Mutex<Option<Stopped>>,
}

/// How a stop went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub struct Stopped {
    /// Activations that did not end within `drain_timeout` and were dropped, with what they had not committed.
    pub dropped: usize,
}

impl Silo {
    /// A silo to be described, then started.
    pub fn builder() -> SiloBuilder {
        SiloBuilder::default()
    }

    pub(crate) fn new(core: Arc<Core>, services: Services, taking: Option<Taking>) -> Self {
        let (services, taking) = (Mutex::new(Some(services)), Mutex::new(taking));
        Self(Arc::new(Running { core, services, taking, stopped: tokio::sync::Mutex::default() }))
    }

    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.0.core
    }

    /// A reference to a grain: `let alice: PlayerRef = silo.grain("alice");`. Does no I/O and activates nothing.
    pub fn grain<R: InterfaceRef>(&self, key: impl Into<RefKey<R>>) -> R {
        R::from_ref(GrainRef::bound(key.into(), &*self.0.core))
    }

    /// Calls a method by its wire names, with encoded arguments: what a gateway or transport delivers. The answer is the
    /// encoded `Result` of the method's value and error.
    ///
    /// Dropping the future gives the call up, as with a typed call.
    ///
    /// # Errors
    /// [`Cause::UnknownGrain`], [`Cause::UnknownMethod`] or [`Cause::Codec`] for a request that makes no sense here, and
    /// whatever the call fails with.
    pub async fn invoke(&self, interface: &str, key: &str, method: u32, arguments: &[u8]) -> Result<Vec<u8>, Fault> {
        let core = &self.0.core;
        let grain = || GrainId::new(GrainType::from_wire(interface), key);
        let method = core.wire_method(interface, method);
        let method = method.map_err(|cause| Fault::not_executed(cause).of(&grain()))?;
        method.invoke(core.clone(), key, arguments).await
    }

    /// What happens in the silo, from now on. A receiver that lags behind loses the oldest of 1,024 events.
    pub fn events(&self) -> broadcast::Receiver<SiloEvent> {
        self.0.core.events.subscribe()
    }

    /// The counters. Looks at every activation; not for a hot path.
    pub fn metrics(&self) -> Metrics {
        let core = &self.0.core;
        let storages = core.storages.iter().map(|storage| StorageMetrics {
            name: storage.name.clone(),
            commits: storage.commits.load(Ordering::Relaxed),
            batches: storage.batches.load(Ordering::Relaxed),
            retries: storage.retries.load(Ordering::Relaxed),
            down: storage.is_down(),
        });
        Metrics {
            grains: core.hosts().iter().map(|host| host.metrics()).collect(),
            storages: storages.collect(),
            lost_sends: core.lost_sends.load(Ordering::Relaxed),
        }
    }

    /// Is the grain in memory here? Never activates it.
    pub fn is_active<R: InterfaceRef>(&self, grain: &R) -> bool {
        let id = grain.as_ref().id();
        let hosts = self.0.core.hosts();
        hosts.iter().any(|host| host.grain_type() == id.grain_type() && host.is_active(id.key()))
    }

    /// Ends every idle activation now, as the collector would; returns at once.
    pub fn collect_idle(&self) {
        for host in self.0.core.hosts() {
            let now = self.0.core.clock.load(Ordering::Relaxed);
            host.collect(now, Some(0));
        }
    }

    /// Ends when others have taken this silo's place: a later silo runs on its storage, or the other silos of its cluster
    /// have declared it dead. It serves no more, and the program should [`stop`](Self::stop) it. Says why.
    pub async fn must_stop(&self) -> Fault {
        loop {
            if let Some(reason) = self.0.core.superseded.lock().clone() {
                return Fault::not_executed(Cause::SiloUnavailable { reason });
            }
            self.0.core.must_stop.notified().await;
            self.0.core.must_stop.notify_one(); // whoever else waits
        }
    }

    /// Ends the silo in order: new calls from outside fail with [`Cause::SiloUnavailable`], running turns end, every
    /// activation runs `on_deactivate`, and what they changed is committed. What is not done within
    /// [`drain_timeout`](crate::SiloOptions::drain_timeout) is dropped.
    ///
    /// A second call waits for the same end. Dropping the future leaves the silo stopping; another call goes on with it.
    pub async fn stop(&self) -> Stopped {
        let core = &self.0.core;
        let mut end = self.0.stopped.lock().await;
        if let Some(stopped) = *end {
            return stopped;
        }
        core.begin_stop();
        tracing::info!("the silo is stopping");
        let taking = self.0.taking.lock().take();
        if let Some(taking) = &taking {
            taking.leave().await;
        }
        let deadline = deadline_after(core.options.drain_timeout);
        let live = || core.hosts().iter().map(|host| host.live()).sum::<usize>();
        while live() > 0 && Instant::now() < deadline {
            let ended = core.deactivated.notified();
            core.hosts().iter().for_each(|host| host.close_all(DeactivationReason::SiloStopping));
            // Also looks again by itself: a turn may activate another grain.
            let _ = tokio::time::timeout(Duration::from_millis(50), ended).await;
        }
        if let Some(node) = &core.node {
            node.say_goodbye(deadline).await;
        }
        let dropped = live();
        if dropped > 0 {
            tracing::error!(dropped, "the drain timeout is over; dropping what has not ended");
        }
        if let Some(taking) = taking {
            taking.end().await;
        }
        self.0.end();
        let services = self.0.services.lock().take();
        if let Some(services) = services {
            services.stop().await;
        }
        tracing::info!("the silo has stopped");
        *end.insert(Stopped { dropped })
    }
}

impl Running {
    fn end(&self) {
        self.core.end_stop();
        self.core.take_apart();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.core.is_stopped() {
            self.end();
        }
        if let Some(services) = self.services.get_mut().take() {
            services.kill();
        }
    }
}

impl fmt::Debug for Silo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Silo").field("stopping", &self.0.core.is_stopping()).finish_non_exhaustive()
    }
}
