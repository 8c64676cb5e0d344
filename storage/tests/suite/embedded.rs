//! The redb file: reopened, locked, of another format, and after a crash.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use gristmill_grains::storage::{Durability, StorageError};
use gristmill_storage::embedded::EmbeddedOptions;
use gristmill_storage::{EmbeddedStorage, GrainStorage};
use redb::{ReadableDatabase, TableDefinition};

use crate::support::{Owner, assert_misconfigured, commit};

const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");

/// Tells the child process which file to write.
const CHILD_FILE: &str = "GRISTMILL_EMBEDDED_CHILD";

#[tokio::test]
async fn reopened_file_has_everything() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("game.redb");
    let storage = EmbeddedStorage::open(&path).await.unwrap();
    assert_eq!(storage.durability(), Durability::Fsync);
    let run = storage.begin_run(40).await.unwrap();
    let mut owner = Owner::opened(&storage, "alice").await;
    assert_eq!(commit(&storage, &owner.write(Some(b"1"))).await, Ok(()));
    drop(storage);
    let storage = EmbeddedStorage::open(&path).await.unwrap();
    owner.assert_stored(&storage, b"1").await;
    assert_eq!(storage.run().await, Ok(run));
}

#[tokio::test]
async fn second_open_is_refused_until_the_first_is_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("game.redb");
    let first = EmbeddedStorage::open(&path).await.unwrap();
    assert_misconfigured(EmbeddedStorage::open(&path).await, "game.redb is open elsewhere");
    let clone = first.clone();
    drop(first);
    assert_misconfigured(EmbeddedStorage::open(&path).await, "game.redb is open elsewhere");
    drop(clone);
    EmbeddedStorage::open(&path).await.unwrap();
}

/// Reads the file without Gristmill: a change of the layout needs a new format number, and must not happen by accident.
#[tokio::test]
async fn layout_is_as_documented() {
    type GrainRow = (u64, u128, Option<(u128, u64)>);
    const GRAINS: TableDefinition<'_, (&str, &str), GrainRow> = TableDefinition::new("grains");
    type RecordRow = (u64, Option<&'static [u8]>);
    const RECORDS: TableDefinition<'_, (&str, &str, &str), RecordRow> = TableDefinition::new("records");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("game.redb");
    let storage = EmbeddedStorage::open(&path).await.unwrap();
    let mut owner = Owner::opened(&storage, "alice").await;
    assert_eq!(commit(&storage, &owner.write(Some(b"body"))).await, Ok(()));
    Owner::opened(&storage, "bob").await;
    storage.begin_run(0).await.unwrap();
    drop(storage);
    let database = redb::Database::open(&path).unwrap();
    let transaction = database.begin_read().unwrap();
    let meta = transaction.open_table(META).unwrap();
    assert_eq!(["format", "run"].map(|name| meta.get(name).unwrap().unwrap().value()), [1, 1]);
    let grains = transaction.open_table(GRAINS).unwrap();
    assert_eq!(grains.get(("player", "alice")).unwrap().unwrap().value(), (1, 7, Some((7, 1))));
    assert_eq!(grains.get(("player", "bob")).unwrap().unwrap().value(), (1, 7, None));
    let records = transaction.open_table(RECORDS).unwrap();
    assert_eq!(records.get(("player", "alice", "state")).unwrap().unwrap().value(), (1, Some(b"body".as_slice())));
}

#[tokio::test]
async fn file_of_a_newer_format_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("game.redb");
    drop(EmbeddedStorage::open(&path).await.unwrap());
    let set_format = |format| {
        let database = redb::Database::open(&path).unwrap();
        let transaction = database.begin_write().unwrap();
        let before = transaction.open_table(META).unwrap().insert("format", format).unwrap().map(|old| old.value());
        transaction.commit().unwrap();
        before
    };
    assert_eq!(set_format(2), Some(1));
    match EmbeddedStorage::open(&path).await {
        Err(StorageError::Unreadable { detail }) => assert!(detail.contains("format 2"), "{detail}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(set_format(1), Some(2));
    EmbeddedStorage::open(&path).await.unwrap();
}

#[tokio::test]
async fn what_is_no_redb_file_is_not_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notes.txt");
    let text = "not a database\n".repeat(1_000);
    std::fs::write(&path, &text).unwrap();
    let answer = EmbeddedStorage::open(&path).await;
    assert!(matches!(answer, Err(StorageError::Unreadable { .. })), "{answer:?}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
}

#[tokio::test]
async fn missing_folder_is_named() {
    let dir = tempfile::tempdir().unwrap();
    assert_misconfigured(EmbeddedStorage::open(dir.path().join("none/game.redb")).await, "create its folder");
}

#[tokio::test]
async fn too_large_commit_is_refused_alone() {
    let dir = tempfile::tempdir().unwrap();
    let options = EmbeddedOptions { commit_limit: 10, ..EmbeddedOptions::default() };
    let storage = EmbeddedStorage::open_with(dir.path().join("game.redb"), options).await.unwrap();
    let (mut alice, mut bob) = (Owner::opened(&storage, "alice").await, Owner::opened(&storage, "bob").await);
    let answers = storage.commit(&[alice.write(Some(&[0; 11])), bob.write(Some(&[0; 10]))]).await;
    assert_eq!(answers, [Err(StorageError::TooLarge { size: 11, limit: 10 }), Ok(())]);
}

/// Kills a process that writes as fast as it can: the file opens again, and has all that was acknowledged.
#[tokio::test]
async fn killed_process_loses_nothing_it_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("game.redb");
    for round in 1..=2 {
        let acknowledged = write_and_be_killed(&path, 50 * round);
        let storage = EmbeddedStorage::open(&path).await.unwrap();
        let records = Owner::new("alice").open(&storage).await.unwrap().records;
        let (version, body) = (records[0].version, records[0].body.clone().unwrap());
        assert!(version >= acknowledged, "version {version} is stored, {acknowledged} was acknowledged");
        assert_eq!(body, version.to_string());
    }
}

/// Runs the child until it has acknowledged a version, kills it, and returns the last one it told.
fn write_and_be_killed(path: &Path, until: u64) -> u64 {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "embedded::child_writes_until_killed", "--ignored", "--nocapture"])
        .env(CHILD_FILE, path)
        .stdout(Stdio::piped())
        .spawn();
    let mut child = child.unwrap();
    let mut told = 0;
    for line in BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok) {
        if let Some(version) = line.strip_prefix("acknowledged ") {
            told = version.parse().unwrap();
        }
        if told == until {
            // The lines it prints until it is dead are read too: the last of them counts.
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    assert!(told >= until, "the child ended early, at {told}");
    told
}

#[tokio::test]
#[ignore = "a process of its own, started and killed by killed_process_loses_nothing_it_acknowledged"]
async fn child_writes_until_killed() {
    let Some(path) = std::env::var_os(CHILD_FILE) else { return };
    let storage = EmbeddedStorage::open(Path::new(&path)).await.unwrap();
    let mut owner = Owner::opened(&storage, "alice").await;
    owner.version = owner.open(&storage).await.unwrap().records.first().map_or(0, |record| record.version);
    // Bounded, in case nobody kills it.
    while owner.version < 100_000 {
        let body = (owner.version + 1).to_string();
        assert_eq!(commit(&storage, &owner.write(Some(body.as_bytes()))).await, Ok(()));
        println!("acknowledged {}", owner.version);
    }
}
