//! A simulated process: a runtime of its own, that runs when the simulation says so.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::time::{Instant, advance, sleep_until};

use super::world::{HostId, Micros, World};

pub(crate) struct Host {
    world: Arc<World>,
    pub(crate) id: HostId,
    runtime: Runtime,
    /// When it began, by the simulation's time and by its own.
    base: Micros,
    started: Instant,
    /// Up to when it has run.
    ran: Micros,
    paused: bool,
}

impl Host {
    /// Starts it with the task that is its program.
    pub(crate) fn start(
        world: &Arc<World>,
        id: HostId,
        now: Micros,
        program: impl Future<Output = ()> + Send + 'static,
    ) -> std::io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build()?;
        let started = runtime.block_on(async { Instant::now() });
        world.revive(id);
        drop(runtime.spawn(program));
        Ok(Self { world: world.clone(), id, runtime, base: now, started, ran: now, paused: false })
    }

    /// Lets it run until a time, unless it is paused.
    pub(crate) fn run_to(&mut self, end: Micros) {
        if self.paused {
            return;
        }
        let at = self.started + Duration::from_micros(end - self.base);
        self.world.enter(self.base, self.started);
        self.runtime.block_on(async move { sleep_until(at).await });
        self.world.leave();
        self.ran = end;
    }

    /// Stops it, as SIGSTOP does.
    pub(crate) fn pause(&mut self) {
        self.paused = true;
    }

    /// Lets it go on: its clock jumps.
    pub(crate) fn resume(&mut self, now: Micros) {
        if std::mem::take(&mut self.paused) {
            let missed = Duration::from_micros(now - self.ran);
            self.world.enter(self.base, self.started);
            self.runtime.block_on(advance(missed));
            self.world.leave();
            self.ran = now;
        }
    }

    /// Ends it at once. Network and storage are gone before anything of it can say goodbye.
    pub(crate) fn kill(self, machine: bool) {
        self.world.kill(self.id, machine);
        drop(self.runtime);
    }
}
