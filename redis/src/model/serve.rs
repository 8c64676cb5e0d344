//! A server's answers: commands on data, and scripts.

use std::fmt;

use futures_util::future::BoxFuture;
use redis::{RedisResult, Value};

use super::commands::{self, Known};
use super::keyspace::Keyspace;
use super::lua::{self, Host, Text};
use super::{Command, Mood, Server, State};

/// The answers to some commands that were sent together, or why there are none.
pub type Answers = RedisResult<Vec<Value>>;

/// The answers, when they are there.
pub type Outcome = BoxFuture<'static, Answers>;

/// What leads to a server otherwise than by a socket.
pub trait Wire: Send + Sync {
    /// Sends commands together.
    fn send(&self, commands: Vec<Command>) -> Outcome;
}

impl fmt::Debug for dyn Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wire")
    }
}

/// Without a way that takes time: it answers at once, and its time stands still.
impl Wire for Server {
    fn send(&self, commands: Vec<Command>) -> Outcome {
        let answers = commands.iter().map(|command| self.run(command, 0)).collect();
        Box::pin(std::future::ready(Ok(answers)))
    }
}

const OOM: &str = "OOM command not allowed when used memory > 'maxmemory'.";
const READ_ONLY: &str = "READONLY You can't write against a read only replica.";
const LOADING: &str = "LOADING Redis is loading the dataset in memory";
const NO_SCRIPT: &str = "NOSCRIPT No matching script. Please use EVAL.";

/// How long a script's hash is.
const HASH: usize = 40;

/// The data, while a command or a script runs on it.
struct Running {
    keys: Keyspace,
    now: u64,
    info: String,
    mood: Mood,
    allow_oom: bool,
    wrote: Vec<Command>,
}

impl Running {
    /// May this command run now?
    fn admits(&self, known: &Known) -> Result<(), String> {
        match self.mood {
            Mood::ReadOnly if known.writes => Err(READ_ONLY.to_owned()),
            // A script that has written goes on to its end.
            Mood::Full if known.grows && !self.allow_oom && self.wrote.is_empty() => Err(OOM.to_owned()),
            _ => Ok(()),
        }
    }

    fn run(&mut self, known: &Known, command: &[Vec<u8>]) -> Result<Value, String> {
        self.admits(known)?;
        let answer = commands::run(&mut self.keys, command, self.now)?;
        if known.writes {
            self.wrote.push(command.to_vec());
        }
        Ok(answer)
    }
}

impl Host for Running {
    fn call(&mut self, command: &[Vec<u8>]) -> Result<Value, String> {
        if commands::name(command) == "INFO" {
            return Ok(Value::BulkString(self.info.clone().into_bytes()));
        }
        let known = commands::known(command)?;
        self.run(known, command)
    }
}

fn text_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn hash_of(text: &str) -> String {
    redis::Script::new(text).get_hash().to_owned()
}

impl State {
    pub(super) fn run(&mut self, command: &[Vec<u8>], now: u64) -> Result<Value, String> {
        let known = commands::known(command)?;
        let name = commands::name(command);
        let arg = |index: usize| command.get(index).map(|arg| text_of(arg)).unwrap_or_default();
        if self.mood == Mood::Loading && !known.while_loading {
            return Err(LOADING.to_owned());
        }
        match name.as_str() {
            "EVAL" => {
                let text = arg(1);
                self.script(&hash_of(&text), Some(text), &command[2..], now)
            }
            "EVALSHA" if command[1].len() != HASH => Err(NO_SCRIPT.to_owned()),
            "EVALSHA" => {
                let hash = arg(1).to_lowercase();
                let text = self.known.get(&hash).cloned();
                self.script(&hash, text, &command[2..], now)
            }
            "SCRIPT" => match (arg(1).to_uppercase().as_str(), command.len()) {
                ("LOAD", 3) => Ok(Value::BulkString(self.know(&arg(2)).into_bytes())),
                ("FLUSH", 2) => {
                    self.known.clear();
                    Ok(Value::Okay)
                }
                (subcommand @ ("LOAD" | "FLUSH"), _) => {
                    Err(format!("ERR wrong number of arguments for 'script|{}' command", subcommand.to_lowercase()))
                }
                _ => Err(format!("ERR unknown subcommand '{}'. Try SCRIPT HELP.", arg(1))),
            },
            "INFO" => Ok(Value::BulkString(self.info().into_bytes())),
            "CONFIG" if arg(1).eq_ignore_ascii_case("GET") && arg(2) == "appendfsync" => {
                Ok(Value::Array(["appendfsync", "always"].map(|text| Value::BulkString(text.into())).to_vec()))
            }
            _ => self.on_data(now, |running| running.run(known, command)),
        }
    }

    /// Keeps a script, and gives its hash.
    fn know(&mut self, text: &str) -> String {
        let hash = hash_of(text);
        self.known.entry(hash.clone()).or_insert_with(|| text.to_owned());
        hash
    }

    /// Runs a script, if there is its text. `rest`: the number of keys, keys, arguments.
    fn script(&mut self, hash: &str, text: Option<String>, rest: &[Vec<u8>], now: u64) -> Result<Value, String> {
        let Text { declared, allow_oom, .. } = Text::of(text.as_deref().unwrap_or_default());
        // What it may do is known before anything of it is looked at.
        match self.mood {
            Mood::ReadOnly if declared => return Err(READ_ONLY.to_owned()),
            Mood::Full if declared && !allow_oom => return Err(OOM.to_owned()),
            _ => {}
        }
        let number = commands::number(rest.first().map_or(&[], Vec::as_slice))?;
        let values = rest.get(1..).unwrap_or_default();
        let number = usize::try_from(number).map_err(|_| "ERR Number of keys can't be negative")?;
        let (keys, args) =
            values.split_at_checked(number).ok_or("ERR Number of keys can't be greater than number of args")?;
        let Some(text) = text else { return Err(NO_SCRIPT.to_owned()) };
        self.known.entry(hash.to_owned()).or_insert_with(|| text.clone());
        let running = self.begin(allow_oom, now);
        let (running, answer) = lua::run(hash, &text, keys, args, running);
        self.end(running);
        answer
    }

    fn on_data<T>(&mut self, now: u64, work: impl FnOnce(&mut Running) -> T) -> T {
        let mut running = self.begin(false, now);
        let done = work(&mut running);
        self.end(running);
        done
    }

    fn begin(&mut self, allow_oom: bool, now: u64) -> Running {
        let keys = std::mem::take(&mut self.keys);
        Running { keys, now, info: self.info(), mood: self.mood, allow_oom, wrote: Vec::new() }
    }

    fn end(&mut self, running: Running) {
        let Running { keys, now, wrote, .. } = running;
        self.keys = keys;
        if !wrote.is_empty() {
            self.file.wrote(now, wrote.clone());
            self.replica.wrote(now, wrote.clone());
            self.written.extend(wrote);
        }
    }
}
