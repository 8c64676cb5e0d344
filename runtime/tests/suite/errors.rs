//! The application's errors and the runtime's are kept apart, and each says what it is about.

use gristmill::grains::Fault;
use gristmill::prelude::*;
use serde::{Deserialize, Serialize};

use crate::support::{Do, Rig, ended, halt, note, others_run, soon};

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, thiserror::Error)]
enum ShopError {
    #[error("{0} is sold out")]
    SoldOut(String),
    #[error("the shop is out of reach: {0}")]
    Unreachable(String),
}

impl From<CallError> for ShopError {
    fn from(error: CallError) -> Self {
        Self::Unreachable(error.to_string())
    }
}

#[grain_interface]
trait Shop {
    async fn buy(&mut self, item: String) -> Result<u32, ShopError>;
    async fn close(&mut self);
    /// Buys in another shop.
    async fn fetch(&mut self, shop: String, item: String) -> Result<u32, ShopError>;
    /// Buys in another shop, through a third.
    async fn fetch_far(&mut self, via: String, shop: String, item: String) -> Result<u32, ShopError>;
}

#[derive(Grain)]
#[grain(implements(Shop))]
struct ShopGrain {
    ctx: GrainContext<Self>,
    #[state]
    asked: Persistent<u32>,
}

impl Shop for ShopGrain {
    async fn buy(&mut self, item: String) -> Result<u32, ShopError> {
        *self.asked += 1;
        if item == "bread" { Ok(*self.asked) } else { Err(ShopError::SoldOut(item)) }
    }

    async fn close(&mut self) {
        panic!("closed for good");
    }

    async fn fetch(&mut self, shop: String, item: String) -> Result<u32, ShopError> {
        self.ctx.grain::<ShopRef>(shop).buy(item).await.app()?
    }

    async fn fetch_far(&mut self, via: String, shop: String, item: String) -> Result<u32, ShopError> {
        self.ctx.grain::<ShopRef>(via).fetch(shop, item).await.app()?
    }
}

async fn shops() -> Silo {
    Silo::builder().grain::<ShopGrain>().start().await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_applications_error_is_its_own_and_its_turn_counts() {
    let silo = shops().await;
    let shop: ShopRef = silo.grain("s");
    match shop.buy("cake".into()).await {
        Err(CallError::App(error)) => assert_eq!(error, ShopError::SoldOut("cake".into())),
        other => panic!("{other:?}"),
    }
    assert_eq!(shop.buy("bread".into()).await.unwrap(), 2, "a turn that returns an error is kept like any other");
    assert_eq!(shop.buy("cake".into()).await.app().unwrap().unwrap_err(), ShopError::SoldOut("cake".into()));
    let error = shop.buy("cake".into()).await.unwrap_err();
    assert!(error.fault().is_none() && error.cause().is_none() && error.maybe_executed(), "it ran");
    assert_eq!(error.to_string(), "cake is sold out");
}

#[tokio::test(start_paused = true)]
async fn an_error_keeps_its_type_over_two_hops() {
    let silo = shops().await;
    let far = silo.grain::<ShopRef>("a").fetch_far("b".into(), "c".into(), "cake".into()).await;
    assert!(matches!(far, Err(CallError::App(ShopError::SoldOut(ref item))) if item == "cake"), "{far:?}");
    let own = silo.grain::<ShopRef>("a").fetch("a".into(), "cake".into()).await;
    let Err(CallError::App(ShopError::Unreachable(why))) = own else { panic!("{own:?}") };
    assert!(why.contains("deadlock") && why.contains("shop/a.buy"), "{why}");
}

#[tokio::test(start_paused = true)]
async fn every_message_names_the_grain_the_method_the_cause_and_whether_it_ran() {
    let silo = shops().await;
    let error = silo.grain::<ShopRef>("s").close().await.unwrap_err();
    assert_eq!(error.to_string(), "shop/s.close: panicked: closed for good [may have run]");
    let rig = Rig::of(|options| options.mailbox = 1).await;
    let fault = |outcome: Result<Vec<u64>, CallError<String>>| crate::support::fault(outcome).to_string();
    assert!(fault(rig.node(" ").write(vec![]).await).starts_with("node/ .write: invalid key"));
    let running = rig.write("n", halt("in"));
    rig.probe.saw("in").await;
    let waiting = rig.write("n", []);
    others_run().await;
    let overloaded = fault(rig.node("n").write(vec![]).await);
    assert_eq!(overloaded, "node/n.write: overloaded, 1 calls are queued; retry later [did not run]");
    rig.probe.open("in");
    ended(running).await.unwrap();
    ended(waiting).await.unwrap();
    let aborted = fault(rig.node("n").write(vec![Do::Abort]).await);
    assert_eq!(aborted, "node/n.write: the turn aborted; its changes were dropped [may have run]");
    let unknown = silo.grain::<crate::support::NodeRef>("x").list().await.unwrap_err().to_string();
    assert!(unknown.starts_with("node/x.list: no silo hosts this grain type"), "{unknown}");
    assert!(unknown.ends_with("[did not run]"), "{unknown}");
}

#[tokio::test(start_paused = true)]
async fn a_retry_is_safe_exactly_when_it_says_so() {
    // Each failure, and the number of times the method had begun.
    let rig = Rig::of(|options| options.mailbox = 1).await;
    let ran = |fault: Fault, times: usize| {
        assert_eq!(fault.maybe_executed(), times > 0, "{fault}");
        assert_eq!(rig.probe.count("ran"), times, "{fault}");
    };
    rig.probe.hook("bad+", [Do::Fail("no".into())]);
    let script = || vec![note("ran")];
    let fault = crate::support::fault;
    ran(fault(rig.node("").write(script()).await), 0);
    ran(fault(rig.node("bad").write(script()).await), 0);
    let running = rig.write("n", halt("in"));
    rig.probe.saw("in").await;
    ran(fault(rig.node("n").write(script()).timeout(crate::support::ms(5)).await), 0);
    let waiting = rig.write("n", []);
    others_run().await;
    ran(fault(rig.node("n").write(script()).await), 0);
    rig.probe.open("in");
    ended(running).await.unwrap();
    ended(waiting).await.unwrap();
    ran(fault(rig.node("n").write([script(), vec![Do::Panic]].concat()).await), 1);
    ran(fault(soon(rig.node("n").write([script(), vec![Do::Abort]].concat())).await), 2);
    let late = [script(), vec![Do::Sleep(crate::support::ms(10))]].concat();
    ran(fault(rig.node("n").write(late).timeout(crate::support::ms(5)).await), 3);
}
