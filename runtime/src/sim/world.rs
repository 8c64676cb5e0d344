//! What lies between the hosts: time, packets on their way, and what goes wrong with them.

use std::collections::BTreeMap;
use std::io;
use std::task::Waker;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use gristmill_grains::sync::Mutex;
use gristmill_redis::model::{Answers, Command};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::redis::Redis;
use super::trace::Trace;
use super::weather::{Path, Weather};

/// A host's number. Redis is the first.
pub(crate) type HostId = usize;

/// The host of the Redis server.
pub(crate) const REDIS: HostId = 0;

/// Microseconds since the simulation began.
pub(crate) type Micros = u64;

/// Hosts run so far ahead of each other, and nothing gets from one to another sooner.
pub(crate) const TICK: Micros = 5_000;

/// How many bytes are under way in one direction before the writer waits.
pub(super) const WINDOW: usize = 256 * 1024;

/// What is on its way from one host to another.
pub(super) enum Packet {
    Bytes {
        pipe: u64,
        bytes: Bytes,
    },
    /// The writer has ended the stream.
    End {
        pipe: u64,
    },
    /// To the reader of a pipe, or its writer: the other end is no more.
    Reset {
        pipe: u64,
        to_reader: bool,
    },
    Knock {
        attempt: u64,
        address: String,
    },
    /// The answer to it: the pipes to read from and to write to.
    Answer {
        attempt: u64,
        pipes: Option<(u64, u64)>,
    },
    Ask {
        commands: Vec<Command>,
        reply: oneshot::Sender<Answers>,
    },
    Reply {
        reply: oneshot::Sender<Answers>,
        answers: Answers,
    },
}

pub(super) struct Sent {
    pub(super) from: HostId,
    pub(super) to: HostId,
    pub(super) packet: Packet,
}

/// Is a host there?
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Standing {
    Up,
    /// Its process is gone: it answers that nobody listens.
    Down,
    /// It is gone as a whole: it answers nothing.
    Off,
}

/// One direction of a connection.
pub(super) struct Pipe {
    pub(super) from: HostId,
    pub(super) to: HostId,
    /// What has arrived.
    pub(super) inbox: BytesMut,
    pub(super) under_way: usize,
    pub(super) ended: bool,
    pub(super) reset_reader: bool,
    pub(super) reset_writer: bool,
    /// Nothing that is written to it arrives any more.
    pub(super) black: bool,
    pub(super) reader_gone: bool,
    pub(super) writer_gone: bool,
    pub(super) reader: Option<Waker>,
    pub(super) writer: Option<Waker>,
    /// When the last bytes arrive: later ones do not overtake them.
    pub(super) last: Micros,
}

impl Pipe {
    pub(super) fn wake(&mut self) {
        [self.reader.take(), self.writer.take()].into_iter().flatten().for_each(Waker::wake);
    }
}

/// Somebody listens at an address.
pub(super) struct Listening {
    pub(super) host: HostId,
    pub(super) id: u64,
    pub(super) arrived: Vec<(u64, u64)>,
    pub(super) waker: Option<Waker>,
}

/// An attempt to connect.
pub(super) struct Attempt {
    pub(super) outcome: Option<io::Result<(u64, u64)>>,
    pub(super) waker: Option<Waker>,
}

/// The host that runs now.
#[derive(Clone, Copy)]
struct Running {
    base: Micros,
    started: Instant,
}

pub(super) struct State {
    pub(super) now: Micros,
    running: Option<Running>,
    pub(super) rng: fastrand::Rng,
    next: u64,
    queue: BTreeMap<(Micros, u64), Sent>,
    /// Packets that wait for their path to be healed.
    held: Vec<Sent>,
    pub(super) hosts: Vec<(String, Standing)>,
    pub(super) paths: BTreeMap<(HostId, HostId), Path>,
    pub(super) weather: Weather,
    pub(super) pipes: BTreeMap<u64, Pipe>,
    pub(super) listeners: BTreeMap<String, Listening>,
    pub(super) attempts: BTreeMap<u64, Attempt>,
    pub(super) redis: Redis,
    pub(super) trace: Trace,
    /// How often each kind of fault was met.
    pub(super) faults: BTreeMap<&'static str, u64>,
}

/// Everything that hosts share.
pub(crate) struct World(pub(super) Mutex<State>);

impl World {
    pub(crate) fn new(seed: u64, weather: Weather, keep_trace: bool) -> Self {
        Self(Mutex::new(State {
            now: 0,
            running: None,
            rng: fastrand::Rng::with_seed(seed),
            next: 0,
            queue: BTreeMap::new(),
            held: Vec::new(),
            hosts: vec![("redis".to_owned(), Standing::Up)],
            paths: BTreeMap::new(),
            weather,
            pipes: BTreeMap::new(),
            listeners: BTreeMap::new(),
            attempts: BTreeMap::new(),
            redis: Redis::new(seed),
            trace: Trace::new(keep_trace),
            faults: BTreeMap::new(),
        }))
    }

    /// Adds a host; not up yet.
    pub(crate) fn add_host(&self, name: &str) -> HostId {
        let mut state = self.0.lock();
        state.hosts.push((name.to_owned(), Standing::Down));
        state.hosts.len() - 1
    }

    pub(crate) fn now(&self) -> Duration {
        Duration::from_micros(self.0.lock().time())
    }

    /// A host runs from now on, until [`leave`](Self::leave).
    pub(crate) fn enter(&self, base: Micros, started: Instant) {
        self.0.lock().running = Some(Running { base, started });
    }

