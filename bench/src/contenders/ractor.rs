//! ractor, by `call`.

use ractor::rpc::CallResult;
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};

use super::Contender;

pub(crate) enum Message {
    Add(u64, RpcReplyPort<u64>),
    Get(RpcReplyPort<u64>),
    Wait(RpcReplyPort<u64>),
    Chain(RpcReplyPort<u64>),
}

struct Worker;

struct State {
    count: u64,
    next: Option<ActorRef<Message>>,
    _blob: Vec<u8>,
}

impl Actor for Worker {
    type Msg = Message;
    type State = State;
    type Arguments = (Option<ActorRef<Message>>, usize);

    async fn pre_start(
        &self,
        _: ActorRef<Message>,
        (next, bytes): Self::Arguments,
    ) -> Result<State, ActorProcessingErr> {
        Ok(State { count: 0, next, _blob: vec![7; bytes] })
    }

    async fn handle(
        &self,
        _: ActorRef<Message>,
        message: Message,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            Message::Add(n, answer) => {
                state.count += n;
                answer.send(state.count)?;
            }
            Message::Get(answer) => answer.send(state.count)?,
            Message::Wait(answer) => {
                state.count += 1;
                tokio::task::yield_now().await;
                answer.send(state.count)?;
            }
            Message::Chain(answer) => {
                state.count += 1;
                let end = match &state.next {
                    Some(next) => Ractor::chain(next).await,
                    None => state.count,
                };
                answer.send(end)?;
            }
        }
        Ok(())
    }
}

async fn ask(actor: &ActorRef<Message>, message: impl FnOnce(RpcReplyPort<u64>) -> Message) -> u64 {
    match actor.call(message, None).await {
        Ok(CallResult::Success(answer)) => answer,
        _ => panic!("the actor answers"),
    }
}

pub(crate) struct Ractor;

impl Contender for Ractor {
    const NAME: &'static str = "ractor";
    type Handle = ActorRef<Message>;

    async fn start() -> Self {
        Self
    }

    async fn actor(&self, _: &str, next: Option<Self::Handle>) -> Self::Handle {
        let (actor, _) = Actor::spawn(None, Worker, (next, 0)).await.expect("the actor starts");
        actor
    }

    const NEEDS_HANDLES: bool = true;

    async fn holder(&self, _: &str, bytes: usize) -> Self::Handle {
        let (actor, _) = Actor::spawn(None, Worker, (None, bytes)).await.expect("the actor starts");
        actor
    }

    async fn add(actor: &Self::Handle, n: u64) -> u64 {
        ask(actor, |answer| Message::Add(n, answer)).await
    }

    async fn get(actor: &Self::Handle) -> u64 {
        ask(actor, Message::Get).await
    }

    async fn wait(actor: &Self::Handle) -> u64 {
        ask(actor, Message::Wait).await
    }

    async fn chain(actor: &Self::Handle) -> u64 {
        ask(actor, Message::Chain).await
    }
}
