//! Several silos, one address space: silos of one process on a network in memory.

use std::future::IntoFuture;
use std::sync::Arc;
use std::time::Duration;

use gristmill::prelude::*;
use gristmill::storage::MemoryStorage;
use gristmill::testing::TestCluster;
use gristmill::{SiloBuilder, SiloOptions};

use crate::support::{ms, soon, spawn};

#[grain_interface(grain = "ledger")]
pub(crate) trait Ledger {
    /// Appends; gives how many there are.
    async fn append(&mut self, entry: u64) -> usize;
    async fn entries(&self) -> Vec<u64>;
    async fn nap(&mut self, millis: u64) -> usize;
    async fn meet(&mut self, other: LedgerRef, entry: u64) -> usize;
    async fn cross(&mut self, other: LedgerRef, back: LedgerRef) -> Result<usize, CallError>;
    /// Appends to another one, a while after its own turn began.
    async fn late(&mut self, other: LedgerRef, millis: u64) -> Result<usize, CallError>;
    /// Calls that of another one.
    async fn through(&mut self, next: LedgerRef, other: LedgerRef, millis: u64) -> Result<usize, CallError>;
}

#[derive(Grain)]
#[grain(implements(Ledger))]
pub(crate) struct LedgerGrain {
    #[state(codec = "bincode")]
    entries: Persistent<Vec<u64>>,
}

impl Ledger for LedgerGrain {
    async fn append(&mut self, entry: u64) -> usize {
        self.entries.push(entry);
        self.entries.len()
    }

    async fn entries(&self) -> Vec<u64> {
        self.entries.clone()
    }

    async fn nap(&mut self, millis: u64) -> usize {
        tokio::time::sleep(Duration::from_millis(millis)).await;
        self.entries.len()
    }

    async fn meet(&mut self, other: LedgerRef, entry: u64) -> usize {
        other.append(entry).await.unwrap()
    }

    async fn cross(&mut self, other: LedgerRef, back: LedgerRef) -> Result<usize, CallError> {
        other.meet(back, 1).await
    }

    async fn late(&mut self, other: LedgerRef, millis: u64) -> Result<usize, CallError> {
        tokio::time::sleep(Duration::from_millis(millis)).await;
        other.append(1).await
    }

    async fn through(&mut self, next: LedgerRef, other: LedgerRef, millis: u64) -> Result<usize, CallError> {
        next.late(other, millis).await.map_err(|error| match error {
            CallError::App(inner) => inner,
            CallError::Fault(fault) => CallError::Fault(fault),
        })
    }
}

fn shared() -> impl Fn(SiloBuilder) -> SiloBuilder + Send + Sync + 'static {
    let storage = Arc::new(MemoryStorage::new());
    move |silo| {
        let options = SiloOptions { drain_timeout: Duration::from_secs(10), ..SiloOptions::default() };
        silo.options(options).shared_storage("default", storage.clone()).grain::<LedgerGrain>()
    }
}

async fn cluster(silos: usize) -> TestCluster {
    soon(TestCluster::start(silos, shared())).await.unwrap()
}

