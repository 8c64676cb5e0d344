//! Grains: how they are made, what they declare.

use std::sync::Arc;
use std::time::Duration;

use gristmill_grains::codec::Codec;
use gristmill_grains::state::{Old, Persistent, PersistentCell, Policy};
use gristmill_grains::{BoxError, DirtyCalls, Grain, GrainContext, GrainOptions, Lifecycle, grain_interface};

use crate::support::{bound, build, states};

/// A player.
#[grain_interface(crate = gristmill_grains)]
pub trait Player {
    /// Is hurt.
    async fn hurt(&mut self, amount: u32) -> u32;
    /// Its health.
    async fn health(&self) -> u32;
}

/// What a player carries.
#[grain_interface(grain = "player", crate = gristmill_grains)]
pub trait Inventory {
    /// How much.
    async fn size(&self) -> usize;
}

struct Clock(u32);

#[derive(Grain)]
#[grain(implements(Player, self::Inventory), crate = gristmill_grains)]
struct PlayerGrain {
    ctx: GrainContext<Self>,
    #[service]
    clock: Arc<Clock>,
    #[state]
    health: Persistent<u32>,
    seen: Vec<u32>,
    #[state(name = "bag", storage = "items", manual, codec = "bincode", version = 2, migrate = from_old)]
    inventory: Persistent<Vec<String>>,
    #[state(every = "1s")]
    visits: PersistentCell<u64>,
    #[state(on_deactivate, version = 3)]
    r#type: gristmill_grains::state::Persistent<u8>,
}

fn from_old(old: Old<'_>) -> Result<Vec<String>, BoxError> {
    Ok(vec![old.decode()?])
}

impl Player for PlayerGrain {
    async fn hurt(&mut self, amount: u32) -> u32 {
        *self.health += amount;
        self.seen.push(amount);
        *self.health
    }

    async fn health(&self) -> u32 {
        self.visits.update(|visits| *visits += 1);
        *self.health
    }
}

impl Inventory for PlayerGrain {
    async fn size(&self) -> usize {
        self.inventory.len() + usize::from(*self.r#type)
    }
}

#[tokio::test]
async fn a_grain_is_made_from_its_fields() {
    let mut grain: PlayerGrain = build(Some(Arc::new(Clock(7)))).unwrap();
    assert_eq!(grain.ctx.id().to_string(), "player/alice");
    assert_eq!((grain.clock.0, grain.seen.len()), (7, 0));
    assert!(!grain.is_dirty());
    assert_eq!(grain.health().await, 0);
    assert!(grain.is_dirty());
    assert_eq!(states(&grain), [("health", false), ("bag", false), ("visits", true), ("type", false)]);
    assert_eq!(grain.hurt(3).await, 3);
    assert_eq!(states(&grain), [("health", true), ("bag", false), ("visits", true), ("type", false)]);
}

#[test]
fn a_missing_service_fails_the_activation() {
    let error = build::<PlayerGrain>(None).err().unwrap();
    assert!(error.to_string().contains("Clock"), "{error}");
}

#[test]
fn state_is_declared_where_the_field_is() {
    let facts = PlayerGrain::STATES.iter().map(|spec| (spec.name, spec.storage, spec.policy, spec.codec, spec.schema));
    let expected = [
        ("health", "default", Policy::Turn, Codec::Json, 0),
        ("bag", "items", Policy::Manual, Codec::Bincode, 2),
        ("visits", "default", Policy::Every(Duration::from_secs(1)), Codec::Json, 0),
        ("type", "default", Policy::OnDeactivate, Codec::Json, 3),
    ];
    assert_eq!(facts.collect::<Vec<_>>(), expected);
    let migrations: Vec<_> = PlayerGrain::STATES.iter().map(|spec| spec.migrate.is_some()).collect();
    assert_eq!(migrations, [false, true, false, false]);
    let migrate = PlayerGrain::STATES[1].migrate.unwrap();
    assert!(migrate.downcast_ref::<gristmill_grains::state::Migrate<Vec<String>>>().is_some());
}

#[test]
fn a_grain_binds_every_interface_in_order() {
    let expected = ["player of player", "hurt 0 Exclusive", "health 1 Shared", "inventory of player", "size 0 Shared"];
    assert_eq!(bound::<PlayerGrain>(), expected);
    assert_eq!(PlayerGrain::grain_type().as_str(), "player");
}

/// Has no state, no methods.
#[grain_interface(key = i64, crate = gristmill_grains)]
trait Ticker {}

#[derive(Grain)]
#[grain(implements(Ticker), key = i64, lifecycle, mailbox = 10, idle = "never", turn_limit = "90s", inline = false)]
#[grain(keep_running, stateless_worker = 4, dirty_calls = "deny", several_storages, strict, placement = "label(zone = eu)", crate = gristmill_grains)]
struct TickerGrain;

impl Ticker for TickerGrain {}

impl Lifecycle for TickerGrain {
    async fn on_activate(&mut self) -> Result<(), BoxError> {
        Err("never".into())
    }
}

#[derive(Grain)]
#[grain(implements(Ticker), key = i64, idle = "100ms", stateless_worker, crate = gristmill_grains)]
struct Worker {}

impl Ticker for Worker {}

fn shown(options: &GrainOptions) -> String {
    format!("{options:?}")
}

#[tokio::test]
async fn options_are_what_the_attribute_says() {
    let all = GrainOptions {
        mailbox: 10,
        idle: None,
        turn_limit: Duration::from_secs(90),
        inline: false,
        keep_running: true,
        stateless_workers: Some(4),
        dirty_calls: DirtyCalls::Deny,
        several_storages: true,
        placement: gristmill_grains::Placement::Label { name: "zone".into(), value: "eu".into() },
        strict: true,
    };
    assert_eq!(shown(&TickerGrain::options()), shown(&all));
    let some =
        GrainOptions { idle: Some(Duration::from_millis(100)), stateless_workers: Some(0), ..GrainOptions::default() };
    assert_eq!(shown(&Worker::options()), shown(&some));
    assert_eq!(shown(&PlayerGrain::options()), shown(&GrainOptions::default()));
    let mut ticker = build::<TickerGrain>(None).unwrap();
    assert!(ticker.on_activate().await.is_err());
    let mut worker = build::<Worker>(None).unwrap();
    assert!(worker.on_activate().await.is_ok());
    assert!(!worker.is_dirty() && states(&worker).is_empty() && Worker::STATES.is_empty());
}
