//! Servers that do not do their work, and what all of them tell of themselves.

use std::time::{Duration, Instant};

use gristmill_redis::model::{Mood, Server};
use gristmill_test_servers::{RedisOptions, RedisServer};
use redis::Value;

use crate::both::{Both, Connection};
use crate::scripts::By;
use crate::steps::{KEYS, SOON, Step, words};

fn plain(command: &str) -> Step {
    Step::Plain(words(command))
}

/// Everything that an adapter sends.
fn everything() -> Vec<Step> {
    let mut steps: Vec<_> = ["PING", "GET gm:run", "SET gm:run 1", "HSET gm:player/bob f 1:aa", "HDEL gm:player/bob f"]
        .into_iter()
        .chain(["PEXPIRE gm:run 86400000", "PERSIST gm:run", "DEL gm:run", "HINCRBY {g}:beats a1 1"])
        .chain([
            "SCRIPT LOAD return",
            "SCRIPT FLUSH",
            "FLUSHALL",
            "CONFIG GET appendfsync",
            "EVALSHA x 0",
            "EVAL x",
            "EVAL x 0",
            "NOSUCH x",
        ])
        .map(plain)
        .collect();
    // One that has written, though it took no memory, goes on.
    let goes_on = "redis.call('DEL', '{g}:settings') return redis.call('HSET', '{g}:rows', 'b2', '0|1|{}')";
    steps.push(Step::Plain(["EVAL", goes_on, "0"].map(|word| word.as_bytes().to_vec()).to_vec()));
    for by in [By::Text, By::Hash] {
        steps.extend([
            Step::script("storage/open.lua", by, &KEYS[..1], &["1", "1", "aa", "86400000"]),
            Step::script("storage/run.lua", by, &KEYS[2..3], &["1"]),
            Step::script("cluster/read.lua", by, &KEYS[3..8], &[] as &[&str]),
            Step::script("cluster/join.lua", by, &KEYS[3..8], &["a1", "{}", "", "8", "0"]),
            Step::script("cluster/beat.lua", by, &KEYS[3..8], &["a1", "0"]),
            Step::script("cluster/directory.lua", by, &KEYS[8..], &["lookup", "player/alice"]),
        ]);
    }
    steps
}

/// The fields that adapters look for.
const FIELDS: [(&str, &[&str]); 5] = [
    ("server", &["run_id"]),
    ("replication", &["role", "master_replid", "connected_slaves"]),
    ("memory", &["maxmemory_policy"]),
    ("cluster", &["cluster_enabled"]),
    ("persistence", &["aof_enabled"]),
];

fn field(answer: Value, name: &str) -> String {
    let Value::BulkString(text) = answer else { panic!("no text: {answer:?}") };
    let text = String::from_utf8(text).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).to_owned()
}

#[test]
fn each_mood_refuses_the_same_and_tells_the_same() {
    let server = RedisServer::start(RedisOptions::fsync());
    let mut both = Both::new(&server);
    for mood in [Mood::Well, Mood::Full, Mood::ReadOnly, Mood::Well] {
        both.set_mood(mood);
        both.must(&everything());
        for (section, fields) in FIELDS {
            let info = words(&format!("INFO {section}"));
            for name in fields {
                let (server, model) = (both.ask_server(&format!("INFO {section}")), both.model.run(&info, 0));
                let (server, model) = (field(server, name), field(model, name));
                let ids = name.ends_with("id") && (server.len(), model.len()) == (40, 40);
                assert!(ids || server == model, "{mood:?}, {name}: {server} and {model}");
            }
        }
    }
}

#[test]
fn a_server_that_loads_refuses_the_same() {
    const KEYS: usize = 2_000;
    let server = RedisServer::start(RedisOptions::fsync());
    let mut both = Both::new(&server);
    both.ask_server(&format!("DEBUG POPULATE {KEYS} key 100"));
    // It reads one key in a millisecond, and looks whether somebody asks for something meanwhile.
    both.ask_server("CONFIG SET key-load-delay 1000");
    both.ask_server("CONFIG SET loading-process-events-interval-bytes 1024");
    let mut loading = Connection::to(server.port());
    let reloading = std::thread::spawn(move || loading.ask(&words("DEBUG RELOAD")));
    let begun = Instant::now();
    while !matches!(both.ask_server("PING"), Value::ServerError(error) if error.code() == "LOADING") {
        assert!(begun.elapsed() < Duration::from_secs(20), "it does not load");
    }
    both.model.set_mood(Mood::Loading);
    for step in everything() {
        both.step(&step).unwrap_or_else(|differs| panic!("{step:?}\n{differs}"));
    }
    let loads = field(both.ask_server("INFO persistence"), "loading");
    assert_eq!(loads, "1", "it was loading until now");
    both.ask_server("CONFIG SET key-load-delay 0");
    assert_eq!(reloading.join().unwrap(), Value::Okay);
    both.model.set_mood(Mood::Well);
    both.ask_server("FLUSHALL");
    both.must(&everything());
}

#[test]
fn text_with_line_breaks_in_an_error_is_one_line() {
    let model = Server::new(1);
    let answer = model.run(&["EVAL", r"return {err = 'ODD a\r\nb'}", "0"].map(|word| word.as_bytes().to_vec()), 0);
    assert!(matches!(&answer, Value::ServerError(error) if error.details() == Some("a  b")), "{answer:?}");
}

#[test]
fn what_has_expired_does_not_come_back() {
    let server = RedisServer::start(RedisOptions::default());
    let mut both = Both::new(&server);
    let open = Step::script("storage/open.lua", By::Text, &["gm:player/bob"], &["0", "1", "aa", SOON]);
    both.play(&[open, plain("PEXPIRE gm:player/bob 86400000"), plain("GET gm:player/bob")]).unwrap();
}
