//! A Redis server in memory, for simulation: it runs the real scripts, in the Lua that Redis has, on a keyspace of its own.
//! What it answers is held against a real server (`tests/model`), word by word against Redis 7.0. It has no threads, no clock and no chance: whoever uses it says
//! what time it is, and what goes wrong.

mod commands;
mod follower;
mod keyspace;
mod lua;
mod serve;

use std::collections::BTreeMap;

use parking_lot::Mutex;
use redis::{ServerError, Value};

use self::follower::Follower;
use self::keyspace::Keyspace;
pub use self::serve::{Answers, Outcome, Wire};

/// One command: its name and arguments.
pub type Command = Vec<Vec<u8>>;

/// What a server does instead of its work.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Mood {
    /// It does its work.
    #[default]
    Well,
    /// It has no memory left: what writes is refused.
    Full,
    /// It reads its data, and refuses everything.
    Loading,
    /// It is a replica, by its own account: what writes is refused.
    ReadOnly,
}

/// What a restart loses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Loses {
    /// `appendfsync always`, or only the process was killed.
    Nothing,
    /// What was written since the last [`Server::sync`].
    Tail,
    /// It has no append-only file.
    Everything,
}

/// The server, and what would be left of it: its file and its replica.
#[derive(Debug)]
pub struct Server(Mutex<State>);

#[derive(Debug)]
struct State {
    keys: Keyspace,
    /// The scripts, by hash.
    known: BTreeMap<String, String>,
    mood: Mood,
    /// Counts processes and promotions: run ids and replication ids are made of it.
    process: u64,
    promotion: u64,
    seed: u64,
    file: Follower,
    replica: Follower,
    /// What was written, for who watches.
    written: Vec<Command>,
}

impl Server {
    /// An empty server; the seed is in its ids.
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(State {
            keys: Keyspace::default(),
            known: BTreeMap::new(),
            mood: Mood::Well,
            process: 1,
            promotion: 1,
            seed,
            file: Follower::default(),
            replica: Follower::default(),
            written: Vec::new(),
        }))
    }

    /// Runs a command at a time in milliseconds, which never goes back. An error is a value, too.
    pub fn run(&self, command: &[Vec<u8>], now: u64) -> Value {
        self.0.lock().run(command, now).unwrap_or_else(|error| Value::ServerError(parsed(&error)))
    }

    /// The writing commands since it was last asked, those within scripts.
    pub fn take_written(&self) -> Vec<Command> {
        std::mem::take(&mut self.0.lock().written)
    }

    /// From now on it is in this mood. A replica that is none any more was promoted.
    pub fn set_mood(&self, mood: Mood) {
        let mut state = self.0.lock();
        if state.mood == Mood::ReadOnly && mood != Mood::ReadOnly {
            state.promotion += 1;
        }
        state.mood = mood;
    }

    /// Forgets the scripts.
    pub fn flush_scripts(&self) {
        self.0.lock().known.clear();
    }

    /// What was written so far is on disk.
    pub fn sync(&self) {
        self.0.lock().file.catch_up(usize::MAX);
    }

    /// The replica gets what so many more commands wrote. A script's writes are got together.
    pub fn replicate(&self, commands: usize) {
        self.0.lock().replica.catch_up(commands);
    }

    /// Of how many commands the replica has not got the writes.
    pub fn lag(&self) -> usize {
        self.0.lock().replica.behind()
    }

    /// Another process takes its place.
    pub fn restart(&self, loses: Loses) {
        let mut state = self.0.lock();
        match loses {
            Loses::Nothing => state.file.catch_up(usize::MAX),
            Loses::Tail => {}
            Loses::Everything => state.file = Follower::default(),
        }
        state.process += 1;
        // It has another history, as far as it can tell.
        state.promotion += 1;
        state.begin_with(|state| state.file.take());
    }

    /// Its replica takes its place, as far as it has followed.
    pub fn fail_over(&self) {
        let mut state = self.0.lock();
        state.process += 1;
        state.promotion += 1;
        state.begin_with(|state| state.replica.take());
    }

    /// Every key, with its fields; for people.
    pub fn dump(&self) -> String {
        self.0.lock().keys.dump()
    }
}

impl State {
    fn begin_with(&mut self, keys: impl FnOnce(&mut Self) -> Keyspace) {
        self.keys = keys(self);
        self.known.clear();
        self.mood = Mood::Well;
        self.file = Follower::of(&self.keys);
        self.replica = Follower::of(&self.keys);
    }

    fn info(&self) -> String {
        let run = format!("{:024x}{:016x}", self.seed, self.process);
        let replication = format!("{:024x}{:016x}", self.seed ^ 1, self.promotion);
        let role = if self.mood == Mood::ReadOnly { "slave" } else { "master" };
        format!(
            "redis_version:7.0.15\r\nrun_id:{run}\r\nrole:{role}\r\nconnected_slaves:0\r\nmaster_replid:{replication}\r\n\
             maxmemory_policy:noeviction\r\ncluster_enabled:0\r\naof_enabled:1\r\n"
        )
    }
}

/// An error as it is on the wire, `CODE text`, taken apart as the client does it.
fn parsed(error: &str) -> ServerError {
    // What scripts say may have any text in it.
    let line = format!("-{}\r\n", error.replace(['\r', '\n'], " "));
    match redis::parse_redis_value(line.as_bytes()) {
        Ok(Value::ServerError(error)) => error,
        // A line of that form is nothing else.
        _ => unreachable!("{error:?} is an error"),
    }
}

/// A command's words.
pub(crate) fn words(command: &redis::Cmd) -> Command {
    let words = command.args_iter().map(|word| match word {
        redis::Arg::Simple(bytes) => bytes.to_vec(),
        _ => Vec::new(), // a cursor: no script has one
    });
    words.collect()
}
