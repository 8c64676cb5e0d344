//! One Redis server: restarted, wiped, paused, full, flushed, and set up wrongly.

use std::time::Duration;

use gristmill_grains::storage::{Durability, FENCE_RETENTION, StorageError};
use gristmill_storage::redis::RedisOptions as Options;
use gristmill_storage::{GrainStorage, RedisClusterStorage, RedisStorage};
use gristmill_test_servers::{RedisOptions, RedisServer};

use crate::support::{Owner, assert_misconfigured, assert_unavailable, commit, settle};

async fn connect(server: &RedisServer) -> RedisStorage {
    let options = Options { response_timeout: Duration::from_millis(400), ..Options::default() };
    RedisStorage::connect_with(server.url(), options).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn flushed_scripts_are_sent_again() {
    let server = RedisServer::start(RedisOptions::default());
    let storage = connect(&server).await;
    let mut owners = Vec::new();
    for number in 0..100 {
        owners.push(Owner::opened(&storage, &number.to_string()).await);
    }
    // Flushes fall before, after, and into the middle of the pipelines.
    let commits = async {
        for _ in 0..40 {
            let batch: Vec<_> = owners.iter_mut().map(|owner| owner.write(Some(b"x"))).collect();
            assert_eq!(storage.commit(&batch).await, vec![Ok(()); batch.len()]);
        }
    };
    std::thread::scope(|scope| {
        let flushing = scope.spawn(|| (0..40).for_each(|_| assert_eq!(server.cli(&["SCRIPT", "FLUSH"]), "OK")));
        tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(commits));
        flushing.join().unwrap();
    });
    assert!(server.cli(&["INFO", "errorstats"]).contains("errorstat_NOSCRIPT"), "commits met a forgotten script");
    server.cli(&["SCRIPT", "FLUSH"]);
    owners[0].assert_stored(&storage, b"x").await;
    assert_eq!(*storage.restarts().borrow(), 0);
}

#[tokio::test]
async fn killed_server_comes_back_with_its_data_and_is_noticed() {
    let mut server = RedisServer::start(RedisOptions::fsync());
    let storage = connect(&server).await;
    let mut restarts = storage.restarts();
    let mut owner = Owner::opened(&storage, "alice").await;
    assert_eq!(commit(&storage, &owner.write(Some(b"1"))).await, Ok(()));
    server.kill9();
    let write = owner.write(Some(b"2"));
    assert_unavailable(commit(&storage, &write)).await;
    assert_eq!(*restarts.borrow_and_update(), 0);
    server.restart();
    assert_eq!(settle(&storage, &write).await, Ok(()));
    assert_eq!(*restarts.borrow_and_update(), 1, "told with the first answer of the new process");
    owner.assert_stored(&storage, b"2").await;
    assert_eq!(*restarts.borrow_and_update(), 1, "and once");
}

#[tokio::test]
async fn wiped_server_is_noticed_and_has_no_fence() {
    let mut server = RedisServer::start(RedisOptions::default());
    let storage = connect(&server).await;
    let mut owner = Owner::opened(&storage, "alice").await;
    assert_eq!(commit(&storage, &owner.write(Some(b"1"))).await, Ok(()));
    server.restart();
    let write = owner.write(Some(b"2"));
    assert_eq!(settle(&storage, &write).await, Err(StorageError::Fenced { seen: None }));
    assert_eq!(*storage.restarts().borrow(), 1, "known before the answer is");
    assert_eq!(owner.open(&storage).await.unwrap().last_write, None);
    assert_eq!(server.cli(&["FLUSHALL"]), "OK");
    assert_eq!(commit(&storage, &write).await, Err(StorageError::Fenced { seen: None }), "also within one process");
}

/// Only the first call of a pipeline asks which process serves, and that one may fail by itself.
#[tokio::test]
async fn restart_is_noticed_behind_a_failed_call() {
    let mut server = RedisServer::start(RedisOptions::default());
    let storage = connect(&server).await;
    let (mut foreign, mut owner) = (Owner::new("foreign"), Owner::opened(&storage, "alice").await);
    let batch = [foreign.write(Some(b"1")), owner.write(Some(b"1"))];
    server.restart();
    assert_eq!(server.cli(&["SET", "gm:player/foreign", "text"]), "OK");
    // The first attempts may only meet the old connections' end.
    let attempts =
        async { while !matches!(storage.commit(&batch).await[1], Err(StorageError::Fenced { seen: None })) {} };
    tokio::time::timeout(Duration::from_secs(15), attempts).await.expect("an answer of the new process");
    assert_eq!(*storage.restarts().borrow(), 1);
}

