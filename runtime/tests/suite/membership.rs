//! Who is a member, and who is not: silos of one process, on real connections and real time.

use std::sync::Arc;
use std::time::Duration;

use gristmill::SiloBuilder;
use gristmill::cluster::{ClusterOptions, Incarnation, Membership, Status};
use gristmill::prelude::*;
use gristmill::storage::MemoryStorage;
use gristmill::testing::TestCluster;

use crate::cluster::LedgerRef;
use crate::silos::{Silos, free_address, stop, until};
use crate::support::{ms, soon, spawn};

async fn statuses(silos: &Silos) -> Vec<(Incarnation, Status)> {
    let view = silos.rows.read().await.unwrap().view;
    view.members.values().map(|member| (member.incarnation, member.status)).collect()
}

async fn with_status(silos: &Silos, status: Status) -> usize {
    statuses(silos).await.iter().filter(|(_, is)| *is == status).count()
}

async fn answers(silo: &Silo, keys: std::ops::Range<u64>) {
    for key in keys {
        let grain: LedgerRef = silo.grain(key.to_string());
        soon(grain.append(1)).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_away_for_longer_than_any_silence_kills_nobody() {
    let silos = Silos::new();
    let running = [silos.start().await.0, silos.start().await.0, silos.start().await.0];
    answers(&running[0], 0..20).await;
    silos.rows.set_available(false);
    silos.directory.set_available(false);
    // Longer than a silent silo is let live, and than the lease.
    let until_then = tokio::time::Instant::now() + Duration::from_secs(10);
    while tokio::time::Instant::now() < until_then {
        // Within the lease, grains that are active go on.
        if until_then - tokio::time::Instant::now() > Duration::from_secs(4) {
            answers(&running[1], 0..20).await;
        }
        tokio::time::sleep(ms(100)).await;
    }
    silos.rows.set_available(true);
    silos.directory.set_available(true);
    answers(&running[2], 0..40).await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(with_status(&silos, Status::Active).await, 3, "{:?}", statuses(&silos).await);
    answers(&running[0], 0..40).await;
    for silo in &running {
        stop(silo).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_three_silos_two_that_die_together_are_found_dead_by_the_third() {
    let silos = Silos::new();
    let (one, two, three) = (silos.start().await.0, silos.start().await.0, silos.start().await.0);
    answers(&one, 0..60).await;
    drop((one, two));
    let begun = tokio::time::Instant::now();
    answers(&three, 0..60).await;
    assert!(begun.elapsed() < Duration::from_secs(5), "their addresses refuse: {:?}", begun.elapsed());
    assert_eq!(with_status(&silos, Status::Dead).await, 2);
    stop(&three).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_lost_every_row_gets_them_back() {
    let silos = Silos::new();
    let running = [silos.start().await.0, silos.start().await.0];
    answers(&running[0], 0..20).await;
    let before = statuses(&silos).await;
    silos.rows.lose();
    until(async || statuses(&silos).await == before).await;
    answers(&running[1], 0..40).await;
    let (third, _) = silos.start().await;
    answers(&third, 0..40).await;
    for silo in running.iter().chain([&third]) {
        stop(silo).await;
    }
    until(async || with_status(&silos, Status::Dead).await == 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_second_silo_with_one_address_does_not_start_and_the_first_goes_on() {
    let silos = Silos::new();
    let (first, address) = silos.start().await;
    let twin = ClusterOptions { advertise: Some(address.clone()), ..silos.options() };
    let error = silos.start_with(twin).await.unwrap_err();
    assert!(error.to_string().contains(&address), "{error}");
    answers(&first, 0..10).await;
    assert_eq!(with_status(&silos, Status::Active).await, 1);
    stop(&first).await;
    // Its address is free now.
    let again = ClusterOptions { listen: address, ..silos.options() };
    let again = silos.start_with(again).await.unwrap();
    answers(&again, 0..10).await;
    stop(&again).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silo_started_again_at_once_replaces_its_dead_self() {
    let silos = Silos::new();
    let (other, _) = silos.start().await;
    let (silo, address) = silos.start().await;
    answers(&other, 0..40).await;
    drop(silo);
    let again = ClusterOptions { listen: address, ..silos.options() };
    let mut started = None;
    until(async || {
        // The one that was dropped lets its address go in a moment.
        started = silos.start_with(again.clone()).await.ok();
        started.is_some()
    })
    .await;
    let again = started.unwrap();
    answers(&again, 0..40).await;
    answers(&other, 0..40).await;
    until(async || with_status(&silos, Status::Active).await == 2).await;
    assert_eq!(with_status(&silos, Status::Dead).await, 1);
    stop(&again).await;
    stop(&other).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silo_that_the_others_declared_dead_serves_no_more_and_cannot_write() {
    let silos = Silos::new();
    let (one, _) = silos.start().await;
    let (two, _) = silos.start().await;
    answers(&one, 0..40).await;
    // As if it had been paused for long.
    let dead = silos.rows.read().await.unwrap().view.members.into_values().find(|member| member.join > 1).unwrap();
    silos.rows.advance(dead.incarnation, Status::Dead, 0).await.unwrap();
    soon(two.must_stop()).await;
    for key in 0..40u64 {
        let grain: LedgerRef = one.grain(key.to_string());
        // Until this silo knows of the death, calls still go to the dead one, and fail.
        until(async || grain.append(1).await.is_ok()).await;
    }
    // Whatever it had, the other one has now, and what it did was not lost.
    for key in 0..40u64 {
        let grain: LedgerRef = one.grain(key.to_string());
        assert_eq!(soon(grain.entries()).await.unwrap(), [1, 1]);
        let zombie: LedgerRef = two.grain(key.to_string());
        let error = soon(zombie.append(2).timeout(ms(300))).await.unwrap_err();
        assert!(error.to_string().contains("taken its place"), "{error}");
        assert_eq!(soon(grain.entries()).await.unwrap(), [1, 1], "it could not write");
    }
    stop(&one).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_silos_that_join_at_once_all_become_active() {
    let silos = Silos::new();
    let starts: Vec<_> = (0..24).map(|_| silos.described(silos.options())).collect();
    let starts: Vec<_> = starts.into_iter().map(|silo| spawn(async move { silo.start().await })).collect();
    let begun = tokio::time::Instant::now();
    let mut running = Vec::new();
    for start in starts {
        running.push(soon(start).await.unwrap().unwrap());
    }
    assert!(
        begun.elapsed() < Duration::from_secs(8),
        "they reach each other without being told: {:?}",
        begun.elapsed()
    );
    assert_eq!(with_status(&silos, Status::Active).await, 24);
    for silo in &running {
        answers(silo, 0..5).await;
    }
    drop(running);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn timings_that_contradict_each_other_are_refused() {
    let silos = Silos::new();
    for (options, named) in [
        (ClusterOptions { silence: ms(1_500), ..silos.options() }, "silence"),
        (ClusterOptions { lease: ms(2_900), ..silos.options() }, "lease"),
        (ClusterOptions { beat: ms(1), ..silos.options() }, "beat"),
    ] {
        let error = silos.start_with(options).await.unwrap_err();
        assert!(error.to_string().contains(named), "{error}");
    }
    // A quicker pace is kept.
    let options = ClusterOptions { beat: ms(100), silence: ms(300), lease: ms(800), ..silos.options() };
    let (one, two) = (silos.start_with(options.clone()).await.unwrap(), silos.start_with(options).await.unwrap());
    answers(&one, 0..20).await;
    tokio::time::sleep(ms(1_000)).await;
    assert_eq!(with_status(&silos, Status::Active).await, 2);
    stop(&one).await;
    stop(&two).await;
}

/// A silo with one worker thread of its own.
fn with_one_worker(silos: &Silos, options: ClusterOptions) -> (tokio::runtime::Runtime, Silo) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let silo = runtime.block_on(silos.start_with(options)).unwrap();
    (runtime, silo)
}

#[test]
fn a_silo_that_computes_for_long_is_not_taken_for_dead_nor_takes_others_for_it() {
    let silos = Silos::new();
    let options = ClusterOptions { beat: ms(100), silence: ms(300), lease: ms(800), ..silos.options() };
    let (one, busy) = with_one_worker(&silos, options.clone());
    let (two, other) = with_one_worker(&silos, options);
    two.block_on(answers(&other, 0..20));
    // Several times as long as one that says nothing is let live.
    let computing = one.handle().spawn(async { std::thread::sleep(Duration::from_secs(3)) });
    two.block_on(async {
        let until_then = tokio::time::Instant::now() + Duration::from_secs(5);
        while tokio::time::Instant::now() < until_then {
            assert_eq!(with_status(&silos, Status::Active).await, 2, "{:?}", statuses(&silos).await);
            tokio::time::sleep(ms(50)).await;
        }
        assert!(computing.is_finished());
        answers(&other, 0..40).await;
    });
    one.block_on(async {
        answers(&busy, 0..40).await;
        stop(&busy).await;
    });
    two.block_on(stop(&other));
}

/// A register that nobody may read when it is old.
#[grain_interface(local)]
trait Truth {
    async fn tell(&self) -> u64;
    async fn set(&mut self, to: u64);
}

#[derive(Grain)]
#[grain(implements(Truth), strict)]
struct TruthGrain {
    #[state]
    value: Persistent<u64>,
}

impl Truth for TruthGrain {
    async fn tell(&self) -> u64 {
        *self.value
    }

    async fn set(&mut self, to: u64) {
        *self.value = to;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_strict_grain_says_nothing_once_its_silos_lease_is_over() {
    let silos = Silos::new();
    let options = ClusterOptions { beat: ms(100), silence: ms(300), lease: ms(800), ..silos.options() };
    let silo = soon(silos.described(options).grain::<TruthGrain>().start()).await.unwrap();
    let truth: TruthRef = silo.grain("truth");
    soon(truth.set(1)).await.unwrap();
    answers(&silo, 0..1).await;
    // The silo cannot know whether the others have declared it dead.
    silos.rows.set_available(false);
    until(async || truth.tell().await.is_err()).await;
    let error = soon(truth.tell()).await.unwrap_err();
    assert!(error.to_string().contains("lease is over"), "{error}");
    let ledger: LedgerRef = silo.grain("0");
    assert_eq!(soon(ledger.entries()).await.unwrap(), [1], "what is not strict goes on");
    silos.rows.set_available(true);
    until(async || truth.tell().await.is_ok_and(|value| value == 1)).await;
    stop(&silo).await;
}

#[tokio::test(start_paused = true)]
async fn a_strict_grain_is_away_until_its_dead_silos_lease_is_over() {
    let storage = MemoryStorage::new();
    let describe = move |silo: SiloBuilder| silo.storage("default", storage.clone()).grain::<TruthGrain>();
    let cluster = soon(TestCluster::start(2, describe)).await.unwrap();
    let truth = |key: u64| cluster.silo(0).grain::<TruthRef>(key.to_string());
    for key in 0..20 {
        soon(truth(key).set(key)).await.unwrap();
    }
    let its: Vec<_> = (0..20).filter(|key| cluster.place_of::<TruthRef>(key.to_string()) == Some(1)).collect();
    assert!(!its.is_empty());
    let killed = tokio::time::Instant::now();
    cluster.kill(1);
    let calls: Vec<_> = its.iter().map(|key| (*key, spawn(truth(*key).tell().into_owned().into_future()))).collect();
    for (key, call) in calls {
        assert_eq!(call.await.unwrap().unwrap(), key);
        assert!(killed.elapsed() >= ms(8_000), "its silo might still have answered: {:?}", killed.elapsed());
    }
    assert!(killed.elapsed() < ms(9_000), "all at the same time: {:?}", killed.elapsed());
}

/// Carries connections to a silo, and can cut them all.
struct Proxy {
    address: String,
    cut: Arc<tokio::sync::Notify>,
}

impl Proxy {
    async fn start(to: String) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, cut) = (listener.local_addr().unwrap().to_string(), Arc::new(tokio::sync::Notify::new()));
        let cuts = cut.clone();
        drop(spawn(async move {
            while let Ok((mut from, _)) = listener.accept().await {
                let (to, cut) = (to.clone(), cuts.clone());
                drop(spawn(async move {
                    let Ok(mut to) = tokio::net::TcpStream::connect(to).await else { return };
                    tokio::select! {
                        biased;
                        () = cut.notified() => {}
                        _ = tokio::io::copy_bidirectional(&mut from, &mut to) => {}
                    }
                }));
            }
        }));
        Self { address, cut }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silo_whose_connections_break_now_and_then_is_left_alive() {
    let silos = Silos::new();
    let (mut running, mut proxies) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        let listen = free_address();
        let proxy = Proxy::start(listen.clone()).await;
        let behind = ClusterOptions { listen, advertise: Some(proxy.address.clone()), ..silos.options() };
        running.push(silos.start_with(behind).await.unwrap());
        proxies.push(proxy);
    }
    answers(&running[0], 0..60).await;
    // Long enough that a silo which forgot when it last heard of the others would think them silent for long.
    tokio::time::sleep(Duration::from_secs(6)).await;
    for _ in 0..5 {
        proxies.iter().for_each(|proxy| proxy.cut.notify_waiters());
        tokio::time::sleep(ms(300)).await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(with_status(&silos, Status::Active).await, 3, "{:?}", statuses(&silos).await);
    answers(&running[1], 0..60).await;
    for silo in &running {
        stop(silo).await;
    }
}
