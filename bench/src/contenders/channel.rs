//! A task with an `mpsc` of requests, each with a `oneshot` for its answer: what one writes by hand.

use tokio::sync::{mpsc, oneshot};

use super::Contender;

/// As many as a grain's mailbox holds.
const MAILBOX: usize = 1_000;

pub(crate) enum Request {
    Add(u64, oneshot::Sender<u64>),
    Get(oneshot::Sender<u64>),
    Wait(oneshot::Sender<u64>),
    Chain(oneshot::Sender<u64>),
}

type Handle = mpsc::Sender<Request>;

async fn serve(mut requests: mpsc::Receiver<Request>, next: Option<Handle>, bytes: usize) {
    let mut count = 0;
    let _blob = vec![7u8; bytes];
    while let Some(request) = requests.recv().await {
        // Whoever asked may have gone.
        let _ = match request {
            Request::Add(n, answer) => {
                count += n;
                answer.send(count)
            }
            Request::Get(answer) => answer.send(count),
            Request::Wait(answer) => {
                count += 1;
                tokio::task::yield_now().await;
                answer.send(count)
            }
            Request::Chain(answer) => {
                count += 1;
                let end = match &next {
                    Some(next) => Channel::chain(next).await,
                    None => count,
                };
                answer.send(end)
            }
        };
    }
}

async fn ask(actor: &Handle, request: impl FnOnce(oneshot::Sender<u64>) -> Request) -> u64 {
    let (answer, wait) = oneshot::channel();
    actor.send(request(answer)).await.expect("the task lives");
    wait.await.expect("the task answers")
}

pub(crate) struct Channel;

impl Contender for Channel {
    const NAME: &'static str = "mpsc+oneshot";
    type Handle = Handle;

    async fn start() -> Self {
        Self
    }

    async fn actor(&self, _: &str, next: Option<Handle>) -> Handle {
        let (actor, requests) = mpsc::channel(MAILBOX);
        tokio::task::spawn(serve(requests, next, 0));
        actor
    }

    const NEEDS_HANDLES: bool = true;

    async fn holder(&self, _: &str, bytes: usize) -> Handle {
        let (actor, requests) = mpsc::channel(MAILBOX);
        tokio::task::spawn(serve(requests, None, bytes));
        Self::get(&actor).await; // it has begun
        actor
    }

    async fn add(actor: &Handle, n: u64) -> u64 {
        ask(actor, |answer| Request::Add(n, answer)).await
    }

    async fn get(actor: &Handle) -> u64 {
        ask(actor, Request::Get).await
    }

    async fn wait(actor: &Handle) -> u64 {
        ask(actor, Request::Wait).await
    }

    async fn chain(actor: &Handle) -> u64 {
        ask(actor, Request::Chain).await
    }
}
