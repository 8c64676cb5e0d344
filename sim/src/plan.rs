//! What goes wrong in a run, and when. It follows from the seed, and can be told, cut short, and run again.

use std::fmt;
use std::time::Duration;

use gristmill::sim::{Loses, Mood, Path, Sim};

/// How long faults begin in a run.
pub const FAULTS: Duration = Duration::from_secs(20);

/// Something that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// A silo's process is killed, and started again afterwards.
    Crash(usize),
    /// A silo's machine loses its power, and is back afterwards.
    PowerOff(usize),
    /// A silo's process is stopped, and goes on afterwards.
    Pause(usize),
    /// A silo leaves in order, and is started again afterwards.
    Stop(usize),
    /// Something between two silos, in one direction.
    Path(usize, usize, Path),
    /// Something between a silo and Redis: there, and back.
    ToRedis(usize, Path, Path),
    /// Something between a client and a silo: there, and back.
    OfClient(usize, usize, Path, Path),
    /// A silo and a client reach each other, and none of the other silos; and either all that Redis holds, or only what
    /// grains store there: then the silo learns of its death by its lease at last.
    Apart(usize, usize, bool),
    /// Redis is killed, and started again afterwards.
    RedisKilled,
    /// Redis hangs.
    RedisHangs,
    /// Redis is in a mood.
    RedisMood(Mood),
    /// Redis forgets its scripts.
    ScriptsFlushed,
    /// Redis' replica takes over, with everything or without the last writes.
    FailOver {
        /// Does it lag before?
        lags: bool,
    },
    /// One silo more.
    Join,
}

/// A fault, and when.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Planned {
    /// When it begins.
    pub at: Duration,
    /// How long it lasts.
    pub lasts: Duration,
    /// What.
    pub fault: Fault,
}

impl fmt::Display for Planned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>7.3} s, for {:>6.3} s: {:?}", self.at.as_secs_f64(), self.lasts.as_secs_f64(), self.fault)
    }
}

/// What goes wrong in one run.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Silos at first.
    pub silos: usize,
    /// The faults, by time.
    pub faults: Vec<Planned>,
    /// Does Redis lose writes in it? Then no silo dies.
    pub loses: bool,
    /// Is it a rolling restart in fine weather? Then no call fails.
    pub rolling: bool,
}

fn blocked() -> Path {
    Path { blocked: true, ..Path::default() }
}

fn lost() -> Path {
    Path { lost: true, ..Path::default() }
}

impl Plan {
    /// The plan of a seed, for so many clients.
    pub fn of(seed: u64, clients: usize) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed ^ 0x706c_616e);
        let silos = rng.usize(2..=4);
        if rng.u8(..12) == 0 {
            return Self::rolling(silos);
        }
        // In one run of eight Redis loses writes: only what lives on in a silo can be written again.
        let loses = rng.u8(..8) == 0;
        let count = rng.usize(1..=7);
        let fault = |rng: &mut fastrand::Rng| {
            let millis = |rng: &mut fastrand::Rng, range| Duration::from_millis(rng.u64(range));
            let at = millis(rng, 500..FAULTS.as_millis() as u64);
            let fault = one(rng, silos, clients, loses);
            let lasts = match fault {
                Fault::Pause(_) => millis(rng, 100..15_000),
                Fault::RedisKilled | Fault::RedisHangs | Fault::RedisMood(_) => millis(rng, 50..12_000),
                Fault::FailOver { .. } => millis(rng, 100..3_000),
                _ => millis(rng, 50..10_000),
            };
            Planned { at, lasts, fault }
        };
        let mut faults: Vec<_> = (0..count).map(|_| fault(&mut rng)).collect();
        if !loses && rng.u8(..6) == 0 {
            let (silo, client) = (rng.usize(..silos), rng.usize(..clients));
            let (at, lasts) = (rng.u64(500..12_000), rng.u64(3_000..12_000));
            let (at, lasts) = (Duration::from_millis(at), Duration::from_millis(lasts));
            faults.push(Planned { at, lasts, fault: Fault::Apart(silo, client, rng.bool()) });
        }
        faults.sort_by_key(|planned| planned.at);
        Self { silos, faults, loses, rolling: false }
    }

    /// Each silo is restarted in turn.
    fn rolling(silos: usize) -> Self {
        let fault = |silo: usize| Planned {
            at: Duration::from_millis(2_000 + 4_500 * silo as u64),
            lasts: Duration::from_millis(1_500),
            fault: Fault::Stop(silo),
        };
        Self { silos, faults: (0..silos).map(fault).collect(), loses: false, rolling: true }
    }

    /// What is begun and ended, by time: the number of the fault, and whether it begins.
    pub fn moments(&self) -> Vec<(Duration, usize, bool)> {
        let both = |(number, planned): (usize, &Planned)| {
            [(planned.at, number, true), (planned.at + planned.lasts, number, false)]
        };
        let mut moments: Vec<_> = self.faults.iter().enumerate().flat_map(both).collect();
        moments.sort_unstable();
        moments
    }
}