fn ledger(cluster: &TestCluster, silo: usize, key: &str) -> LedgerRef {
    cluster.silo(silo).grain(key)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grain_is_the_same_one_for_every_silo() {
    let cluster = cluster(3).await;
    for key in 0..30u64 {
        let key = key.to_string();
        for silo in 0..3 {
            let count = soon(ledger(&cluster, silo, &key).append(silo as u64)).await.unwrap();
            assert_eq!(count, silo + 1);
        }
        assert_eq!(soon(ledger(&cluster, 0, &key).entries()).await.unwrap(), [0, 1, 2]);
    }
    let places: Vec<_> = (0..30u64).filter_map(|key| cluster.place_of::<LedgerRef>(key.to_string())).collect();
    assert_eq!(places.len(), 30);
    assert!((0..3).all(|silo| places.contains(&silo)), "every silo has its share: {places:?}");
    assert_eq!(cluster.directory().len(), 30);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn first_calls_from_everywhere_at_once_make_one_activation() {
    let cluster = cluster(3).await;
    let calls = (0..300u64).map(|entry| {
        let grain = ledger(&cluster, entry as usize % 3, "one");
        spawn(async move { soon(grain.append(entry)).await.unwrap() })
    });
    let mut counts = Vec::new();
    for call in calls.collect::<Vec<_>>() {
        counts.push(call.await.unwrap());
    }
    counts.sort_unstable();
    assert_eq!(counts, (1..=300).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_of_one_caller_run_in_order_also_before_the_grain_is_found() {
    let cluster = cluster(3).await;
    for key in 0..20u64 {
        let grain = ledger(&cluster, key as usize % 3, &format!("order-{key}"));
        for entry in 0..50 {
            grain.append(entry).send();
        }
        let last = soon(grain.append(50)).await.unwrap();
        assert_eq!(last, 51);
        assert_eq!(soon(grain.entries()).await.unwrap(), (0..=50).collect::<Vec<_>>());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_silos_grains_come_back_elsewhere_with_what_was_acknowledged() {
    let cluster = cluster(3).await;
    for key in 0..30u64 {
        soon(ledger(&cluster, 0, &key.to_string()).append(7)).await.unwrap();
    }
    cluster.kill(1);
    for key in 0..30u64 {
        let key = key.to_string();
        let grain = ledger(&cluster, 0, &key);
        assert_eq!(soon(grain.append(8)).await.unwrap(), 2, "grain {key}");
        assert_ne!(cluster.place_of::<LedgerRef>(key), Some(1));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_under_way_at_a_killed_silo_fail_at_once_and_say_that_they_may_have_run() {
    let cluster = cluster(2).await;
    let mut key = 0u64;
    let grain = loop {
        let grain = ledger(&cluster, 0, &key.to_string());
        soon(grain.append(1)).await.unwrap();
        if cluster.place_of::<LedgerRef>(key.to_string()) == Some(1) {
            break grain;
        }
        key += 1;
    };
    let call = spawn(grain.nap(20_000).into_owned().into_future());
    tokio::time::sleep(ms(50)).await; // it is under way then
    let behind = spawn(grain.append(2).into_owned().into_future());
    tokio::time::sleep(ms(50)).await; // it waits there then
    cluster.kill(1);
    for call in [call, behind] {
        let error = soon(call).await.unwrap().unwrap_err();
        assert!(matches!(error.cause(), Some(Cause::SiloUnavailable { .. })), "{error}");
        assert!(error.maybe_executed());
    }
    assert_eq!(soon(grain.append(3)).await.unwrap(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silo_that_leaves_under_load_fails_no_call_and_keeps_each_callers_order() {
    let cluster = Arc::new(cluster(3).await);
    let callers = (0..8u64).map(|caller| {
        let cluster = cluster.clone();
        spawn(async move {
            let silo = cluster.silo(0);
            for entry in 0..400 {
                let key = format!("moving-{}", caller % 4);
                let grain: LedgerRef = silo.grain(key);
                soon(grain.append(caller * 1_000 + entry)).await.unwrap();
                if entry % 8 == 0 {
                    tokio::time::sleep(ms(1)).await;
                }
            }
        })
    });
    let callers: Vec<_> = callers.collect();
    for number in [1, 2] {
        tokio::time::sleep(ms(50)).await;
        let stopped = soon(cluster.stop(number)).await.unwrap();
        assert_eq!(stopped.dropped, 0);
        soon(cluster.start_silo()).await.unwrap();
    }
    for caller in callers {
        soon(caller).await.unwrap();
    }
    for key in 0..4u64 {
        let entries = soon(ledger(&cluster, 0, &format!("moving-{key}")).entries()).await.unwrap();
        assert_eq!(entries.len(), 800);
        for caller in [key, key + 4] {
            let of_caller: Vec<_> = entries.iter().filter(|entry| **entry / 1_000 == caller).collect();
            assert!(of_caller.is_sorted() && of_caller.len() == 400, "caller {caller}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn references_travel_and_are_bound_where_they_arrive() {
    let cluster = cluster(3).await;
    for key in 0..12u64 {
        let (one, other) = (format!("a{key}"), ledger(&cluster, 2, &format!("b{key}")));
        assert_eq!(soon(ledger(&cluster, 0, &one).meet(other, 5)).await.unwrap(), 1);
        assert_eq!(soon(ledger(&cluster, 1, &format!("b{key}")).entries()).await.unwrap(), [5]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_that_lost_everything_heals() {
    let cluster = cluster(2).await;
    for key in 0..20u64 {
        soon(ledger(&cluster, 0, &key.to_string()).append(1)).await.unwrap();
    }
    cluster.directory().lose();
    // Rows are put back; epochs of the storage are met again from below, and raised.
    soon(cluster.check_rows(0)).await;
    soon(cluster.check_rows(1)).await;
    assert_eq!(cluster.directory().len(), 20);
    cluster.directory().lose();
    cluster.kill(1);
    for key in 0..20u64 {
        assert_eq!(soon(ledger(&cluster, 0, &key.to_string()).append(2)).await.unwrap(), 2, "grain {key}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_activations_that_a_lost_row_has_made_only_the_owner_goes_on() {
    let cluster = cluster(2).await;
    let keys = keys_on(&cluster, &[1]).await;
    soon(ledger(&cluster, 1, &keys[0]).append(1)).await.unwrap();
    cluster.directory().lose();
    cluster.cut(0, 1, true); // or the other silo would tell
    // What silo 0 cannot reach it claims, as nobody owns it; the storage's fence passes to the new one.
    let claimed = cluster.silo(0).grain::<LedgerRef>(keys[0].clone()).append(2).timeout(ms(300)).await;
    cluster.cut(0, 1, false);
    soon(cluster.check_rows(1)).await;
    let entries = soon(ledger(&cluster, 0, &keys[0]).entries()).await.unwrap();
    let from_other = soon(ledger(&cluster, 1, &keys[0]).entries()).await.unwrap();
    assert_eq!(entries, from_other, "one grain for all: {claimed:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_that_is_away_keeps_nobody_from_active_grains() {
    let cluster = cluster(2).await;
    let keys = keys_on(&cluster, &[0, 1]).await;
    for silo in 0..2 {
        for key in &keys {
            soon(ledger(&cluster, silo, key).append(1)).await.unwrap();
        }
    }
    // It has called nobody yet, and is the broker of some.
    let cold = soon(cluster.start_silo()).await.unwrap();
    cluster.directory().set_available(false);
    for key in &keys {
        soon(ledger(&cluster, cold, key).append(2)).await.unwrap();
    }
    for silo in 0..2 {
        for key in &keys {
            soon(ledger(&cluster, silo, key).append(2)).await.unwrap();
        }
    }
    let cold = ledger(&cluster, 0, "never-seen").append(1).timeout(ms(200)).await.unwrap_err();
    assert!(!cold.maybe_executed(), "{cold}");
    cluster.directory().set_available(true);
    assert_eq!(soon(ledger(&cluster, 0, "never-seen").append(1)).await.unwrap(), 1);
}

/// Keys of grains on each of these silos.
async fn keys_on(cluster: &TestCluster, silos: &[usize]) -> Vec<String> {
    let mut keys = vec![None; silos.len()];
    for number in 0.. {
        let key = format!("on-{number}");
        soon(ledger(cluster, 0, &key).entries()).await.unwrap();
        let place = cluster.place_of::<LedgerRef>(key.clone());
        if let Some(free) = (0..silos.len()).find(|n| keys[*n].is_none() && place == Some(silos[*n])) {
            keys[free] = Some(key);
        }
        if keys.iter().all(Option::is_some) {
            break;
        }
    }
    keys.into_iter().flatten().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chain_that_leads_back_over_another_silo_is_a_deadlock_at_once() {
    let cluster = cluster(2).await;
    let keys = keys_on(&cluster, &[0, 1]).await;
    let refs = |silo: usize| (ledger(&cluster, silo, &keys[0]), ledger(&cluster, silo, &keys[1]));
    for silo in 0..2 {
        let (a, b) = refs(silo);
        let started = tokio::time::Instant::now();
        let error = soon(a.cross(b, a.clone())).await.unwrap_err();
        assert!(started.elapsed() < ms(5_000));
        let error = match error {
            CallError::App(error) => error,
            other => panic!("{other}"),
        };
        // `meet` on the other silo panics, as its own call of the first grain fails.
        assert!(error.to_string().contains("deadlock"), "{error}");
        let chain = format!("ledger/{}.cross -> ledger/{}.meet -> ledger/{}.append", keys[0], keys[1], keys[0]);
        assert!(error.to_string().contains(&chain), "{error}");
    }
}

#[grain_interface(grain = "clerk")]
pub(crate) trait Clerk {
    async fn double(&self, n: u64) -> u64;
}

#[derive(Grain)]
#[grain(implements(Clerk), stateless_worker = 2)]
struct ClerkGrain;

impl Clerk for ClerkGrain {
    async fn double(&self, n: u64) -> u64 {
        2 * n
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silo_that_hosts_nothing_calls_grains_and_stateless_workers_of_the_others() {
    let (started, describe) = (std::sync::atomic::AtomicUsize::new(0), shared());
    let cluster = TestCluster::start(3, move |silo| match started.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
        0 => silo,
        _ => describe(silo).grain::<ClerkGrain>(),
    });
    let cluster = soon(cluster).await.unwrap();
    for key in 0..10u64 {
        assert_eq!(soon(ledger(&cluster, 0, &key.to_string()).append(1)).await.unwrap(), 1);
        let clerk: ClerkRef = cluster.silo(0).grain(key.to_string());
        assert_eq!(soon(clerk.double(key)).await.unwrap(), 2 * key);
    }
    assert_eq!(cluster.directory().len(), 10, "workers have no rows");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grain_type_that_no_silo_hosts_is_unknown() {
    let cluster = soon(TestCluster::start(2, |silo| silo)).await.unwrap();
    let error = soon(ledger(&cluster, 0, "x").append(1)).await.unwrap_err();
    assert_eq!(error.cause(), Some(&Cause::UnknownGrain));
    assert!(!error.maybe_executed());
}

/// The key of a grain that is active on this silo.
async fn on(cluster: &TestCluster, silo: usize, name: &str) -> String {
    for key in 0.. {
        let key = format!("{name}-{key}");
        soon(ledger(cluster, silo, &key).append(0)).await.unwrap();
        if cluster.place_of::<LedgerRef>(key.as_str()) == Some(silo) {
            return key;
        }
    }
    unreachable!("every silo gets some")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chains_that_wait_for_each_other_on_several_silos_are_a_deadlock_within_two_seconds() {
    for silos in [2, 3] {
        let cluster = cluster(silos).await;
        let mut grains = Vec::new();
        for silo in 0..silos {
            grains.push(on(&cluster, silo, &format!("ring-{silo}")).await);
        }
        let begun = tokio::time::Instant::now();
        // Each was called from outside, and then calls the next one.
        let calls: Vec<_> = (0..silos)
            .map(|at| {
                let (grain, next) =
                    (ledger(&cluster, at, &grains[at]), ledger(&cluster, at, &grains[(at + 1) % silos]));
                spawn(async move { grain.late(next, 200).await })
            })
            .collect();
        let mut chains = Vec::new();
        for call in calls {
            match soon(call).await.unwrap() {
                Ok(_) => {}
                Err(error) => {
                    let CallError::App(CallError::Fault(fault)) = error else { panic!("{error:?}") };
                    assert!(!fault.maybe_executed(), "{fault}");
                    let Cause::Deadlock { chain } = fault.cause() else { panic!("{fault}") };
                    chains.push(chain.iter().map(ToString::to_string).collect::<Vec<_>>());
                }
            }
        }
        assert!(begun.elapsed() < ms(2_200), "{:?} after the last call", begun.elapsed() - ms(200));
        let [chain] = &chains[..] else { panic!("one of them fails: {chains:?}") };
        assert_eq!(chain.len(), silos + 1, "{chain:?}");
        let late = chain.iter().filter(|link| link.ends_with(".late")).count();
        assert_eq!((late, chain.last().map(|link| link.ends_with(".append"))), (silos, Some(true)), "{chain:?}");
        let deadlocks: u64 =
            (0..silos).map(|silo| cluster.silo(silo).metrics().grain("ledger").unwrap().deadlocks).sum();
        assert_eq!(deadlocks, 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadlock_is_seen_through_turns_that_only_wait() {
    let cluster = cluster(3).await;
    let (a, b, c) = (on(&cluster, 0, "a").await, on(&cluster, 1, "b").await, on(&cluster, 2, "c").await);
    // a waits for b, whose turn wants c; c's turn wants a.
    let one = spawn({
        let (a, b, c) = (ledger(&cluster, 0, &a), ledger(&cluster, 0, &b), ledger(&cluster, 0, &c));
        async move { a.through(b, c, 200).await }
    });
    let two = spawn({
        let (c, a) = (ledger(&cluster, 2, &c), ledger(&cluster, 2, &a));
        async move { c.late(a, 200).await }
    });
    let outcomes = [soon(one).await.unwrap().err(), soon(two).await.unwrap().err()];
    let errors: Vec<_> = outcomes.iter().flatten().map(ToString::to_string).collect();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].contains("through") && errors[0].contains("b-"), "it names every turn: {errors:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_only_take_long_are_no_deadlock() {
    let cluster = cluster(2).await;
    let (a, b) = (on(&cluster, 0, "a").await, on(&cluster, 1, "b").await);
    let nap = spawn({
        let b = ledger(&cluster, 1, &b);
        async move { b.nap(2_500).await }
    });
    tokio::time::sleep(ms(100)).await;
    // a waits for b, which is busy with somebody else's; another call waits for a.
    let late = spawn({
        let (a, b) = (ledger(&cluster, 0, &a), ledger(&cluster, 0, &b));
        async move { a.late(b, 0).await }
    });
    tokio::time::sleep(ms(100)).await;
    let behind = spawn({
        let a = ledger(&cluster, 1, &a);
        async move { a.append(2).await }
    });
    soon(nap).await.unwrap().unwrap();
    soon(late).await.unwrap().unwrap();
    soon(behind).await.unwrap().unwrap();
}
