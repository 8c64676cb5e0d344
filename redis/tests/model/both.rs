//! A server and the model, which do the same and have to answer the same.

use std::io::Write;
use std::net::TcpStream;

use gristmill_redis::model::{Command, Mood, Server};
use gristmill_test_servers::RedisServer;
use redis::{Parser, Value};

use crate::scripts::{By, call};
use crate::steps::{KEYS, Step, words};

/// A connection to a server; an error is an answer, too.
pub(crate) struct Connection {
    socket: TcpStream,
    parser: Parser,
}

impl Connection {
    pub(crate) fn to(port: u16) -> Self {
        let socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
        socket.set_nodelay(true).unwrap();
        Self { socket, parser: Parser::new() }
    }

    pub(crate) fn ask(&mut self, command: &[Vec<u8>]) -> Value {
        let mut packed = redis::Cmd::new();
        for word in command {
            packed.arg(word.as_slice());
        }
        self.socket.write_all(&packed.get_packed_command()).unwrap();
        self.parser.parse_value(&mut self.socket).unwrap()
    }
}

/// The version whose messages the model has, word by word. Of others, errors are compared by their codes.
const VERSION: &str = "redis_version:7.0.";

/// What one of them has told of itself.
struct Told {
    /// Are the words of errors compared?
    exact: bool,
    /// The ids of its processes, in order: what is compared is which is told when.
    runs: Vec<Vec<u8>>,
}

impl Told {
    /// An answer as it is compared: with its ids replaced, and in one order what has none.
    fn told(&mut self, command: &[Vec<u8>], answer: Value) -> Value {
        match answer {
            Value::BulkString(text) if is_run(&text) => {
                let place = self.runs.iter().position(|run| *run == text);
                let place = place.unwrap_or_else(|| {
                    self.runs.push(text);
                    self.runs.len() - 1
                });
                Value::BulkString(format!("run {place}").into_bytes())
            }
            Value::Array(items) if command[0] == b"HGETALL" => Value::Array(sorted(items, 2)),
            Value::Array(items) if command[0] == b"HKEYS" => Value::Array(sorted(items, 1)),
            Value::Array(items) => {
                let of_items = |item: Value| match item {
                    // Only fields of hashes are in scripts' answers like this.
                    Value::Array(fields) => Value::Array(sorted(fields, 2)),
                    item => self.told(command, item),
                };
                Value::Array(items.into_iter().map(of_items).collect())
            }
            // Either so short that it is over, or a day: what is left of it is not the same.
            Value::Int(left) if command[0] == b"PTTL" && left > 60_000 => Value::Int(i64::MAX),
            Value::ServerError(error) if !self.exact => Value::SimpleString(error.code().to_owned()),
            answer => answer,
        }
    }

    fn forget(&mut self) {
        self.runs.clear();
    }
}

/// `<run id>:<replication id>`
fn is_run(text: &[u8]) -> bool {
    let id = |id: &[u8]| id.len() == 40 && id.iter().all(u8::is_ascii_hexdigit);
    text.len() == 81 && id(&text[..40]) && text[40] == b':' && id(&text[41..])
}

fn sorted(items: Vec<Value>, together: usize) -> Vec<Value> {
    let mut groups: Vec<_> = items.chunks(together).map(<[Value]>::to_vec).collect();
    groups.sort_by_cached_key(|group| format!("{group:?}"));
    groups.concat()
}

/// The server and the model.
pub(crate) struct Both {
    server: Connection,
    server_told: Told,
    pub(crate) model: Server,
    model_told: Told,
    now: u64,
}

impl Both {
    pub(crate) fn new(server: &RedisServer) -> Self {
        let exact = server.cli(&["INFO", "server"]).contains(VERSION);
        let told = || Told { exact, runs: Vec::new() };
        Self {
            server: Connection::to(server.port()),
            server_told: told(),
            model: Server::new(1),
            model_told: told(),
            now: 1_000_000,
        }
    }

    /// From now on this process is meant.
    pub(crate) fn move_to(&mut self, server: &RedisServer) {
        self.server = Connection::to(server.port());
    }

