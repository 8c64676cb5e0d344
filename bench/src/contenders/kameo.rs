//! kameo, by `ask`.

use kameo::Actor;
use kameo::actor::{ActorRef, Spawn};
use kameo::message::{Context, Message};

use super::Contender;

#[derive(Actor)]
pub(crate) struct Worker {
    count: u64,
    next: Option<ActorRef<Worker>>,
    _blob: Vec<u8>,
}

pub(crate) struct Add(u64);
pub(crate) struct Get;
pub(crate) struct Wait;
pub(crate) struct Chain;

impl Message<Add> for Worker {
    type Reply = u64;

    async fn handle(&mut self, Add(n): Add, _: &mut Context<Self, u64>) -> u64 {
        self.count += n;
        self.count
    }
}

impl Message<Get> for Worker {
    type Reply = u64;

    async fn handle(&mut self, _: Get, _: &mut Context<Self, u64>) -> u64 {
        self.count
    }
}

impl Message<Wait> for Worker {
    type Reply = u64;

    async fn handle(&mut self, _: Wait, _: &mut Context<Self, u64>) -> u64 {
        self.count += 1;
        tokio::task::yield_now().await;
        self.count
    }
}

impl Message<Chain> for Worker {
    type Reply = u64;

    async fn handle(&mut self, _: Chain, _: &mut Context<Self, u64>) -> u64 {
        self.count += 1;
        match &self.next {
            Some(next) => Kameo::chain(next).await,
            None => self.count,
        }
    }
}

pub(crate) struct Kameo;

impl Contender for Kameo {
    const NAME: &'static str = "kameo";
    type Handle = ActorRef<Worker>;

    async fn start() -> Self {
        Self
    }

    async fn actor(&self, _: &str, next: Option<Self::Handle>) -> Self::Handle {
        Worker::spawn(Worker { count: 0, next, _blob: Vec::new() })
    }

    const NEEDS_HANDLES: bool = true;

    async fn holder(&self, _: &str, bytes: usize) -> Self::Handle {
        let actor = Worker::spawn(Worker { count: 0, next: None, _blob: vec![7; bytes] });
        actor.wait_for_startup().await;
        actor
    }

    async fn add(actor: &Self::Handle, n: u64) -> u64 {
        actor.ask(Add(n)).await.expect("the actor answers")
    }

    async fn get(actor: &Self::Handle) -> u64 {
        actor.ask(Get).await.expect("the actor answers")
    }

    async fn wait(actor: &Self::Handle) -> u64 {
        actor.ask(Wait).await.expect("the actor answers")
    }

    async fn chain(actor: &Self::Handle) -> u64 {
        actor.ask(Chain).await.expect("the actor answers")
    }
}
