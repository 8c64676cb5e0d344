//! How many calls a second one connection carries over the loopback: `cargo run --release -p gristmill-cluster --example
//! ping [calls] [bytes] [in flight]`. Prints calls per second, both ways counted as one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use gristmill_cluster::Incarnation;
use gristmill_cluster::transport::wire::{Message, Request, Response};
use gristmill_cluster::transport::{Link, LinkError, Network, Options, PeerAddress, Receiver, TcpNet};
use gristmill_grains::{GrainId, GrainType, RequestContext};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Answers requests; sends one more for each answer, until all are answered.
struct Peer {
    left: AtomicU64,
    unanswered: AtomicU64,
    bytes: usize,
    done: Notify,
}

fn request(correlation: u64, bytes: usize) -> Message {
    Message::Request(Request {
        correlation,
        target: GrainId::new(GrainType::new("player"), "alice"),
        interface: "player".into(),
        method: 1,
        remaining_ms: 30_000,
        one_way: false,
        flags: 0,
        chain: Vec::new(),
        context: RequestContext::default(),
        body: Bytes::from(vec![0; bytes]),
    })
}

fn take_one(counter: &AtomicU64) -> bool {
    counter.fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| left.checked_sub(1)).is_ok()
}

impl Receiver for Peer {
    fn opened(&self, _: &Arc<Link>) {}

    fn message(&self, from: &Arc<Link>, message: Message) {
        let next = match message {
            Message::Request(Request { correlation, body, .. }) => {
                Message::Response(Response { correlation, result: Ok(body) })
            }
            Message::Response(response) => {
                if self.unanswered.fetch_sub(1, Ordering::AcqRel) == 1 {
                    self.done.notify_one();
                }
                if !take_one(&self.left) {
                    return;
                }
                request(response.correlation, self.bytes)
            }
            _ => return,
        };
        if let Err(error) = from.try_send(next) {
            eprintln!("{error}");
        }
    }

    fn closed(&self, _: &Arc<Link>, why: LinkError, unsent: Vec<Message>) {
        if !unsent.is_empty() {
            eprintln!("{why}; {} unsent", unsent.len());
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse());
    let calls: u64 = arguments.next().unwrap_or(Ok(1_000_000))?;
    let bytes = arguments.next().unwrap_or(Ok(64))?;
    let flight: u64 = arguments.next().unwrap_or(Ok(1000))?;
    let peer = Arc::new(Peer {
        left: AtomicU64::new(calls),
        unanswered: AtomicU64::new(calls),
        bytes: usize::try_from(bytes)?,
        done: Notify::new(),
    });
    let start = async |n| {
        let options = Options::silo("ping", Incarnation::from_u128(n), "127.0.0.1:0");
        Network::start(options, Arc::new(TcpNet), Handle::current(), peer.clone()).await
    };
    let (a, b) = (start(1).await?, start(2).await?);
    let to = PeerAddress { incarnation: Incarnation::from_u128(2), join: 1, address: b.address() };
    let link = a.link(&to)?;
    let began = Instant::now();
    for n in 0..flight {
        if take_one(&peer.left) {
            link.try_send(request(n, peer.bytes))?;
        }
    }
    peer.done.notified().await;
    let seconds = began.elapsed().as_secs_f64();
    println!("{calls} calls of {bytes} bytes, {flight} in flight: {:.0} calls/s", calls as f64 / seconds);
    a.stop().await;
    b.stop().await;
    Ok(())
}
