//! Nodes whose receiver records what it is told.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use gristmill_grains::{GrainId, GrainType, RequestContext};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::Incarnation;
use crate::transport::wire::hello::{Identity, Refusal};
use crate::transport::wire::{Message, Request};
use crate::transport::{Link, LinkError, Net, Network, Options, PeerAddress, Receiver, Secret, StartError};

#[derive(Debug)]
pub(super) enum Event {
    Opened(Arc<Link>),
    Message(Arc<Link>, Message),
    Closed(LinkError, Vec<Message>),
}

pub(super) struct Recorder {
    events: UnboundedSender<Event>,
    pub(super) flush: AtomicBool,
    pub(super) refusal: Mutex<Option<Refusal>>,
}

impl Receiver for Recorder {
    fn opened(&self, link: &Arc<Link>) {
        drop(self.events.send(Event::Opened(link.clone())));
    }

    fn message(&self, from: &Arc<Link>, message: Message) {
        drop(self.events.send(Event::Message(from.clone(), message)));
    }

    fn closed(&self, _: &Arc<Link>, why: LinkError, unsent: Vec<Message>) {
        drop(self.events.send(Event::Closed(why, unsent)));
    }

    fn admit(&self, _: &Identity) -> Result<(), Refusal> {
        self.refusal.lock().map_or(Ok(()), Err)
    }

    fn may_flush(&self) -> bool {
        self.flush.load(Ordering::Acquire)
    }
}

pub(super) struct Node {
    pub(super) network: Network,
    pub(super) events: UnboundedReceiver<Event>,
    pub(super) recorder: Arc<Recorder>,
    pub(super) incarnation: Incarnation,
}

impl Node {
    pub(super) async fn start(options: Options, net: impl Net + 'static) -> Result<Self, StartError> {
        let (sender, events) = unbounded_channel();
        let recorder = Arc::new(Recorder { events: sender, flush: AtomicBool::new(true), refusal: Mutex::new(None) });
        let incarnation = options.incarnation;
        let network = Network::start(options, Arc::new(net), Handle::current(), recorder.clone()).await?;
        Ok(Self { network, events, recorder, incarnation })
    }

    pub(super) fn peer(&self) -> PeerAddress {
        PeerAddress { incarnation: self.incarnation, join: 1, address: self.network.address() }
    }

    pub(super) async fn event(&mut self) -> Event {
        self.events.recv().await.unwrap()
    }

    pub(super) async fn opened(&mut self) -> Arc<Link> {
        match self.event().await {
            Event::Opened(link) => link,
            other => panic!("{other:?}"),
        }
    }

    pub(super) async fn message(&mut self) -> Message {
        match self.event().await {
            Event::Message(_, message) => message,
            other => panic!("{other:?}"),
        }
    }

    pub(super) async fn closed(&mut self) -> (LinkError, Vec<Message>) {
        loop {
            match self.event().await {
                Event::Closed(why, unsent) => return (why, unsent),
                Event::Opened(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

pub(super) fn incarnation(n: u128) -> Incarnation {
    Incarnation::from_u128(n)
}

pub(super) fn silo(n: u128, listen: &str) -> Options {
    Options::silo("test", incarnation(n), listen)
}

pub(super) fn secret(text: &str) -> Secret {
    Secret::new(format!("{text:0>32}")).unwrap()
}

pub(super) fn request(correlation: u64, key: &str, size: usize) -> Message {
    Message::Request(Request {
        correlation,
        target: GrainId::new(GrainType::new("player"), key),
        interface: "player".into(),
        method: 7,
        remaining_ms: 30_000,
        one_way: false,
        flags: 0,
        chain: Vec::new(),
        context: RequestContext::default(),
        body: Bytes::from(vec![correlation as u8; size]),
    })
}

/// The correlation of a message; what cannot be compared is compared by it.
pub(super) fn correlation(message: &Message) -> u64 {
    match message {
        Message::Request(request) => request.correlation,
        Message::Response(response) => response.correlation,
        Message::NotHere(answer) => answer.correlation,
        Message::Cancel { correlation } => *correlation,
        Message::Control(control) | Message::ControlReply(control) => control.correlation,
        Message::Probe { number } | Message::ProbeAck { number } | Message::ViewHint { version: number } => *number,
        Message::Goodbye => u64::MAX,
    }
}

pub(super) fn correlations(messages: &[Message]) -> Vec<u64> {
    messages.iter().map(correlation).collect()
}
