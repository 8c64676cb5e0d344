use std::process::{Command, Output};
use std::time::Duration;

use gristmill_test_servers::{RedisOptions, RedisServer};

use crate::program::Program;

fn arena(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_arena")).args(args).output().unwrap()
}

#[test]
fn a_storage_that_cannot_be_meant_is_a_wrong_argument() {
    for storage in ["redis://", "redis://127.0.0.1:port", "redis://127.0.0.1:6379/db", "embedded:", "disk"] {
        let run = arena(&["--storage", storage, "--json"]);
        let told = String::from_utf8(run.stderr).unwrap();
        assert_eq!(run.status.code(), Some(2), "{storage}: {told}");
        assert!(told.contains("'--storage <STORAGE>'") && told.contains("--help"), "{storage}: {told}");
        let form = if storage.starts_with("redis") { "redis://[user:password@]host" } else { "redis://HOST:PORT" };
        assert!(told.contains(form), "{storage}: {told}");
    }
}

#[tokio::test]
async fn a_run_whose_reader_goes_away_goes_on_quietly() {
    let mut run = Program::start(&["--matches=1", "--players=2", "--seconds=1", "--storage=memory", "--json"]);
    assert!(run.line().await.unwrap().starts_with("matches: 1"));
    assert_eq!(run.finish_unread().await, Some(0));
}

#[tokio::test]
async fn a_second_interrupt_ends_a_run_that_cannot_stop() {
    let server = RedisServer::start(RedisOptions::default());
    let mut run = Program::start(&["--matches=4", "--seconds=60", "--storage", &server.url()]);
    run.line().await;
    // No grain can be written from here on, and a silo that stops tries to.
    server.pause();
    let ended = async {
        let mut sent = 0;
        loop {
            run.signal("INT").await;
            sent += 1;
            if let Some(status) = run.ended(Duration::from_millis(200)).await {
                return (status, sent);
            }
        }
    };
    let (status, sent) = tokio::time::timeout(Duration::from_secs(5), ended).await.expect("it must end at once");
    assert_eq!((status, sent), (Some(130), 2));
}
