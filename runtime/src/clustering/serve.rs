//! Calls that other silos make of grains here.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use gristmill_cluster::Incarnation;
use gristmill_cluster::transport::wire::{Message, NotHere, Request, Response};
use gristmill_grains::call::deadline_after;
use gristmill_grains::chaos;
use gristmill_grains::port::{CallOptions, RemoteCall, Reply, Runtime};
use gristmill_grains::sync::Mutex;
use gristmill_grains::{Cause, Fault, GrainId};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::gateway::ClientCall;
use super::inbox::MAX_INBOX;
use super::node::Node;
use super::site::Site;
use super::wires::{Correlation, SendError};
use crate::activation::turn::{guarded, guarded_poll};
use crate::methods::Served;

/// A request, and whose.
pub(crate) struct Item {
    pub(super) from: Caller,
    pub(super) request: Request,
}

/// Who makes a request.
pub(crate) enum Caller {
    /// A silo; this one, too.
    Silo(Incarnation),
    Client(Arc<ClientCall>),
}

/// Calls under way for other silos.
#[derive(Default)]
pub(crate) struct Serving(Mutex<BTreeMap<(Incarnation, Correlation), AbortHandle>>);

impl Serving {
    pub(super) fn is_idle(&self) -> bool {
        self.0.lock().is_empty()
    }

    /// Nobody waits for the call any more: if it has not begun it never will.
    pub(super) fn cancel(&self, from: Incarnation, correlation: Correlation) {
        let call = self.0.lock().remove(&(from, correlation));
        call.inspect(AbortHandle::abort);
    }

    /// The silo is gone, and nobody waits for any of its calls.
    pub(super) fn gone(&self, silo: Incarnation) {
        let mut calls = self.0.lock();
        let gone: Vec<_> = calls.range((silo, 0)..=(silo, u64::MAX)).map(|(call, _)| *call).collect();
        let gone: Vec<_> = gone.iter().filter_map(|call| calls.remove(call)).collect();
        drop(calls);
        gone.iter().for_each(AbortHandle::abort);
    }
}

/// Serves what comes, in order; a turn may be polled here, so there are several of these.
pub(super) async fn dispatch(node: Weak<Node>, queue: usize, mut items: mpsc::Receiver<Item>) {
    while let Some(item) = items.recv().await {
        let Some(node) = node.upgrade() else { return };
        node.serve_item(item);
        node.inbox.served(queue);
        // Each call took from the task's budget; the rest waits its turn.
        tokio::task::coop::consume_budget().await;
    }
}

impl Node {
    /// Serves a request: at once if `now` and nothing waits that has to be served before.
    pub(super) fn take(self: &Arc<Self>, item: Item, now: bool) {
        if now && !chaos::point("a request waits for a dispatcher") && self.inbox.is_clear_for(&item.request.target) {
            return self.serve_item(item);
        }
        if let Err(Item { from, request }) = self.inbox.push(item) {
            let fault = Fault::not_executed(Cause::Overloaded { limit: MAX_INBOX }).of(&request.target);
            match from {
                Caller::Client(call) => call.reply(Err(fault)),
                Caller::Silo(from) => self.reply(from, request.correlation, Err(fault)),
            }
        }
    }

    fn serve_item(self: &Arc<Self>, item: Item) {
        let Item { from, request } = item;
        match from {
            Caller::Client(call) => self.serve_client(call, request),
            Caller::Silo(from) => {
                let own = (from == self.me()).then(|| request.target.clone());
                let correlation = request.correlation;
                // Keys, arguments and results are the user's code.
                if let Err(message) = guarded(|| self.serve(from, request)) {
                    let fault = Fault::maybe_executed_with(Cause::Panicked { message });
                    self.reply(from, correlation, Err(fault));
                }
                if let Some(grain) = own {
                    self.router().entered(&grain);
                }
            }
        }
    }

