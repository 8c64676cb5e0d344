//! One run: a cluster, its callers, what goes wrong, and what came of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use gristmill::sim::{Bug, Sim, Weather};

use crate::history::Counts;
use crate::plan::{self, FAULTS, Fault, Plan};
use crate::workloads::{Caller, Stale, Workload};

/// Hosts that call.
pub const CLIENTS: usize = 2;

/// Callers go on for so long after the last fault may have begun.
const AFTER: Duration = Duration::from_secs(2);

/// How long a silo may take to leave: the default of its drain timeout.
const DRAINS: Duration = Duration::from_secs(30);

/// How long the silos have to agree once all is well.
const CONVERGES: Duration = Duration::from_secs(60);

/// How long everything has to answer then.
const ANSWERS: Duration = Duration::from_secs(120);

/// How a run is made.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What it follows from.
    pub seed: u64,
    /// What goes wrong.
    pub plan: Plan,
    /// A bug that is planted in the code.
    pub bug: Option<Bug>,
    /// Only this workload.
    pub only: Option<String>,
    /// Keeps the whole trace.
    pub trace: bool,
}

impl Settings {
    /// The settings of a seed.
    pub fn of(seed: u64) -> Self {
        Self { seed, plan: Plan::of(seed, CLIENTS), bug: None, only: None, trace: false }
    }
}

impl Settings {
    /// Is this workload played? A match costs as much as all the others: it is in one run of four.
    fn plays(&self, workload: &str) -> bool {
        match &self.only {
            Some(only) => only == workload,
            None => workload != "arena" || self.seed % 4 == 3,
        }
    }
}

/// What a run came to.
#[derive(Clone, Debug, Default)]
pub struct Ran {
    /// What does not hold.
    pub broken: Vec<String>,
    /// What happened, told by the conductor.
    pub story: String,
    /// A digest of everything that happened, and how many events that were.
    pub digest: (u64, u64),
    /// Everything that happened, if it was kept.
    pub trace: String,
    /// The calls.
    pub counts: Counts,
    /// How often each fault was met, and each place reached.
    pub coverage: BTreeMap<String, u64>,
    /// How long it was, in virtual time.
    pub lasted: Duration,
}

/// Counted by the runtime where it cannot be, unless the store has lost writes.
const CONFLICT: &str = "a commit met a version that nobody else can have written";

fn weather(settings: &Settings) -> Weather {
    // Every third run has fine weather.
    let fine = settings.plan.rolling || settings.seed.is_multiple_of(3);
    if fine { Weather::default() } else { Weather::bad() }
}

/// Makes a run. A panic in it is what is broken.
pub fn run(settings: &Settings) -> Ran {
    // A thread of its own: nothing of another run is left in it.
    let settings = settings.clone();
    let seed = settings.seed;
    let running = std::thread::Builder::new().name(format!("seed {seed}")).spawn(move || play(&settings));
    match running.map(std::thread::JoinHandle::join) {
        Ok(Ok(ran)) => ran,
        Ok(Err(panic)) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Ran { broken: vec![format!("it panicked: {}", text.unwrap_or_default())], ..Ran::default() }
        }
        Err(error) => Ran { broken: vec![format!("no thread: {error}")], ..Ran::default() },
    }
}

fn play(settings: &Settings) -> Ran {
    let workloads = crate::workloads::all(0, settings.seed / 2 % 2 == 1);
    let chosen = |workload: &Arc<dyn Workload>| settings.plays(workload.name());
    let workloads: Vec<_> = workloads.into_iter().filter(chosen).collect();
    let hosted = workloads.clone();
    let mut sim = Sim::with(settings.seed, weather(settings), settings.bug, settings.trace)
        .silos(settings.plan.silos, move |silo| hosted.iter().fold(silo, |silo, workload| workload.describe(silo)));
    let clock: crate::history::Clock = Arc::new(sim.clock());
    let until = FAULTS + AFTER;
    let playing: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let (patient, keeps) = (settings.plan.rolling, !settings.plan.loses);
            let (workloads, clock, seed) = (workloads.clone(), clock.clone(), settings.seed ^ (number as u64) << 56);
            sim.client(move |client| async move {
                let pause = Duration::from_millis(400);
                let caller = Caller { client, number, seed, clock, until, pause, patient, keeps };
                join_all(workloads.iter().map(|workload| workload.play(caller.clone()))).await;
            })
        })
        .collect();
    let mut broken = Vec::new();
    for (at, number, begins) in settings.plan.moments() {
        sim.run_for(at.saturating_sub(sim.now()));
        let fault = settings.plan.faults[number].fault;
        if settings.plan.rolling && !begins {
            // It answers first what was begun; then it is started again, and the next one is told to leave.
            let left = |sim: &mut Sim| !matches!(fault, Fault::Stop(silo) if sim.is_running(silo));
            if !sim.run_until(DRAINS, left) {
                broken.push(format!("I9: a silo has not left after {DRAINS:?}"));
            }
        }
        if begins { plan::begin(&mut sim, fault) } else { plan::end(&mut sim, fault) }
    }
    sim.run_for(until.saturating_sub(sim.now()));
    finish(&mut sim, &mut broken);
    if !sim.run_until(ANSWERS, |_| playing.iter().all(gristmill::sim::Task::is_done)) {
        broken.push(format!("I5: calls have not ended {ANSWERS:?} after all was well"));
    }
    if settings.seed % 2 == 1 {
        // What is read in the end is what the store has.
        sim.run_for(AFTER);
        (0..sim.len()).for_each(|silo| sim.crash(silo));
        settle(&mut sim, &mut broken);
    }
    let audited = workloads.clone();
    let auditing = sim.client(move |client| async move {
        join_all(audited.iter().map(|workload| workload.audit(client.clone()))).await;
    });
    if !sim.run_until(ANSWERS, |_| auditing.is_done()) {
        broken.push(format!("I5: something does not answer {ANSWERS:?} after all was well"));
    }
    broken.extend(sim.broken());
    let stale = Stale(sim.zombies());
    broken.extend(workloads.iter().flat_map(|workload| workload.check(&stale)));
    let mut counts = Counts::default();
    workloads.iter().for_each(|workload| counts += workload.counts());
    if settings.plan.rolling && counts.refused + counts.unknown > 0 {
        let failed: Vec<_> = workloads.iter().map(|workload| workload.failed()).collect();
        broken.push(format!("I9: calls failed in a rolling restart:\n{}", failed.join("\n")));
    }
    let coverage = sim.coverage();
    if !settings.plan.loses && coverage.contains_key(CONFLICT) {
        broken.push(format!("I3: {CONFLICT}"));
    }
    Ran { broken, story: sim.story(), digest: sim.digest(), trace: sim.trace(), counts, coverage, lasted: sim.now() }
}

/// All is well from now on, and every silo runs.
fn finish(sim: &mut Sim, broken: &mut Vec<String>) {
    sim.set_weather(Weather::default());
    sim.heal();
    for silo in 0..sim.len() {
        sim.resume(silo);
    }
    settle(sim, broken);
}

/// Starts every silo, and waits until they agree.
fn settle(sim: &mut Sim, broken: &mut Vec<String>) {
    let whole = |sim: &mut Sim| {
        for silo in 0..sim.len() {
            if !sim.is_running(silo) {
                sim.start(silo);
            }
        }
        (0..sim.len()).all(|silo| sim.is_serving(silo)) && sim.agrees()
    };
    if !sim.run_until(CONVERGES, whole) {
        broken.push(format!("I6: the silos do not agree {CONVERGES:?} after all was well"));
    }
}
