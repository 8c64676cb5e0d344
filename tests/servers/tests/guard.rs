//! No server outlives its test.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::io::{BufRead, BufReader, Read};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use gristmill_test_servers::{RedisOptions, RedisServer};

/// Tells the child process that it is one.
const CHILD: &str = "GRISTMILL_SERVERS_CHILD";

fn connected(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream
}

/// The server's end closes its connections.
fn assert_ends(mut stream: TcpStream) {
    assert!(!matches!(stream.read(&mut [0]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock), "it lives");
}

#[test]
fn server_ends_with_a_panic() {
    let (tell, port) = std::sync::mpsc::channel();
    let test = std::thread::spawn(move || {
        let server = RedisServer::start(RedisOptions::default());
        tell.send(connected(server.port())).unwrap();
        panic!("as a failing test does");
    });
    assert_ends(port.recv().unwrap());
    assert!(test.join().is_err());
}

#[test]
fn server_ends_with_a_killed_process() {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_waits_to_be_killed", "--ignored", "--nocapture"])
        .env(CHILD, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let port = lines.find_map(|line| line.strip_prefix("port ")?.parse().ok()).unwrap();
    let stream = connected(port);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_ends(stream);
}

#[test]
#[ignore = "a process of its own, started and killed by server_ends_with_a_killed_process"]
fn child_waits_to_be_killed() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    // Started by a thread that ends: the server must not end with that one.
    let server = std::thread::spawn(|| RedisServer::start(RedisOptions::default())).join().unwrap();
    println!("port {}", server.port());
    let _ = std::io::stdin().read(&mut [0]);
}