    pub(crate) fn leave(&self) {
        self.0.lock().running = None;
    }

    /// Lets everything arrive that is due.
    pub(crate) fn deliver(&self) {
        let mut state = self.0.lock();
        let now = state.now;
        while let Some(first) = state.queue.first_entry().filter(|first| first.key().0 <= now) {
            let ((at, _), sent) = first.remove_entry();
            state.arrive(at, sent);
        }
    }

    /// The tick is over.
    pub(crate) fn advance(&self) {
        self.0.lock().now += TICK;
    }
}

impl State {
    /// The time of the host that runs, or of the tick.
    pub(super) fn time(&self) -> Micros {
        match self.running {
            Some(Running { base, started }) => base + Instant::now().duration_since(started).as_micros() as Micros,
            None => self.now,
        }
    }

    pub(super) fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub(super) fn met(&mut self, fault: &'static str) {
        *self.faults.entry(fault).or_default() += 1;
    }

    pub(super) fn standing(&self, host: HostId) -> Standing {
        self.hosts.get(host).map_or(Standing::Off, |(_, standing)| *standing)
    }

    pub(super) fn name(&self, host: HostId) -> &str {
        self.hosts.get(host).map_or("nobody", |(name, _)| name)
    }

    pub(super) fn host_named(&self, name: &str) -> Option<HostId> {
        self.hosts.iter().position(|(known, _)| known == name)
    }

    /// Sends a packet.
    pub(super) fn send(&mut self, from: HostId, to: HostId, packet: Packet) {
        self.send_later(0, from, to, packet);
    }

    /// Sends a packet that takes so much longer.
    pub(super) fn send_later(&mut self, more: Micros, from: HostId, to: HostId, packet: Packet) {
        let takes = self.takes(from, to, &packet);
        let mut at = self.time() + takes + more;
        match &packet {
            Packet::Bytes { pipe, .. } | Packet::End { pipe } => {
                if let Some(pipe) = self.pipes.get_mut(pipe) {
                    at = at.max(pipe.last);
                    pipe.last = at;
                }
            }
            _ => {}
        }
        let number = self.number();
        self.queue.insert((at, number), Sent { from, to, packet });
    }

    /// How long a packet takes: never under a tick.
    fn takes(&mut self, from: HostId, to: HostId, packet: &Packet) -> Micros {
        let weather = self.weather;
        let mut takes = TICK + self.rng.u64(0..=weather.jitter.as_micros() as u64);
        if self.rng.f64() < weather.late {
            self.met("late packet");
            takes += self.rng.u64(0..=weather.lateness.as_micros() as u64);
        }
        if let Some(path) = self.paths.get(&(from, to)) {
            takes += path.slower.as_micros() as u64;
            if let (Some(rate), Packet::Bytes { bytes, .. }) = (path.bytes_a_second, packet) {
                takes += bytes.len() as u64 * 1_000_000 / rate.max(1);
            }
        }
        takes
    }

    fn arrive(&mut self, at: Micros, sent: Sent) {
        let Sent { from, to, packet } = sent;
        let path = self.paths.get(&(from, to)).copied().unwrap_or_default();
        if path.blocked {
            self.met("packet held up");
            self.held.push(Sent { from, to, packet });
            return;
        }
        if path.lost {
            self.met("packet lost");
            self.lose(packet);
            return;
        }
        let line = format!("{} {} {}", self.name(from), self.name(to), described(&packet));
        self.trace.note(at, &line);
        match packet {
            Packet::Ask { commands, reply } => self.ask(from, commands, reply),
            Packet::Reply { reply, answers } => drop(reply.send(answers)), // or it was given up
            packet => self.arrive_at_host(path, from, to, packet),
        }
    }

    /// What is lost of a connection, its later bytes wait for: it is black from then on.
    fn lose(&mut self, packet: Packet) {
        match packet {
            Packet::Bytes { pipe, .. } | Packet::End { pipe } => {
                if let Some(pipe) = self.pipes.get_mut(&pipe) {
                    pipe.black = true;
                }
            }
            _ => {}
        }
    }

    /// Sends again what was held up between two hosts.
    pub(super) fn release(&mut self, free: impl Fn(HostId, HostId) -> bool) {
        let (freed, held) =
            std::mem::take(&mut self.held).into_iter().partition(|sent: &Sent| free(sent.from, sent.to));
        self.held = held;
        let freed: Vec<Sent> = freed;
        for Sent { from, to, packet } in freed {
            self.send(from, to, packet);
        }
    }
}

fn described(packet: &Packet) -> String {
    match packet {
        Packet::Bytes { pipe, bytes } => format!("bytes {pipe} {} {:016x}", bytes.len(), super::trace::digest(bytes)),
        Packet::End { pipe } => format!("end {pipe}"),
        Packet::Reset { pipe, .. } => format!("reset {pipe}"),
        Packet::Knock { attempt, address } => format!("knock {attempt} {address}"),
        Packet::Answer { attempt, pipes } => format!("answer {attempt} {pipes:?}"),
        Packet::Ask { commands, .. } => {
            let digest =
                commands.iter().flatten().fold(0, |sum, word| super::trace::digest(word) ^ u64::rotate_left(sum, 1));
            format!("ask {} {digest:016x}", commands.len())
        }
        Packet::Reply { answers, .. } => format!("reply {}", if answers.is_ok() { "ok" } else { "failed" }),
    }
}
