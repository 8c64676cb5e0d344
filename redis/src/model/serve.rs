//! A server's answers: commands on data, and scripts.

use std::fmt;

use futures_util::future::BoxFuture;
use redis::{RedisResult, Value};

use super::commands;
use super::keyspace::Keyspace;
use super::lua::{self, Host, Text};
use super::{Command, Mood, State};

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

const OOM: &str = "OOM command not allowed when used memory > 'maxmemory'.";
const READ_ONLY: &str = "READONLY You can't write against a read only replica.";
const LOADING: &str = "LOADING Redis is loading the dataset in memory";
const NO_SCRIPT: &str = "NOSCRIPT No matching script. Please use EVAL.";

/// The data, while a script runs on it.
struct Running {
    keys: Keyspace,
    now: u64,
    info: String,
    mood: Mood,
    allow_oom: bool,
    wrote: Vec<Command>,
}

impl Running {
    /// May a command write now?
    fn admits(&self) -> Result<(), String> {
        match self.mood {
            // A script that has written goes on to its end.
            Mood::Full if !self.allow_oom && self.wrote.is_empty() => Err(OOM.to_owned()),
            Mood::ReadOnly => Err(READ_ONLY.to_owned()),
            _ => Ok(()),
        }
    }
}

impl Host for Running {
    fn call(&mut self, command: &[Vec<u8>]) -> Result<Value, String> {
        let name = commands::name(command);
        if name == "INFO" {
            return Ok(Value::BulkString(self.info.clone().into_bytes()));
        }
        let writes = commands::writes(&name);
        // What frees memory is never refused for want of it.
        let frees = matches!(name.as_str(), "HDEL" | "DEL" | "PERSIST" | "PEXPIRE");
        if writes && !(frees && self.mood == Mood::Full) {
            self.admits()?;
        }
        let answer = commands::run(&mut self.keys, command, self.now)?;
        if writes {
            self.wrote.push(command.to_vec());
        }
        Ok(answer)
    }
}

fn text_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

impl State {
    pub(super) fn run(&mut self, command: &[Vec<u8>], now: u64) -> Result<Value, String> {
        let name = commands::name(command);
        let arg = |index: usize| command.get(index).map(|arg| text_of(arg)).unwrap_or_default();
        if self.mood == Mood::Loading && name != "INFO" {
            return Err(LOADING.to_owned());
        }
        match name.as_str() {
            "EVAL" => {
                let text = arg(1);
                let hash = redis::Script::new(&text).get_hash().to_owned();
                self.know(&hash, &text);
                self.script(&hash, &command[2..], now)
            }
            "EVALSHA" => {
                let hash = arg(1).to_lowercase();
                match self.known.contains_key(&hash) {
                    true => self.script(&hash, &command[2..], now),
                    false => Err(NO_SCRIPT.to_owned()),
                }
            }
            "SCRIPT" => match (arg(1).to_uppercase().as_str(), command.len()) {
                ("LOAD", 3) => {
                    let text = arg(2);
                    let hash = redis::Script::new(&text).get_hash().to_owned();
                    self.know(&hash, &text);
                    Ok(Value::BulkString(hash.into_bytes()))
                }
                ("FLUSH", _) => {
                    self.known.clear();
                    Ok(Value::SimpleString("OK".to_owned()))
                }
                _ => Err("ERR unknown subcommand".to_owned()),
            },
            "INFO" => Ok(Value::BulkString(self.info().into_bytes())),
            "CONFIG" if arg(1).eq_ignore_ascii_case("GET") && arg(2) == "appendfsync" => {
                Ok(Value::Array(["appendfsync", "always"].map(|text| Value::BulkString(text.into())).to_vec()))
            }
            _ => self.on_data(false, now, |running| running.call(command)),
        }
    }

    fn know(&mut self, hash: &str, text: &str) {
        if !self.known.contains_key(hash) {
            self.known.insert(hash.to_owned(), text.to_owned());
        }
    }

    /// Runs a known script. `rest`: the number of keys, keys, arguments.
    fn script(&mut self, hash: &str, rest: &[Vec<u8>], now: u64) -> Result<Value, String> {
        let number = rest.first().and_then(|number| text_of(number).parse::<usize>().ok());
        let number = number.ok_or("ERR value is not an integer or out of range")?;
        let values = rest.get(1..).unwrap_or_default();
        let (keys, args) =
            values.split_at_checked(number).ok_or("ERR Number of keys can't be greater than number of args")?;
        let text = self.known.get(hash).cloned().unwrap_or_default();
        let Text { declared, allow_oom, .. } = Text::of(&text);
        if declared && self.mood == Mood::ReadOnly {
            return Err("READONLY Can not run script with write flag on readonly replica.".to_owned());
        }
        if declared && !allow_oom && self.mood == Mood::Full {
            return Err(OOM.to_owned());
        }
        let running = self.begin(allow_oom, now);
        let (running, answer) = lua::run(hash, &text, keys, args, running);
        self.end(running);
        answer
    }

    fn on_data<T>(&mut self, allow_oom: bool, now: u64, work: impl FnOnce(&mut Running) -> T) -> T {
        let mut running = self.begin(allow_oom, now);
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
        for command in wrote {
            self.file.wrote(now, command.clone());
            self.replica.wrote(now, command.clone());
            self.written.push(command);
        }
    }
}
