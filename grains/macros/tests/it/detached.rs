//! A grain made by hand, without a silo: what unit tests of its own code use.

use std::time::Duration;

use gristmill_grains::state::{Persistent, PersistentCell};
use gristmill_grains::{CallError, Cause, Fault, Grain, GrainContext, TimerHandle, grain_interface};

/// Counts visitors.
#[grain_interface(key = i64, local, crate = gristmill_grains)]
trait Door {
    /// Somebody passes.
    async fn pass(&mut self, visitor: String) -> u64;
    /// Asks the next door; the cause if that fails.
    async fn ask_next(&self) -> Option<Cause>;
    /// Tells the next door.
    async fn tell_next(&self);
    /// Whatever needs an activation.
    async fn live(&self) -> [Option<Cause>; 3];
    /// Whatever ends one.
    async fn end(&mut self);
}

#[derive(Grain)]
#[grain(implements(Door), key = i64, crate = gristmill_grains)]
struct DoorGrain {
    ctx: GrainContext<Self>,
    #[state]
    visitors: Persistent<Vec<String>>,
    #[state]
    asked: PersistentCell<u32>,
    closing: Option<TimerHandle>,
}

impl DoorGrain {
    fn detached(number: i64) -> Self {
        let visitors = Persistent::detached(vec!["eve".to_owned()]);
        Self { ctx: GrainContext::detached(number), visitors, asked: PersistentCell::detached(0), closing: None }
    }

    async fn close(&mut self) {
        self.pass("the wind".to_owned()).await;
    }
}

impl Door for DoorGrain {
    async fn pass(&mut self, visitor: String) -> u64 {
        self.visitors.push(visitor);
        self.visitors.commit().await.expect("a detached field has nothing to write");
        self.visitors.len() as u64
    }

    async fn ask_next(&self) -> Option<Cause> {
        self.asked.update(|asked| *asked += 1);
        let next: DoorRef = self.ctx.grain(self.ctx.typed_key().expect("it is ours") + 1);
        let answer: Result<u64, CallError> = next.pass("a door".to_owned()).await;
        answer.err().and_then(|error| error.cause().cloned())
    }

    async fn tell_next(&self) {
        self.ctx.grain::<DoorRef>(8).pass("a door".to_owned()).send();
    }

    async fn live(&self) -> [Option<Cause>; 3] {
        let cause = |fault: Fault| fault.cause().clone();
        let timer = self.ctx.every(Duration::from_secs(1), Self::close);
        [self.ctx.activation_id().err().map(cause), timer.err().map(cause), self.ctx.spawn(async {}).err().map(cause)]
    }

    async fn end(&mut self) {
        self.ctx.delay_deactivation(Duration::from_secs(1));
        self.ctx.deactivate_on_idle();
        self.ctx.retire();
        self.ctx.abort();
    }
}

#[tokio::test]
async fn methods_run_without_a_silo() {
    let mut door = DoorGrain::detached(7);
    assert_eq!(door.pass("bob".to_owned()).await, 2);
    assert_eq!(*door.visitors, ["eve", "bob"]);
    assert_eq!((door.ctx.id().to_string(), door.ctx.typed_key()), ("door/7".to_owned(), Ok(7)));
    assert_eq!(door.ctx.request().get("user"), None);
    assert!(door.closing.is_none());
}

#[tokio::test]
async fn what_needs_a_silo_says_so() {
    let mut door = DoorGrain::detached(7);
    assert_eq!(door.ask_next().await, Some(Cause::Unbound));
    assert_eq!(door.asked.read(|asked| *asked), 1);
    door.tell_next().await; // dropped
    for cause in door.live().await {
        assert!(
            matches!(&cause, Some(Cause::ActivationLost { reason }) if reason.contains("detached")),
            "was {cause:?}"
        );
    }
    door.end().await;
    assert_eq!(door.pass("bob".to_owned()).await, 2, "nothing has ended");
}
