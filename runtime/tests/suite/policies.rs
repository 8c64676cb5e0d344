//! When state is written: what each policy means, and what an activation makes of a record.

use gristmill::grains::state::Old;
use gristmill::grains::storage::GrainStorage;
use gristmill::prelude::*;
use gristmill::storage::MemoryStorage;
use gristmill::storage::memory::When;
use gristmill::{SiloBuilder, StartError};
use tokio::time::Instant;

use crate::support::{assert_fault, fault, ms, others_run, soon};

#[grain_interface]
trait Vault {
    async fn set(&mut self, field: String, n: u64);
    async fn write(&mut self);
    async fn clear(&mut self);
    async fn get(&self) -> [u64; 4];
    async fn leave(&mut self);
    async fn break_off(&mut self);
}

#[derive(Grain)]
#[grain(implements(Vault))]
struct VaultGrain {
    ctx: GrainContext<Self>,
    #[state]
    turn: Persistent<u64>,
    #[state(manual)]
    manual: Persistent<u64>,
    #[state(every = "1s")]
    every: Persistent<u64>,
    #[state(on_deactivate)]
    last: Persistent<u64>,
}

impl Vault for VaultGrain {
    async fn set(&mut self, field: String, n: u64) {
        match field.as_str() {
            "turn" => *self.turn = n,
            "manual" => *self.manual = n,
            "every" => *self.every = n,
            _ => *self.last = n,
        }
    }

    async fn write(&mut self) {
        self.manual.write().await.unwrap();
    }

    async fn clear(&mut self) {
        self.turn.clear();
    }

    async fn get(&self) -> [u64; 4] {
        [*self.turn, *self.manual, *self.every, *self.last]
    }

    async fn leave(&mut self) {
        self.ctx.deactivate_on_idle();
    }

    async fn break_off(&mut self) {
        self.ctx.abort();
    }
}

async fn vault(storage: &MemoryStorage) -> (Silo, VaultRef) {
    let silo = Silo::builder().storage("default", storage.clone()).grain::<VaultGrain>().start().await.unwrap();
    let vault = silo.grain("v");
    (silo, vault)
}

