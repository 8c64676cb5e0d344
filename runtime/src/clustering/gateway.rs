//! Calls of clients: a silo is a gateway for each that connects to it.
//!
//! A client's call goes through the silo's own router, wherever the grain is, so the calls that one client makes of one
//! grain through one gateway keep their order.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use gristmill_cluster::transport::wire::{Control, Message, Request, Response};
use gristmill_cluster::transport::{Link, SendErrorKind};
use gristmill_cluster::{Answer, Ask, Incarnation, Status, Talk};
use gristmill_grains::call::deadline_after;
use gristmill_grains::port::{RemoteCall, Reply};
use gristmill_grains::sync::Mutex;
use gristmill_grains::{Cause, Fault, codec};
use tokio::task::AbortHandle;

use super::node::{Node, encoded, talk};
use super::serve::{Caller, Item};
use super::wires::Correlation;

/// Calls of one client that are under way at once, at most.
const MAX_CALLS: usize = 10_000;
/// The grain types of the runtime itself begin with this; clients do not reach them.
const SYSTEM: &str = "gristmill.";

/// The clients, by the number of their connection.
#[derive(Default)]
pub(crate) struct Clients(Mutex<BTreeMap<u64, Client>>);

struct Client {
    incarnation: Incarnation,
    link: Arc<Link>,
    calls: BTreeMap<Correlation, Arc<ClientCall>>,
}

impl Clients {
    /// Is nothing called?
    pub(super) fn is_idle(&self) -> bool {
        self.0.lock().values().all(|client| client.calls.is_empty())
    }

    fn end(&self, link: &Link, correlation: Correlation) -> Option<Arc<ClientCall>> {
        self.0.lock().get_mut(&link.id())?.calls.remove(&correlation)
    }
}

/// A call of a client, which is to be answered.
pub(crate) struct ClientCall {
    node: Weak<Node>,
    link: Arc<Link>,
    correlation: Correlation,
    wanted: AtomicBool,
    task: Mutex<Option<AbortHandle>>,
}

impl ClientCall {
    /// Nobody waits for it any more: if it has not begun it never will.
    fn forget(&self) {
        self.wanted.store(false, Ordering::Release);
        let task = self.task.lock().take();
        task.inspect(AbortHandle::abort);
    }
}

impl Reply for ClientCall {
    fn leave(&self) -> bool {
        self.is_wanted()
    }

    fn come_back(&self) {}

    fn reply(&self, answer: Result<Bytes, Fault>) {
        if let Some(node) = self.node.upgrade() {
            node.clients.end(&self.link, self.correlation);
        }
        if self.wanted.swap(false, Ordering::AcqRel) {
            respond(&self.link, self.correlation, answer);
        }
    }

    fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::Acquire)
    }

    fn served_by(&self, task: AbortHandle) {
        *self.task.lock() = Some(task);
        if !self.is_wanted() {
            self.forget(); // it was given up, or answered, meanwhile
        }
    }
}

fn respond(link: &Link, correlation: Correlation, result: Result<Bytes, Fault>) {
    let send = |result| link.try_send(Message::Response(Response { correlation, result })).map_err(|error| error.kind);
    let refused = match send(result) {
        Err(SendErrorKind::TooLarge(_)) => {
            let detail = "the answer is larger than a connection takes".to_owned();
            send(Err(Fault::maybe_executed_with(Cause::Codec { detail })))
        }
        sent => sent,
    };
    if let Err(SendErrorKind::Overloaded) = refused {
        // It does not read. Cut off, it knows of every call that it is not answered.
        tracing::warn!(client = ?link.incarnation(), "a client does not take its answers; its connection ends");
        link.close();
    }
}

impl Node {
    /// May clients connect?
    pub(super) fn takes_clients(&self) -> bool {
        let active = self.view().members.get(&self.me()).is_some_and(|own| own.status == Status::Active);
        active && self.core().is_some_and(|core| !core.is_stopping())
    }

    /// A client has connected.
    pub(super) fn client_opened(&self, link: &Arc<Link>) {
        let Some(incarnation) = link.incarnation() else { return };
        let client = Client { incarnation, link: link.clone(), calls: BTreeMap::new() };
        self.clients.0.lock().insert(link.id(), client);
    }