fn one(rng: &mut fastrand::Rng, silos: usize, clients: usize, loses: bool) -> Fault {
    let silo = rng.usize(..silos);
    let other = (silo + 1 + rng.usize(..silos - 1)) % silos;
    let path = match rng.u8(..6) {
        0 | 1 => blocked(),
        2 => lost(),
        3 => Path { slower: Duration::from_millis(rng.u64(50..2_000)), ..Path::default() },
        4 => Path { bytes_a_second: Some(rng.u64(200..20_000)), ..Path::default() },
        _ => Path { corrupt: true, ..Path::default() },
    };
    let quiet = [blocked(), lost(), Path { slower: Duration::from_millis(rng.u64(50..3_000)), ..Path::default() }];
    let quiet = quiet[rng.usize(..3)];
    let (there, back) = [(quiet, quiet), (quiet, Path::default()), (Path::default(), quiet)][rng.usize(..3)];
    if loses {
        // Whoever lives has what was lost; so nobody may be taken for dead.
        return match rng.u8(..6) {
            0..3 => Fault::FailOver { lags: true },
            3 => Fault::RedisKilled,
            4 => Fault::ScriptsFlushed,
            _ => Fault::Join,
        };
    }
    match rng.u8(..20) {
        0..3 => Fault::Crash(silo),
        3 => Fault::PowerOff(silo),
        4..7 => Fault::Pause(silo),
        7..9 => Fault::Stop(silo),
        9..12 => Fault::Path(silo, other, path),
        12..14 => Fault::ToRedis(silo, there, back),
        14 => Fault::OfClient(rng.usize(..clients), silo, there, back),
        15 => Fault::RedisKilled,
        16 => Fault::RedisHangs,
        17 => Fault::RedisMood([Mood::Full, Mood::Loading, Mood::ReadOnly][rng.usize(..3)]),
        18 => [Fault::ScriptsFlushed, Fault::FailOver { lags: false }][rng.usize(..2)],
        _ => Fault::Join,
    }
}

/// What is between a silo and a client, and all other silos.
fn set_apart(sim: &mut Sim, silo: usize, client: usize, path: Path) {
    for other in (0..sim.len()).filter(|other| *other != silo) {
        sim.set_path(silo, other, path);
        sim.set_path(other, silo, path);
        sim.set_path_of_client(client, other, path, path);
    }
}

/// Begins a fault.
pub fn begin(sim: &mut Sim, fault: Fault) {
    match fault {
        Fault::Crash(silo) => sim.crash(silo),
        Fault::PowerOff(silo) => sim.power_off(silo),
        Fault::Pause(silo) => sim.pause(silo),
        Fault::Stop(silo) => sim.stop(silo),
        Fault::Path(from, to, path) => sim.set_path(from, to, path),
        Fault::ToRedis(silo, there, back) => sim.set_path_to_redis(silo, there, back),
        Fault::OfClient(client, silo, there, back) => sim.set_path_of_client(client, silo, there, back),
        Fault::Apart(silo, client, mute) => {
            set_apart(sim, silo, client, blocked());
            if mute {
                sim.hang_control(silo, true);
            }
        }
        Fault::RedisKilled => sim.kill_redis(),
        Fault::RedisHangs => sim.hang_redis(true),
        Fault::RedisMood(mood) => sim.set_redis_mood(mood),
        Fault::ScriptsFlushed => sim.flush_scripts(),
        Fault::FailOver { lags } => sim.set_replication(if lags { 0.05 } else { 1.0 }),
        Fault::Join => drop(sim.add_silo()),
    }
}

/// Ends it.
pub fn end(sim: &mut Sim, fault: Fault) {
    let well = Path::default();
    match fault {
        Fault::Crash(silo) | Fault::PowerOff(silo) | Fault::Stop(silo) => {
            if fault != Fault::Stop(silo) || !sim.is_running(silo) {
                sim.start(silo);
            }
        }
        Fault::Pause(silo) => sim.resume(silo),
        Fault::Path(from, to, _) => sim.set_path(from, to, well),
        Fault::ToRedis(silo, ..) => sim.set_path_to_redis(silo, well, well),
        Fault::OfClient(client, silo, ..) => sim.set_path_of_client(client, silo, well, well),
        Fault::Apart(silo, client, _) => {
            set_apart(sim, silo, client, well);
            sim.hang_control(silo, false);
        }
        Fault::RedisKilled => sim.start_redis(Loses::Nothing),
        Fault::RedisHangs => sim.hang_redis(false),
        Fault::RedisMood(_) => sim.set_redis_mood(Mood::Well),
        Fault::ScriptsFlushed | Fault::Join => {}
        Fault::FailOver { .. } => {
            sim.fail_over_redis();
            sim.set_replication(1.0);
        }
    }
}