    fn serve(self: &Arc<Self>, from: Incarnation, request: Request) {
        let Some(core) = self.core() else { return };
        let Request {
            correlation,
            target: grain,
            interface,
            method,
            remaining_ms,
            one_way,
            flags,
            chain,
            context,
            body,
        } = request;
        let behind = self.bounced.is_behind(from, &grain, flags);
        if behind || chaos::point("a silo says that it does not have the grain") {
            let moved = Err(Fault::not_executed(Cause::Moved));
            return self.respond(from, correlation, (&grain, flags), moved);
        }
        let wire = core.wire_method(&interface, method);
        let wire = match wire {
            Ok(wire) => wire,
            Err(cause) => return self.reply(from, correlation, Err(Fault::not_executed(cause).of(&grain))),
        };
        let options = CallOptions {
            deadline: Some(deadline_after(Duration::from_millis(remaining_ms.into()))),
            request: context,
            awaited: !one_way,
            from_turn: !chain.is_empty(),
            inline: !one_way,
            caller: self.chain_from(chain),
            routed: true,
        };
        let runtime: Arc<dyn Runtime> = core.clone();
        if one_way {
            let posted = wire.post(&runtime, grain.key(), &body, &options);
            return self.respond(from, correlation, (&grain, flags), posted.map(|()| Bytes::new()));
        }
        match wire.serve(&runtime, grain.key(), &body, &options) {
            Served::Over(answer) => self.respond(from, correlation, (&grain, flags), answer),
            Served::Under(call) => {
                let node = self.clone();
                // Held until the handle is kept: the call may end at once.
                let mut calls = self.serving.0.lock();
                let task = core.spawn_task(async move {
                    let panicked = |message| Err(Fault::maybe_executed_with(Cause::Panicked { message }));
                    let answer = guarded_poll(call).await.unwrap_or_else(panicked);
                    node.serving.0.lock().remove(&(from, correlation));
                    node.respond(from, correlation, (&grain, flags), answer);
                });
                calls.insert((from, correlation), task.abort_handle());
            }
        }
    }

    /// Answers a request of a lane's generation, whose later ones must not overtake it if it goes back.
    fn respond(
        &self,
        to: Incarnation,
        correlation: Correlation,
        (grain, generation): (&GrainId, u8),
        answer: Result<Bytes, Fault>,
    ) {
        if answer.as_ref().is_err_and(|fault| matches!(fault.cause(), Cause::Moved)) {
            self.bounced.note(to, grain, generation);
        }
        self.reply(to, correlation, answer);
    }

    /// Makes a call of this silo's own, in this silo.
    pub(super) fn serve_own(self: &Arc<Self>, call: Box<RemoteCall>) {
        let Some(core) = self.core() else { return };
        let options = CallOptions {
            deadline: Some(call.deadline),
            request: call.request.clone(),
            awaited: !call.one_way,
            from_turn: call.caller.is_some(),
            inline: false,
            caller: call.caller.clone(),
            // If the activation ends first, it leaves the call to the lane, in order. One that came back from here by itself
            // would be behind what the lane has got meanwhile.
            routed: false,
        };
        let runtime: Arc<dyn Runtime> = core.clone();
        let wire = match core.wire_method(&call.interface, call.method) {
            Ok(wire) => wire,
            Err(cause) => return self.served(call, Err(Fault::not_executed(cause))),
        };
        if call.one_way {
            let posted = wire.post(&runtime, call.grain.key(), &call.arguments, &options);
            return self.served(call, posted.map(|()| Bytes::new()));
        }
        if !call.reply.as_ref().is_some_and(|reply| reply.leave()) {
            return;
        }
        match wire.serve(&runtime, call.grain.key(), &call.arguments, &options) {
            Served::Over(answer) => self.served(call, answer),
            Served::Under(under) => {
                let (node, reply) = (self.clone(), call.reply.clone());
                let task = core.spawn_task(async move {
                    let panicked = |message| Err(Fault::maybe_executed_with(Cause::Panicked { message }));
                    let answer = guarded_poll(under).await.unwrap_or_else(panicked);
                    node.served(call, answer);
                });
                reply.inspect(|reply| reply.served_by(task.abort_handle()));
            }
        }
    }

    fn served(self: &Arc<Self>, call: Box<RemoteCall>, answer: Result<Bytes, Fault>) {
        match answer {
            Err(fault) if matches!(fault.cause(), Cause::Moved) => {
                call.reply.iter().for_each(|reply| reply.come_back());
                self.router().send(call);
            }
            answer => self.router().finish(*call, answer),
        }
    }

    fn reply(&self, to: Incarnation, correlation: Correlation, answer: Result<Bytes, Fault>) {
        let message = match answer {
            Err(fault) if matches!(fault.cause(), Cause::Moved) => {
                Message::NotHere(NotHere { correlation, owner: None, view: self.view().version })
            }
            result => Message::Response(Response { correlation, result }),
        };
        match self.tell(to, message) {
            Ok(()) => {}
            Err(SendError::TooLarge) => {
                let detail = "the answer is larger than a connection takes".to_owned();
                let result = Err(Fault::maybe_executed_with(Cause::Codec { detail }));
                let _ = self.tell(to, Message::Response(Response { correlation, result })); // or its deadline ends it
            }
            Err(error) => {
                tracing::warn!(silo = %to, ?error, "a call's answer could not be sent; its caller waits until its deadline");
            }
        }
    }
}
