//! The conductor: the scenario's commands, and the steps of time.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use gristmill_grains::chaos::{self, Bug, Chaos};

use super::client::{self, Task};
use super::host::Host;
use super::silo::{self, Control, Describe, Life};
use super::views::Views;
use super::weather::Weather;
use super::world::{HostId, Micros, TICK, World};
use crate::builder::SiloBuilder;
use crate::{Client, Silo};

/// How long [`Sim::result`] waits, in virtual time.
const PATIENCE: Duration = Duration::from_secs(600);

/// A simulated cluster. See the [module](super).
///
/// One at a time on a thread. Commands take effect at once; time goes on in [`run_for`](Self::run_for) and what calls it.
pub struct Sim {
    seed: u64,
    pub(super) world: Arc<World>,
    rng: fastrand::Rng,
    now: Micros,
    describe: Option<Describe>,
    pub(super) silos: Vec<Process>,
    pub(super) clients: Vec<Host>,
    pub(super) views: Views,
    zombies: Vec<(Micros, Micros)>,
    /// What was told of, for the scenario's print.
    story: Vec<String>,
}

/// A silo's process: one after the other, on one host.
pub(super) struct Process {
    pub(super) host: HostId,
    name: String,
    generation: u64,
    running: Option<Host>,
    control: Control,
}

impl Sim {
    /// A cluster of nothing yet. All that happens follows from the seed.
    pub fn new(seed: u64) -> Self {
        Self::with(seed, Weather::default(), None, false)
    }

