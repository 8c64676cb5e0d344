//! What is left after a crash or a fail-over: the file, and the replica.

use std::fs;
use std::path::PathBuf;

use gristmill_redis::model::Loses;
use gristmill_test_servers::{RedisOptions, RedisServer};
use redis::Value;

use crate::both::Both;
use crate::scripts::By;
use crate::steps::{KEYS, Step};

fn everysec() -> RedisOptions {
    RedisOptions { appendonly: true, appendfsync: "everysec", ..RedisOptions::default() }
}

fn join(silo: &str) -> Step {
    Step::script("cluster/join.lua", By::Text, &KEYS[3..8], &[silo, "{}", "", "8", "0"])
}

fn read() -> Step {
    Step::script("cluster/read.lua", By::Text, &KEYS[3..8], &[] as &[&str])
}

/// A grain with a record and one that expires in a day, a silo, and a row of the directory.
fn some() -> Vec<Step> {
    let open = |grain, epoch: &str| {
        Step::script("storage/open.lua", By::Text, &KEYS[grain..=grain], &["0", epoch, "aa", "86400000"])
    };
    let commit = ["0", "1:aa", "aa:1", "86400000", "s", "0", "1", "1", "body"];
    let claim = ["claim", "player/alice", "a1", "1", "aa", "", "0"];
    vec![
        open(0, "1"),
        open(1, "1"),
        Step::script("storage/commit.lua", By::Text, &KEYS[..1], &commit),
        Step::script("storage/begin_run.lua", By::Text, &KEYS[2..3], &["0", "4"]),
        join("a1"),
        Step::script("cluster/directory.lua", By::Text, &KEYS[8..], &claim),
        read(),
    ]
}

#[test]
fn a_file_keeps_everything_when_the_process_is_killed() {
    for options in [RedisOptions::fsync(), everysec()] {
        let mut server = RedisServer::start(options);
        let mut both = Both::new(&server);
        both.must(&some());
        server.restart();
        both.move_to(&server);
        both.model.restart(Loses::Nothing);
        both.must_be_reborn();
        assert!(!both.model.dump().is_empty());
    }
}

#[test]
fn without_a_file_everything_is_lost() {
    let mut server = RedisServer::start(RedisOptions::default());
    let mut both = Both::new(&server);
    both.must(&some());
    server.restart();
    both.move_to(&server);
    both.model.restart(Loses::Everything);
    both.must_be_reborn();
    assert_eq!(both.model.dump(), "");
}

/// Where the server writes (since Redis 7).
fn file(server: &RedisServer) -> PathBuf {
    let folder = server.cli(&["CONFIG", "GET", "dir"]).lines().nth(1).unwrap().to_owned();
    PathBuf::from(folder).join("appendonlydir/appendonly.aof.1.incr.aof")
}

/// What a machine without power has not written is the end of the file, wherever that ends then.
#[test]
fn a_file_without_its_end_has_lost_whole_scripts() {
    let mut server = RedisServer::start(everysec());
    let mut both = Both::new(&server);
    both.must(&some());
    let path = file(&server);
    let before = fs::metadata(&path).unwrap().len() as usize;
    both.model.sync();
    // It writes several keys.
    both.must(&[join("b2")]);
    let whole = fs::read(&path).unwrap();
    assert!(whole.len() > before + 100, "its end is what the script wrote");
    let lost: Vec<_> = (before..whole.len()).step_by((whole.len() - before) / 6).collect();
    for (number, end) in lost.into_iter().enumerate() {
        server.kill9();
        fs::write(&path, &whole[..end]).unwrap();
        server.restart();
        both.move_to(&server);
        if number == 0 {
            both.model.restart(Loses::Tail);
            both.must_be_reborn();
        }
        both.compare().unwrap_or_else(|differs| panic!("{end} of {} bytes: {differs}", whole.len()));
    }
    assert!(!both.model.dump().contains("b2"), "the second silo is lost");
}

/// A replica that follows.
fn replica(of: &RedisServer, options: RedisOptions) -> RedisServer {
    let replica = RedisServer::start(options);
    assert_eq!(replica.cli(&["REPLICAOF", "127.0.0.1", &of.port().to_string()]), "OK");
    replica
}

/// Until the replica has everything.
fn catch_up(both: &mut Both) {
    assert_eq!(both.ask_server("WAIT 1 20000"), Value::Int(1));
    both.model.replicate(usize::MAX);
}

fn promote(both: &mut Both, replica: &RedisServer) {
    assert_eq!(replica.cli(&["REPLICAOF", "NO", "ONE"]), "OK");
    both.move_to(replica);
    both.model.fail_over();
}

fn quick() -> RedisOptions {
    RedisOptions { more: ["--repl-diskless-sync-delay", "0"].map(str::to_owned).to_vec(), ..RedisOptions::default() }
}

#[test]
fn a_replica_that_has_followed_keeps_everything() {
    let mut server = RedisServer::start(quick());
    let replica = replica(&server, quick());
    let mut both = Both::new(&server);
    both.must(&some());
    catch_up(&mut both);
    assert_eq!(both.model.lag(), 0);
    server.kill9();
    promote(&mut both, &replica);
    both.must_be_reborn();
    assert!(!both.model.dump().is_empty());
}

#[test]
fn a_replica_that_lags_has_lost_the_end_for_good() {
    let mut server = RedisServer::start(quick());
    let replica = replica(&server, quick());
    let mut both = Both::new(&server);
    both.must(&some());
    catch_up(&mut both);
    // It hears nothing any more, and nothing waits for it in a socket.
    replica.pause();
    server.cli(&["CLIENT", "KILL", "TYPE", "replica"]);
    both.must(&[join("b2"), join("c3"), read()]);
    assert_eq!(both.model.lag(), 2, "two commands have written");
    server.kill9();
    replica.resume();
    promote(&mut both, &replica);
    both.must_be_reborn();
    let dump = both.model.dump();
    assert!(dump.contains("a1") && !dump.contains("b2"), "{dump}");
    // What comes later is on what is left.
    both.must(&[join("c3"), read()]);
}