/// What a crash now would leave.
async fn stored(storage: &MemoryStorage) -> [u64; 4] {
    let copy = MemoryStorage::new();
    copy.faults().restore(&storage.faults().snapshot());
    let (_silo, vault) = vault(&copy).await;
    vault.get().await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn each_policy_writes_when_it_says() {
    let storage = MemoryStorage::new();
    let (_silo, vault) = vault(&storage).await;
    for field in ["turn", "manual", "every", "last"] {
        vault.set(field.into(), 1).await.unwrap();
    }
    assert_eq!(stored(&storage).await, [1, 0, 0, 0]);
    vault.write().await.unwrap();
    assert_eq!(stored(&storage).await, [1, 1, 0, 0]);
    tokio::time::sleep(ms(1_100)).await;
    assert_eq!(stored(&storage).await, [1, 1, 1, 0]);
    vault.set("manual".into(), 2).await.unwrap();
    vault.leave().await.unwrap();
    others_run().await;
    assert_eq!(stored(&storage).await, [1, 1, 1, 1], "manual state is written only when told");
}

#[tokio::test(start_paused = true)]
async fn an_every_reply_does_not_wait_and_its_window_is_kept_under_load() {
    let storage = MemoryStorage::new();
    let (_silo, vault) = vault(&storage).await;
    vault.get().await.unwrap();
    let commits = storage.faults().counts().commits;
    storage.faults().hold(When::Before);
    let before = Instant::now();
    for n in 1..=40 {
        vault.set("every".into(), n).await.unwrap(); // though nothing gets through
        tokio::time::sleep(ms(25)).await;
    }
    assert!(before.elapsed() >= ms(1_000) && before.elapsed() < ms(1_050));
    storage.faults().held(1).await;
    storage.faults().heal();
    others_run().await;
    assert!(stored(&storage).await[2] >= 39);
    for n in 41..=80 {
        vault.set("every".into(), n).await.unwrap();
        tokio::time::sleep(ms(100)).await;
    }
    let written = storage.faults().counts().commits - commits;
    assert!((4..=6).contains(&written), "one a second: {written}");
}

#[tokio::test(start_paused = true)]
async fn an_abort_drops_what_the_weaker_policies_had_not_written() {
    let storage = MemoryStorage::new();
    let (_silo, vault) = vault(&storage).await;
    for field in ["turn", "manual", "every", "last"] {
        vault.set(field.into(), 1).await.unwrap();
    }
    assert!(matches!(fault(vault.break_off().await).cause(), Cause::Aborted));
    assert_eq!(soon(vault.get()).await.unwrap(), [1, 0, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_cleared_record_is_gone_and_can_be_written_again() {
    let storage = MemoryStorage::new();
    let (silo, vault) = vault(&storage).await;
    vault.set("turn".into(), 7).await.unwrap();
    vault.clear().await.unwrap();
    assert_eq!(stored(&storage).await, [0; 4]);
    let fence =
        gristmill::grains::storage::Fence { epoch: 1 << 45, activation: gristmill::grains::ActivationId::from_u128(5) };
    let copy = MemoryStorage::new();
    copy.faults().restore(&storage.faults().snapshot());
    let opened = copy.open(&vault.id(), fence).await.unwrap();
    assert_eq!((opened.records[0].version, &opened.records[0].body), (2, &None), "a tombstone");
    vault.set("turn".into(), 8).await.unwrap();
    let _ = silo.stop().await;
    assert_eq!(stored(&storage).await, [8, 0, 0, 0]);
}

mod old {
    use super::*;

    #[grain_interface(grain = "saved")]
    pub(super) trait Saved {
        async fn put(&mut self, n: u64);
        async fn get(&self) -> String;
    }

    /// The first version of the type: a number.
    #[derive(Grain)]
    #[grain(implements(Saved))]
    pub(super) struct First {
        #[state]
        save: Persistent<u64>,
    }

    impl Saved for First {
        async fn put(&mut self, n: u64) {
            *self.save = n;
        }
        async fn get(&self) -> String {
            self.save.to_string()
        }
    }

    fn migrate(old: Old<'_>) -> Result<String, BoxError> {
        match old.version() {
            0 if old.decode::<u64>()? == 13 => panic!("no thirteen"),
            0 => Ok(format!("was {}", old.decode::<u64>()?)),
            other => Err(format!("unknown version {other}").into()),
        }
    }

    /// A later one: a text.
    #[derive(Grain)]
    #[grain(implements(Saved))]
    pub(super) struct Second {
        #[state(version = 2, migrate = migrate)]
        save: Persistent<String>,
    }

    impl Saved for Second {
        async fn put(&mut self, n: u64) {
            *self.save = format!("is {n}");
        }
        async fn get(&self) -> String {
            self.save.clone()
        }
    }
}

async fn saved(storage: &MemoryStorage, host: impl FnOnce(SiloBuilder) -> SiloBuilder) -> (Silo, old::SavedRef) {
    let silo = host(Silo::builder().storage("default", storage.clone())).start().await.unwrap();
    let saved = silo.grain("s");
    (silo, saved)
}

#[tokio::test(start_paused = true)]
async fn an_older_record_is_migrated_and_a_newer_one_is_named_and_left_alone() {
    let storage = MemoryStorage::new();
    let (silo, first) = saved(&storage, |silo| silo.grain::<old::First>()).await;
    first.put(3).await.unwrap();
    let _ = silo.stop().await;
    let (silo, second) = saved(&storage, |silo| silo.grain::<old::Second>()).await;
    assert_eq!(second.get().await.unwrap(), "was 3");
    second.put(4).await.unwrap();
    let _ = silo.stop().await;
    let (silo, first) = saved(&storage, |silo| silo.grain::<old::First>()).await;
    for _ in 0..2 {
        let fault = assert_fault!(first.put(9).await, Cause::ActivationFailed { .. }, false);
        let text = fault.to_string();
        assert!(text.contains("saved/s") && text.contains("\"save\"") && text.contains("version 2"), "{text}");
        let source = std::error::Error::source(&fault).expect("the storage error behind it");
        let unreadable = source.downcast_ref::<gristmill::grains::StorageError>();
        assert!(matches!(unreadable, Some(gristmill::grains::StorageError::Unreadable { .. })), "{source:?}");
    }
    let _ = silo.stop().await;
    let (_silo, second) = saved(&storage, |silo| silo.grain::<old::Second>()).await;
    assert_eq!(second.get().await.unwrap(), "is 4", "nothing was overwritten");
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_migration_fails_the_activation_and_keeps_the_record() {
    let storage = MemoryStorage::new();
    let (silo, first) = saved(&storage, |silo| silo.grain::<old::First>()).await;
    first.put(13).await.unwrap();
    let _ = silo.stop().await;
    let (silo, second) = saved(&storage, |silo| silo.grain::<old::Second>()).await;
    let fault = assert_fault!(second.get().await, Cause::ActivationFailed { .. }, false);
    assert!(fault.to_string().contains("no thirteen"), "{fault}");
    let _ = silo.stop().await;
    let (_silo, first) = saved(&storage, |silo| silo.grain::<old::First>()).await;
    assert_eq!(first.get().await.unwrap(), "13");
}

#[tokio::test(start_paused = true)]
async fn a_record_that_cannot_be_read_fails_the_activation_and_is_never_overwritten() {
    use gristmill::grains::storage::{Commit, Fence, RecordWrite, WriteId};
    let storage = MemoryStorage::new();
    let fence = Fence { epoch: 1, activation: gristmill::grains::ActivationId::from_u128(1) };
    let grain = gristmill::grains::GrainId::new(gristmill::grains::GrainType::new("saved"), "s");
    storage.open(&grain, fence).await.unwrap();
    let body = Some(bytes::Bytes::from_static(b"{\"by\": \"somebody else\"}"));
    let record = RecordWrite { name: "save".into(), expect: 0, version: 1, body: body.clone() };
    let commit = Commit { grain: grain.clone(), fence, write: WriteId(1), records: vec![record] };
    storage.commit(&[commit]).await.remove(0).unwrap();
    let (silo, first) = saved(&storage, |silo| silo.grain::<old::First>()).await;
    let fault = assert_fault!(first.put(1).await, Cause::ActivationFailed { .. }, false);
    assert!(fault.to_string().contains("header"), "{fault}");
    let _ = silo.stop().await;
    let later = Fence { epoch: 1 << 45, ..fence };
    assert_eq!(storage.open(&grain, later).await.unwrap().records[0].body, body);
}

#[grain_interface]
trait Twin {
    async fn both(&mut self, n: u64);
    async fn get(&self) -> (u64, u64);
}

/// Two records in one storage, or in two.
macro_rules! twin {
    ($name:ident, $storage:literal, $($option:ident)?) => {
        #[derive(Grain)]
        #[grain(implements(Twin) $(, $option)?)]
        struct $name {
            #[state]
            one: Persistent<u64>,
            #[state(storage = $storage)]
            two: Persistent<u64>,
        }

        impl Twin for $name {
            async fn both(&mut self, n: u64) {
                *self.one = n;
                *self.two = n;
            }
            async fn get(&self) -> (u64, u64) {
                (*self.one, *self.two)
            }
        }
    };
}

twin!(Together, "default",);
twin!(Apart, "other",);
twin!(ApartOnPurpose, "other", several_storages);

#[tokio::test(start_paused = true)]
async fn the_records_of_one_turn_are_committed_together() {
    let storage = MemoryStorage::new();
    let silo = Silo::builder().storage("default", storage.clone()).grain::<Together>().start().await.unwrap();
    let twin: TwinRef = silo.grain("t");
    twin.get().await.unwrap();
    let before = storage.faults().counts().commits;
    twin.both(1).await.unwrap();
    assert_eq!(storage.faults().counts().commits - before, 1);
    storage.faults().fail_next(1, When::After);
    twin.both(2).await.unwrap();
    let _ = silo.stop().await;
    let silo = Silo::builder().storage("default", storage).grain::<Together>().start().await.unwrap();
    assert_eq!(silo.grain::<TwinRef>("t").get().await.unwrap(), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn two_storages_need_to_be_meant_and_then_a_reply_waits_for_both() {
    let (one, two) = (MemoryStorage::new(), MemoryStorage::new());
    let builder = || Silo::builder().storage("default", one.clone()).storage("other", two.clone());
    let refused = builder().grain::<Apart>().start().await.unwrap_err();
    assert!(matches!(&refused, StartError::Grain { reason, .. } if reason.contains("several_storages")), "{refused}");
    let silo = builder().grain::<ApartOnPurpose>().start().await.unwrap();
    let twin: TwinRef = silo.grain("t");
    twin.get().await.unwrap();
    two.faults().hold(When::Before);
    let reply = twin.both(1).timeout(ms(500)).await;
    assert_fault!(reply, Cause::Timeout, true);
    two.faults().heal();
    assert_eq!(soon(twin.get()).await.unwrap(), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_silo_does_not_start_on_what_cannot_be() {
    let refused = Silo::builder().storage("default", MemoryStorage::new()).grain::<ApartOnPurpose>().start().await;
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("twin") && refused.contains("\"two\"") && refused.contains("\"other\""), "{refused}");
    let twice = Silo::builder().grain::<old::First>().grain::<old::Second>().start().await;
    assert!(matches!(twice, Err(StartError::Grain { .. })));
    let same = Silo::builder().storage("a", MemoryStorage::new()).storage("a", MemoryStorage::new()).start().await;
    assert!(matches!(same, Err(StartError::Option(_))));
    let broken = MemoryStorage::new();
    broken.faults().fail_all(When::Before);
    let options = SiloOptions { activation_timeout: ms(500), ..SiloOptions::default() };
    let silent = Silo::builder().options(options).storage("default", broken).start().await;
    assert!(matches!(silent, Err(StartError::Storage { ref name, .. }) if name == "default"), "{silent:?}");
}

#[grain_interface]
trait Tally {
    async fn add(&self, turns: u32) -> u64;
    async fn spoil(&self);
}

/// Reentrant: its state is changed in closures.
#[derive(Grain)]
#[grain(implements(Tally))]
struct TallyGrain {
    #[state]
    sum: PersistentCell<u64>,
}

impl Tally for TallyGrain {
    async fn add(&self, turns: u32) -> u64 {
        self.sum.update(|sum| *sum += 1);
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
        self.sum.update(|sum| {
            *sum += 1;
            *sum
        })
    }

    async fn spoil(&self) {
        self.sum.update(|sum| {
            *sum += 100;
            panic!("spoilt");
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reentrant_grain_loses_no_update() {
    let storage = MemoryStorage::new();
    let silo = Silo::builder().storage("default", storage.clone()).grain::<TallyGrain>().start().await.unwrap();
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..50_u32 {
        let tally: TallyRef = silo.grain("t");
        callers.spawn(async move {
            for n in 0..40 {
                tally.add((caller + n) % 4).await.unwrap();
            }
        });
    }
    soon(callers.join_all()).await;
    drop(silo); // without any ceremony: what was answered is stored
    let silo = Silo::builder().storage("default", storage).grain::<TallyGrain>().start().await.unwrap();
    assert_eq!(silo.grain::<TallyRef>("t").add(0).await.unwrap(), 4_002);
}

#[tokio::test(start_paused = true)]
async fn a_panic_inside_an_update_drops_the_half_done_change() {
    let silo = Silo::builder().grain::<TallyGrain>().start().await.unwrap();
    let tally: TallyRef = silo.grain("t");
    assert_eq!(tally.add(0).await.unwrap(), 2);
    assert_fault!(tally.spoil().await, Cause::Panicked { .. }, true);
    assert_eq!(soon(tally.add(0)).await.unwrap(), 4);
}