    /// Its connection is over: nobody waits for its calls.
    pub(super) fn client_closed(&self, link: &Link) {
        let Some(client) = self.clients.0.lock().remove(&link.id()) else { return };
        self.partings.lock().awaited.remove(&client.incarnation);
        client.calls.values().for_each(|call| call.forget());
    }

    pub(super) fn client_message(self: &Arc<Self>, link: &Arc<Link>, message: Message, now: bool) {
        match message {
            Message::Request(request) => self.client_request(link, request, now),
            Message::Cancel { correlation } => drop(self.clients.end(link, correlation).inspect(|call| call.forget())),
            Message::Control(Control { correlation, body }) => match codec::decode_wire::<Talk>(&body) {
                Ok(Talk::Ask(Ask::Gateways)) => {
                    let body = encoded(&self.gateways());
                    drop(link.try_send(Message::ControlReply(Control { correlation, body }))); // it asks again
                }
                Ok(Talk::Farewell) => {
                    let client = link.incarnation();
                    if let Some(client) = client {
                        self.partings.lock().awaited.remove(&client);
                    }
                }
                Ok(_) => tracing::warn!(client = ?link.incarnation(), "a client asked what only silos may"),
                Err(fault) => {
                    tracing::warn!(client = ?link.incarnation(), %fault, "a client's question cannot be read")
                }
            },
            _ => {} // nothing else is a client's to say
        }
    }

    fn client_request(self: &Arc<Self>, link: &Arc<Link>, request: Request, now: bool) {
        let correlation = request.correlation;
        let call = ClientCall {
            node: self.myself.clone(),
            link: link.clone(),
            correlation,
            wanted: AtomicBool::new(true),
            task: Mutex::default(),
        };
        let (call, target) = (Arc::new(call), request.target.clone());
        let cause = {
            let mut clients = self.clients.0.lock();
            let Some(client) = clients.get_mut(&link.id()) else { return };
            if target.grain_type().as_str().starts_with(SYSTEM) {
                Some(Cause::UnknownGrain)
            } else if client.calls.len() >= MAX_CALLS {
                Some(Cause::Overloaded { limit: MAX_CALLS })
            } else if let Entry::Vacant(entry) = client.calls.entry(correlation) {
                entry.insert(call.clone());
                None
            } else {
                return; // it said that already
            }
        };
        if let Some(cause) = cause {
            return respond(link, correlation, Err(Fault::not_executed(cause).of(&target)));
        }
        self.take(Item { from: Caller::Client(call), request }, now);
    }

    /// Routes a client's call.
    pub(super) fn serve_client(&self, call: Arc<ClientCall>, request: Request) {
        self.router().send(Box::new(RemoteCall {
            grain: request.target,
            interface: request.interface,
            method: request.method,
            name: "".into(),
            arguments: request.body,
            deadline: deadline_after(Duration::from_millis(request.remaining_ms.into())),
            request: request.context,
            caller: None,
            one_way: request.one_way,
            reply: Some(call),
        }));
    }

    /// Who takes calls of clients.
    pub(super) fn gateways(&self) -> Answer {
        Answer::Gateways(self.view().active().map(|member| member.info.address.clone()).collect())
    }

    /// Tells the clients which silos there are now.
    pub(super) fn tell_clients(&self) {
        let links: Vec<_> = self.clients.0.lock().values().map(|client| client.link.clone()).collect();
        if links.is_empty() {
            return;
        }
        let body = encoded(&self.gateways());
        for link in links {
            let message = Message::ControlReply(Control { correlation: 0, body: body.clone() });
            drop(link.try_send(message)); // it asks, too
        }
    }

    /// Has the clients send no more, as this silo leaves.
    pub(super) fn say_goodbye_to_clients(&self) {
        let clients = self.clients.0.lock();
        for client in clients.values() {
            self.partings.lock().awaited.insert(client.incarnation);
            if client.link.try_send(talk(0, &Talk::Goodbye)).is_err() {
                self.partings.lock().awaited.remove(&client.incarnation);
            }
        }
    }
}