    /// Begins anew, with nothing.
    pub(crate) fn clear(&mut self) {
        self.set_mood(Mood::Well);
        for command in ["FLUSHALL", "SCRIPT FLUSH"] {
            assert_eq!(self.server.ask(&words(command)), Value::Okay);
        }
        self.model = Server::new(1);
        self.server_told.forget();
        self.model_told.forget();
    }

    /// What the server alone answers.
    pub(crate) fn ask_server(&mut self, command: &str) -> Value {
        self.server.ask(&words(command))
    }

    /// What both answer to a command: it has to be the same.
    pub(crate) fn ask(&mut self, command: &Command) -> Result<Value, String> {
        let (server, model) = (self.server.ask(command), self.model.run(command, self.now));
        let server = self.server_told.told(command, server);
        let model = self.model_told.told(command, model);
        if server == model { Ok(server) } else { Err(format!("server: {server:?}\n model: {model:?}")) }
    }

    pub(crate) fn set_mood(&mut self, mood: Mood) {
        let (memory, master) = match mood {
            Mood::Full => ("1", "NO ONE"),
            // Nobody is there: it keeps its data.
            Mood::ReadOnly => ("0", "127.0.0.1 1"),
            Mood::Well => ("0", "NO ONE"),
            Mood::Loading => unreachable!("no server can be told to"),
        };
        for command in [format!("CONFIG SET maxmemory {memory}"), format!("REPLICAOF {master}")] {
            let answer = self.ask_server(&command);
            assert!(matches!(answer, Value::Okay | Value::SimpleString(_)), "{command}: {answer:?}");
        }
        self.model.set_mood(mood);
    }

    /// Does a step, and gives what both answered, if it asks for something.
    pub(crate) fn step(&mut self, step: &Step) -> Result<Option<Value>, String> {
        let command = match step {
            Step::Mood(mood) => {
                self.set_mood(*mood);
                return Ok(None);
            }
            Step::Script { name, by, number, keys, args } => call(name, *by, number, keys, args),
            Step::Plain(command) => command.clone(),
        };
        let answer = self.ask(&command)?;
        self.now += 1;
        if step.is_short() {
            // Until what expires soon has expired.
            self.ask_server("DEBUG SLEEP 0.006");
            self.now += 6;
        }
        Ok(Some(answer))
    }

    /// Does all, and compares what is there in the end; gives the answers.
    pub(crate) fn play(&mut self, steps: &[Step]) -> Result<Vec<Option<Value>>, String> {
        let mut answers = Vec::new();
        for (place, step) in steps.iter().enumerate() {
            answers.push(self.step(step).map_err(|differs| format!("step {place}, {step:?}\n{differs}"))?);
        }
        self.compare().map_err(|differs| format!("in the end\n{differs}"))?;
        Ok(answers)
    }

    /// Compares everything that there is.
    pub(crate) fn compare(&mut self) -> Result<(), String> {
        let Value::Array(there) = self.ask_server("KEYS *") else { return Err("no keys".to_owned()) };
        let unknown =
            |key: &Value| !matches!(key, Value::BulkString(key) if KEYS.iter().any(|of| of.as_bytes() == key));
        if let Some(key) = there.into_iter().find(unknown) {
            return Err(format!("a key that no step has: {key:?}"));
        }
        for key in KEYS {
            for command in ["GET", "HGETALL", "PTTL"] {
                let answer = self.ask(&words(&format!("{command} {key}")));
                answer.map_err(|differs| format!("{command} {key}\n{differs}\n{}", self.model.dump()))?;
            }
        }
        Ok(())
    }

    /// Does all, as it has to go.
    pub(crate) fn must(&mut self, steps: &[Step]) -> Vec<Option<Value>> {
        self.play(steps).unwrap_or_else(|differs| panic!("{differs}"))
    }

    /// Both have another process than before, and it does not know the scripts.
    pub(crate) fn must_be_reborn(&mut self) {
        let read = |by| Step::script("cluster/read.lua", by, &KEYS[3..8], &[] as &[&str]);
        let answers = self.must(&[read(By::Hash), read(By::Text), read(By::Hash)]);
        assert!(format!("{:?}", answers[0]).contains("NOSCRIPT"), "{answers:?}");
        assert_eq!(answers[1], answers[2]);
        let (server, model) = (self.server_told.runs.len(), self.model_told.runs.len());
        assert_eq!((server, model), (2, 2), "one process before, another one now");
    }
}