#[tokio::test]
async fn cut_connection_is_not_a_restart() {
    let server = RedisServer::start(RedisOptions::default());
    let storage = connect(&server).await;
    let mut owner = Owner::opened(&storage, "alice").await;
    server.cli(&["CLIENT", "KILL", "TYPE", "normal"]);
    assert_eq!(settle(&storage, &owner.write(Some(b"1"))).await, Ok(()));
    assert_eq!(*storage.restarts().borrow(), 0);
}

#[tokio::test]
async fn refused_handshake_is_tried_again_until_it_is_accepted() {
    let secret = ["--requirepass", "secret"].map(str::to_owned).to_vec();
    let server = RedisServer::start(RedisOptions { more: secret, ..RedisOptions::default() });
    let url = format!("redis://:secret@127.0.0.1:{}", server.port());
    let storage = RedisStorage::connect(url).await.unwrap();
    let mut owner = Owner::opened(&storage, "alice").await;
    let write = owner.write(Some(b"1"));
    assert_eq!(server.cli(&["-a", "secret", "CONFIG", "SET", "requirepass", "other"]), "OK");
    server.cli(&["-a", "other", "CLIENT", "KILL", "TYPE", "normal"]);
    let mut refusals = 0;
    // Until every connection has met a refusal more than once.
    let attempts = async {
        while refusals < 6 {
            match commit(&storage, &write).await {
                Err(StorageError::Unavailable { detail }) => refusals += u32::from(detail.contains("uthentication")),
                other => panic!("must be unavailable, was {other:?}"),
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(15), attempts).await.expect("refused handshakes");
    assert_eq!(server.cli(&["-a", "other", "CONFIG", "SET", "requirepass", "secret"]), "OK");
    for _ in 0..4 {
        assert_eq!(settle(&storage, &write).await, Ok(()), "on every connection");
    }
    owner.assert_stored(&storage, b"1").await;
}

#[tokio::test]
async fn paused_server_is_unavailable_in_time() {
    let server = RedisServer::start(RedisOptions::default());
    let storage = connect(&server).await;
    let mut owner = Owner::opened(&storage, "alice").await;
    let write = owner.write(Some(b"1"));
    server.pause();
    assert_unavailable(commit(&storage, &write)).await;
    assert_unavailable(owner.open(&storage)).await;
    assert_unavailable(commit(&storage, &write)).await;
    server.resume();
    assert_eq!(settle(&storage, &write).await, Ok(()), "the stragglers land, and are one write");
    owner.assert_stored(&storage, b"1").await;
    assert_eq!(*storage.restarts().borrow(), 0);
}

#[tokio::test]
async fn full_server_refuses_whole_commits_and_recovers() {
    let server = RedisServer::start(RedisOptions::default());
    let storage = connect(&server).await;
    let mut owner = Owner::opened(&storage, "alice").await;
    assert_eq!(commit(&storage, &owner.write(Some(b"1"))).await, Ok(()));
    let mut blocked = owner.write(Some(b"2"));
    let mut other = blocked.records[0].clone();
    (other.name, other.expect, other.version) = ("other".to_owned(), 0, 1);
    blocked.records.insert(0, other);
    assert_eq!(server.cli(&["CONFIG", "SET", "maxmemory", "1"]), "OK");
    assert_unavailable(commit(&storage, &blocked)).await;
    assert_unavailable(Owner::new("bob").open(&storage)).await;
    assert_eq!(owner.open(&storage).await.unwrap().records.len(), 1, "nothing of it; and reads by the owner go on");
    assert_eq!(server.cli(&["CONFIG", "SET", "maxmemory", "0"]), "OK");
    assert_eq!(commit(&storage, &blocked).await, Ok(()));
    assert_eq!(owner.open(&storage).await.unwrap().records.len(), 2);
}

#[tokio::test]
async fn read_only_server_is_unavailable() {
    let server = RedisServer::start(RedisOptions::default());
    let storage = connect(&server).await;
    let mut owner = Owner::opened(&storage, "alice").await;
    let write = owner.write(Some(b"1"));
    assert_eq!(server.cli(&["REPLICAOF", "127.0.0.1", "1"]), "OK");
    assert_unavailable(commit(&storage, &write)).await;
    assert_eq!(server.cli(&["REPLICAOF", "NO", "ONE"]), "OK");
    assert_eq!(settle(&storage, &write).await, Ok(()));
    assert_eq!(*storage.restarts().borrow(), 1, "it may have lost writes meanwhile");
}

/// The process is the same throughout: it took another server's data, and is asked to serve again.
#[tokio::test]
async fn server_that_was_a_replica_is_noticed() {
    let (server, other) = (RedisServer::start(RedisOptions::default()), RedisServer::start(RedisOptions::default()));
    let storage = connect(&server).await;
    let mut owner = Owner::opened(&storage, "alice").await;
    assert_eq!(commit(&storage, &owner.write(Some(b"1"))).await, Ok(()));
    assert_eq!(*storage.restarts().borrow(), 0);
    assert_eq!(server.cli(&["REPLICAOF", "127.0.0.1", &other.port().to_string()]), "OK");
    let synced = async {
        while !server.cli(&["INFO", "replication"]).contains("master_link_status:up") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(15), synced).await.expect("the replica follows");
    assert_eq!(server.cli(&["REPLICAOF", "NO", "ONE"]), "OK");
    let write = owner.write(Some(b"2"));
    assert_eq!(settle(&storage, &write).await, Err(StorageError::Fenced { seen: None }));
    assert_eq!(*storage.restarts().borrow(), 1, "known before the answer is");
    owner.open(&storage).await.unwrap();
    assert_eq!(*storage.restarts().borrow(), 1, "and once");
}

#[tokio::test]
async fn server_that_is_not_there_is_unavailable() {
    let mut server = RedisServer::start(RedisOptions::default());
    server.kill9();
    assert_unavailable(RedisStorage::connect(server.url())).await;
    assert_misconfigured(RedisStorage::connect("not a url").await, "not a Redis URL");
}

#[tokio::test]
async fn wrong_setups_are_refused() {
    for policy in ["allkeys-lru", "volatile-ttl"] {
        let server = RedisServer::start(RedisOptions { maxmemory_policy: policy, ..RedisOptions::default() });
        assert_misconfigured(RedisStorage::connect(server.url()).await, "set maxmemory-policy noeviction");
    }
    let node = RedisServer::start(RedisOptions { cluster: true, ..RedisOptions::default() });
    assert_misconfigured(RedisStorage::connect(node.url()).await, "use RedisClusterStorage");
    let options = Options { prefix: "gm/x".to_owned(), ..Options::default() };
    assert_misconfigured(RedisStorage::connect_with("redis://127.0.0.1:1", options.clone()).await, "prefix");
    assert_misconfigured(RedisClusterStorage::connect_with(["redis://127.0.0.1:1"], options).await, "prefix");
    let secret = ["--requirepass", "secret"].map(str::to_owned).to_vec();
    let closed = RedisServer::start(RedisOptions { more: secret, ..RedisOptions::default() });
    assert_misconfigured(RedisStorage::connect(closed.url()).await, "refuses the connection");
    let single = RedisServer::start(RedisOptions::default());
    assert_misconfigured(RedisClusterStorage::connect([single.url()]).await, "refuses the connection");
}

/// A server that wants the password `hush`, and its URL with this one.
fn locked(options: RedisOptions, password: &str) -> (RedisServer, String) {
    let more = ["--requirepass", "hush"].map(str::to_owned);
    let server = RedisServer::start(RedisOptions { more: [options.more, more.to_vec()].concat(), ..options });
    let url = format!("redis://:{password}@127.0.0.1:{}", server.port());
    (server, url)
}

#[tokio::test]
async fn errors_name_the_server_and_keep_the_password() {
    let assert_named = |server: &RedisServer, error: StorageError| {
        let told = format!("{error} {error:?}");
        let name = format!("Redis at 127.0.0.1:{}: ", server.port());
        assert!(told.contains(&name) && !told.contains("hush"), "{told} names {name} only");
    };
    let (mut server, url) = locked(RedisOptions::default(), "hush");
    let options = Options { response_timeout: Duration::from_millis(400), ..Options::default() };
    let storage = RedisStorage::connect_with(&url, options).await.unwrap();
    let shown = format!("{storage:?}");
    assert!(shown.contains(&server.port().to_string()) && !shown.contains("hush"), "{shown}");
    let mut owner = Owner::opened(&storage, "alice").await;
    let foreign = Owner::new("foreign");
    assert_eq!(server.cli(&["-a", "hush", "SET", "gm:player/foreign", "text"]), "OK");
    assert_named(&server, foreign.open(&storage).await.unwrap_err());
    server.kill9();
    assert_named(&server, owner.open(&storage).await.unwrap_err());
    assert_named(&server, commit(&storage, &owner.write(Some(b"1"))).await.unwrap_err());
    assert_named(&server, storage.begin_run(0).await.unwrap_err());
    assert_named(&server, storage.run().await.unwrap_err());
    assert_named(&server, RedisStorage::connect(&url).await.unwrap_err());

    let (server, url) = locked(RedisOptions::default(), "wrong-hush");
    assert_named(&server, RedisStorage::connect(url).await.unwrap_err());
    let evicting = RedisOptions { maxmemory_policy: "allkeys-lru", ..RedisOptions::default() };
    let (server, url) = locked(evicting, "hush");
    assert_named(&server, RedisStorage::connect(url).await.unwrap_err());
    // A server repeats the arguments of a command that it does not know.
    for (command, query) in [("AUTH", ""), ("HELLO", "?protocol=resp3")] {
        let more = ["--rename-command", command, ""].map(str::to_owned).to_vec();
        let (server, url) = locked(RedisOptions { more, ..RedisOptions::default() }, "hush");
        assert_named(&server, RedisStorage::connect(url + query).await.unwrap_err());
    }
}

#[tokio::test]
async fn durability_is_what_the_server_is_set_to() {
    for (appendonly, appendfsync, durability) in [
        (false, "always", Durability::Memory),
        (true, "everysec", Durability::Os),
        (true, "no", Durability::Os),
        (true, "always", Durability::Fsync),
    ] {
        let server = RedisServer::start(RedisOptions { appendonly, appendfsync, ..RedisOptions::default() });
        assert_eq!(connect(&server).await.durability(), durability, "{appendonly} {appendfsync}");
        let declared = Options { durability: Some(Durability::Replicated(1)), ..Options::default() };
        let storage = RedisStorage::connect_with(server.url(), declared).await.unwrap();
        assert_eq!(storage.durability(), Durability::Replicated(1));
    }
    // As on a managed server.
    let closed = ["--rename-command", "CONFIG", ""].map(str::to_owned).to_vec();
    let options = RedisOptions { appendonly: true, appendfsync: "always", more: closed, ..RedisOptions::default() };
    assert_eq!(connect(&RedisServer::start(options)).await.durability(), Durability::Os);
}

#[tokio::test]
async fn grain_without_a_body_expires() {
    let server = RedisServer::start(RedisOptions::default());
    let storage = connect(&server).await;
    let mut owner = Owner::opened(&storage, "alice").await;
    let ttl = || server.cli(&["PTTL", "gm:player/alice"]).parse::<i64>().unwrap();
    let day = FENCE_RETENTION.as_millis() as i64;
    let a_day = day - 60_000..=day;
    assert!(a_day.contains(&ttl()), "a fence alone: {}", ttl());
    assert_eq!(commit(&storage, &owner.write(Some(b"1"))).await, Ok(()));
    assert_eq!(ttl(), -1, "a body stays");
    assert_eq!(commit(&storage, &owner.write(None)).await, Ok(()));
    assert!(a_day.contains(&ttl()), "a tombstone: {}", ttl());
    assert_eq!(commit(&storage, &owner.write(Some(b"2"))).await, Ok(()));
    owner.open(&storage).await.unwrap();
    assert_eq!(ttl(), -1, "a body again");
}

#[tokio::test]
async fn foreign_data_is_unreadable_and_left_alone() {
    let server = RedisServer::start(RedisOptions::default());
    let storage = connect(&server).await;
    let mut owner = Owner::new("alice");
    let write = owner.write(Some(b"1"));
    let key = "gm:player/alice";
    let fields = [
        ("f", "garbage"),
        ("w", "garbage"),
        ("v:state", "many"),
        ("d:state", "a body without a version"),
        ("surprise", "1"),
    ];
    for (field, value) in fields {
        server.cli(&["DEL", key]);
        server.cli(&["HSET", key, field, value]);
        let answer = owner.open(&storage).await;
        assert!(matches!(&answer, Err(StorageError::Unreadable { detail }) if detail.contains("alice")), "{answer:?}");
        assert_eq!(server.cli(&["HGET", key, field]), value);
    }
    assert_eq!(server.cli(&["TTL", key]), "-1", "what is not understood does not expire");
    server.cli(&["DEL", key]);
    server.cli(&["SET", key, "text"]);
    let answers = [owner.open(&storage).await.map(drop), commit(&storage, &write).await];
    assert!(answers.iter().all(|answer| matches!(answer, Err(StorageError::Unreadable { .. }))), "{answers:?}");
    assert_eq!(server.cli(&["GET", key]), "text");
}

#[tokio::test]
async fn large_batches_go_in_several_pipelines_and_too_large_commits_not_at_all() {
    let server = RedisServer::start(RedisOptions::default());
    let options = Options { response_timeout: Duration::from_secs(10), ..Options::default() };
    let storage = RedisStorage::connect_with(server.url(), options).await.unwrap();
    let (megabyte, limit) = (1024 * 1024, 8 * 1024 * 1024);
    let mut owners = Vec::new();
    for number in 0..6 {
        owners.push(Owner::opened(&storage, &number.to_string()).await);
    }
    let sizes = [5 * megabyte, limit + 1, 5 * megabyte, limit, 10, 10];
    let bodies = sizes.map(|size| vec![1; size]);
    let batch: Vec<_> = owners.iter_mut().zip(&bodies).map(|(owner, body)| owner.write(Some(body))).collect();
    let mut expected = vec![Ok(()); 6];
    expected[1] = Err(StorageError::TooLarge { size: limit + 1, limit });
    assert_eq!(storage.commit(&batch).await, expected);
    for index in [0, 2, 3, 4, 5] {
        owners[index].assert_stored(&storage, &bodies[index]).await;
    }
}

#[tokio::test]
async fn prefixes_keep_storages_apart() {
    let server = RedisServer::start(RedisOptions::default());
    let connect = async |prefix: &str| {
        let options = Options { prefix: prefix.to_owned(), ..Options::default() };
        RedisStorage::connect_with(server.url(), options).await.unwrap()
    };
    let (one, other) = (connect("one").await, connect("other").await);
    let mut owner = Owner::opened(&one, "alice").await;
    assert_eq!(commit(&one, &owner.write(Some(b"1"))).await, Ok(()));
    assert_eq!(owner.open(&other).await.unwrap().records, []);
    assert_eq!((one.begin_run(5).await, other.run().await), (Ok(6), Ok(0)));
}

#[tokio::test]
async fn layout_is_as_documented() {
    let server = RedisServer::start(RedisOptions::default());
    let storage = connect(&server).await;
    let mut owner = Owner::opened(&storage, "a/{b}").await;
    assert_eq!(commit(&storage, &owner.write(Some(b"{\"health\":3}"))).await, Ok(()));
    storage.begin_run(0).await.unwrap();
    let field = |field| server.cli(&["HGET", "gm:player/a/%7Bb%7D", field]);
    assert_eq!(field("f"), "1:00000000000000000000000000000007");
    assert_eq!(field("w"), "00000000000000000000000000000007:1");
    assert_eq!(field("v:state"), "1");
    assert_eq!(field("d:state"), "{\"health\":3}");
    assert_eq!(server.cli(&["HLEN", "gm:player/a/%7Bb%7D"]), "4");
    assert_eq!(server.cli(&["GET", "gm:run"]), "1");
    assert_eq!(server.cli(&["DBSIZE"]), "2");
}