    /// In bad weather, with a planted bug, with a trace that is kept.
    pub fn with(seed: u64, weather: Weather, bug: Option<Bug>, keep_trace: bool) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let (likely, chance) = (weather.points, fastrand::Rng::with_seed(rng.u64(..)));
        chaos::begin(Chaos { likely, rng: chance, bug, reached: BTreeMap::new() });
        crate::activation::turn::reset_turn_ids();
        Self {
            seed,
            world: Arc::new(World::new(rng.u64(..), weather, keep_trace)),
            rng,
            now: 0,
            describe: None,
            silos: Vec::new(),
            clients: Vec::new(),
            views: Views::default(),
            zombies: Vec::new(),
            story: Vec::new(),
        }
    }

    /// Starts so many silos, each as `describe` says; their storage `default` is the simulated Redis.
    #[must_use]
    pub fn silos(
        mut self,
        silos: usize,
        describe: impl Fn(SiloBuilder) -> SiloBuilder + Send + Sync + 'static,
    ) -> Self {
        self.describe = Some(Arc::new(describe));
        for _ in 0..silos {
            self.add_silo();
        }
        self
    }

    /// Starts one silo more; gives its number.
    pub fn add_silo(&mut self) -> usize {
        let number = self.silos.len();
        let name = format!("silo-{number}");
        let host = self.world.add_host(&name);
        self.silos.push(Process { host, name, generation: 0, running: None, control: Control::new() });
        self.start(number);
        number
    }

    /// Starts a silo that does not run: a new process on the same host.
    ///
    /// # Panics
    /// If there are no silos.
    pub fn start(&mut self, silo: usize) {
        let Some(describe) = self.describe.clone() else { panic!("describe the silos first: Sim::silos") };
        if self.silos[silo].running.is_some() {
            return;
        }
        self.tell(format!("start silo {silo}"));
        let seed = self.rng.u64(..);
        let process = &mut self.silos[silo];
        process.generation += 1;
        process.control = Control::new();
        let program = silo::program(
            self.world.clone(),
            process.host,
            process.name.clone(),
            seed,
            describe,
            process.control.clone(),
        );
        match Host::start(&self.world, process.host, self.now, program) {
            Ok(host) => process.running = Some(host),
            Err(error) => panic!("no runtime: {error}"),
        }
    }

    /// Kills a silo's process: its connections end, and it is gone in the middle of whatever it did.
    pub fn crash(&mut self, silo: usize) {
        self.end(silo, false);
    }

    /// Cuts the power of a silo's machine: nobody is told.
    pub fn power_off(&mut self, silo: usize) {
        self.end(silo, true);
    }

    fn end(&mut self, silo: usize, machine: bool) {
        let Some(host) = self.silos[silo].running.take() else { return };
        self.tell(format!("{} silo {silo}", if machine { "power off" } else { "crash" }));
        self.met(if machine { "power off" } else { "crash" });
        host.kill(machine);
        self.silos[silo].control.forget();
    }

    /// Tells a silo to leave in order, as SIGTERM does.
    pub fn stop(&mut self, silo: usize) {
        self.tell(format!("stop silo {silo}"));
        self.met("stop");
        self.silos[silo].control.stop.send_replace(true);
    }

    /// Stops a silo's process where it is, as SIGSTOP does.
    pub fn pause(&mut self, silo: usize) {
        self.tell(format!("pause silo {silo}"));
        self.met("pause");
        self.silos[silo].running.iter_mut().for_each(Host::pause);
    }

    /// Lets a paused silo go on.
    pub fn resume(&mut self, silo: usize) {
        self.tell(format!("resume silo {silo}"));
        let now = self.now;
        self.silos[silo].running.iter_mut().for_each(|host| host.resume(now));
    }

    /// Does the silo's process run, and serve, and was it not told to leave?
    pub fn is_serving(&self, silo: usize) -> bool {
        let control = &self.silos[silo].control;
        control.silo().is_some() && !*control.stop.borrow()
    }

    /// Does the silo's process run, whatever it does?
    pub fn is_running(&self, silo: usize) -> bool {
        self.silos[silo].running.is_some()
    }

    /// The silo, while it serves.
    pub fn silo(&self, silo: usize) -> Option<Silo> {
        self.silos[silo].control.silo()
    }

    /// How many silos there are, those that do not run included.
    pub fn len(&self) -> usize {
        self.silos.len()
    }

    /// Are there none?
    pub fn is_empty(&self) -> bool {
        self.silos.is_empty()
    }

    /// Runs a program on a host of its own, with a client of the cluster. It is connected before the program begins.
    pub fn client<T, F>(&mut self, program: impl FnOnce(Client) -> F + Send + 'static) -> Task<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let name = format!("client-{}", self.clients.len());
        let host = self.world.add_host(&name);
        let silos = self.silos.iter().map(|silo| silo.name.clone()).collect();
        let outcome = Arc::default();
        let task = Task { outcome: Arc::clone(&outcome) };
        let program = client::program(self.world.clone(), host, silos, self.rng.u64(..), program, outcome);
        match Host::start(&self.world, host, self.now, program) {
            Ok(host) => self.clients.push(host),
            Err(error) => panic!("no runtime: {error}"),
        }
        task
    }

    /// Lets time go on until the program has ended.
    ///
    /// # Panics
    /// If it has not after ten minutes of virtual time.
    pub fn result<T>(&mut self, task: Task<T>) -> T {
        let end = self.now + PATIENCE.as_micros() as Micros;
        while self.now < end {
            if let Some(outcome) = task.outcome.lock().take() {
                return outcome;
            }
            self.step();
        }
        panic!("seed {}: a client's program has not ended within {PATIENCE:?} of virtual time", self.seed);
    }

    /// Lets time go on.
    pub fn run_for(&mut self, time: Duration) {
        let end = self.now + time.as_micros() as Micros;
        while self.now < end {
            self.step();
        }
    }

    /// Lets time go on until this holds; says whether it did within `time`.
    pub fn run_until(&mut self, time: Duration, mut holds: impl FnMut(&mut Self) -> bool) -> bool {
        let end = self.now + time.as_micros() as Micros;
        while self.now < end {
            if holds(self) {
                return true;
            }
            self.step();
        }
        holds(self)
    }

    /// One tick of everything.
    fn step(&mut self) {
        self.world.deliver();
        let end = self.now + TICK;
        // Who runs first in a tick is chance.
        let count = self.silos.len();
        let begin = self.rng.usize(..count.max(1));
        for number in 0..count {
            let process = &mut self.silos[(begin + number) % count];
            process.running.iter_mut().for_each(|host| host.run_to(end));
        }
        self.clients.iter_mut().for_each(|host| host.run_to(end));
        self.now = end;
        self.world.advance();
        let mut zombie = false;
        for process in &mut self.silos {
            let Some(silo) = process.control.silo() else { continue };
            if let Some(node) = &silo.core().node {
                let view = node.view();
                self.views.see(node.me(), &view);
                zombie |= self.views.is_dead(node.me());
            }
        }
        match self.zombies.last_mut() {
            Some((_, until)) if zombie && *until + TICK == end => *until = end,
            _ if zombie => self.zombies.push((end - TICK, end)),
            _ => {}
        }
        for silo in 0..self.silos.len() {
            self.reap(silo);
        }
    }

    /// A process that has ended by itself is no more.
    fn reap(&mut self, silo: usize) {
        let ended = match &*self.silos[silo].control.life.lock() {
            Life::Ended(why) => why.clone(),
            _ => return,
        };
        if let Some(host) = self.silos[silo].running.take() {
            self.tell(format!("silo {silo} ended: {ended}"));
            host.kill(false);
        }
    }

    /// A number that follows from the seed, for scenarios.
    pub fn random(&mut self, below: usize) -> usize {
        self.rng.usize(..below.max(1))
    }

    /// Virtual time since the simulation began.
    pub fn now(&self) -> Duration {
        Duration::from_micros(self.now)
    }

    /// A clock for programs on hosts: virtual time since the simulation began.
    pub fn clock(&self) -> impl Fn() -> Duration + Clone + Send + Sync + 'static {
        let world = self.world.clone();
        move || world.now()
    }

    /// What was found to be broken so far: the invariants that are watched at every moment.
    pub fn broken(&self) -> Vec<String> {
        let state = self.world.0.lock();
        state.redis.oracle.broken.iter().chain(&self.views.broken).cloned().collect()
    }

    /// From when until when a silo still ran that another one knew to be dead. Nothing that it changes can last; but a
    /// caller that has not heard of its death may read what it held.
    pub fn zombies(&self) -> Vec<(Duration, Duration)> {
        let time = Duration::from_micros;
        self.zombies.iter().map(|(from, until)| (time(*from), time(*until))).collect()
    }

    /// Do all silos that serve agree on who is in the cluster?
    pub fn agrees(&self) -> bool {
        let nodes = self.silos.iter().filter_map(|process| process.control.silo()?.core().node.clone());
        let views: Vec<_> = nodes.map(|node| node.view()).collect();
        let serving = views.len();
        views.windows(2).all(|pair| pair[0].version == pair[1].version)
            && views.iter().all(|view| view.active().count() == serving)
    }

    /// Checks what must hold at every moment, and did.
    ///
    /// # Panics
    /// If something did not, with what it was, the scenario so far, and the seed.
    pub fn check(&self) {
        let broken = self.broken();
        assert!(broken.is_empty(), "seed {}: {broken:#?}\n{}", self.seed, self.story());
    }

    /// What the scenario did, with times; a line each.
    pub fn story(&self) -> String {
        self.story.join("\n")
    }

    /// A digest of everything that happened, and of how many events: two runs of one seed have the same.
    pub fn digest(&self) -> (u64, u64) {
        self.world.0.lock().trace.digest()
    }

    /// Everything that happened, if it was kept.
    pub fn trace(&self) -> String {
        self.world.0.lock().trace.text().to_owned()
    }

    /// How often each kind of fault was met, and each place in the code reached.
    pub fn coverage(&self) -> BTreeMap<String, u64> {
        let state = self.world.0.lock();
        let faults = state.faults.iter().map(|(name, count)| ((*name).to_owned(), *count));
        let mut all: BTreeMap<_, _> = faults.collect();
        all.extend(chaos::reached().into_iter().map(|(name, count)| (name.to_owned(), count)));
        all
    }

    /// What Redis holds; for people.
    pub fn dump(&self) -> String {
        self.world.0.lock().redis.server.dump()
    }

    pub(super) fn met(&self, fault: &'static str) {
        self.world.0.lock().met(fault);
    }

    pub(super) fn tell(&mut self, what: String) {
        self.world.0.lock().trace.note(self.now, &what);
        self.story.push(format!("{:>9.3} s  {what}", self.now as f64 / 1e6));
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        for client in self.clients.drain(..) {
            client.kill(true);
        }
        for process in self.silos.drain(..) {
            if let Some(host) = process.running {
                host.kill(true);
            }
            process.control.forget();
        }
        drop(chaos::end());
    }
}
