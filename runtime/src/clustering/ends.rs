//! What ends calls of grains elsewhere, but their answers: lost connections, deadlines, callers that go, the silo's end.

use std::collections::BTreeSet;

use gristmill_cluster::Incarnation;
use gristmill_cluster::transport::wire::Message;
use gristmill_grains::chaos::{self, Bug};
use gristmill_grains::port::RemoteCall;
use gristmill_grains::turn::TurnId;
use gristmill_grains::{Cause, Fault};
use tokio::time::Instant;

use super::effects::{Effect, Effects};
use super::lane::{Lane, Step};
use super::lanes::correlation;
use super::router::{Router, Routing, stopped};
use super::wires::Correlation;

impl Router {
    /// Is nothing called?
    pub(crate) fn is_idle(&self) -> bool {
        self.shards.iter().all(|shard| shard.lock().lanes.iter().all(|(_, lane)| lane.is_idle()))
    }

    /// Is a call out at this silo?
    pub(crate) fn is_out_at(&self, silo: Incarnation) -> bool {
        self.shards.iter().any(|shard| shard.lock().lanes.iter().any(|(_, lane)| lane.out_at() == Some(silo)))
    }

    /// Where calls are out to that this turn waits for, by itself or through turns that it awaits.
    pub(super) fn silos_below(&self, turn: TurnId) -> BTreeSet<Incarnation> {
        let waits = |call: &RemoteCall| {
            call.caller.as_ref().is_some_and(|caller| caller.waiting().any(|node| node.turn == turn))
        };
        let mut silos = BTreeSet::new();
        for shard in &self.shards {
            let shard = shard.lock();
            let below = shard.lanes.iter().filter(|(_, lane)| lane.out().any(|(_, call)| waits(call)));
            silos.extend(below.filter_map(|(_, lane)| lane.out_at()));
        }
        silos
    }

    /// Forgets where grains are that are not being called.
    pub(crate) fn forget_places(&self) {
        self.locations.invalidate_all();
        self.shards.iter().for_each(|shard| shard.lock().lanes.retain(|lane| !lane.is_idle()));
    }
}

impl Routing<'_> {
    /// The connection to a silo is over. What never left goes elsewhere; what may have left is lost.
    pub(crate) fn closed(self, silo: Incarnation, unsent: &[Correlation], why: &str) {
        let unsent: BTreeSet<_> = unsent.iter().collect();
        for shard in &self.shards {
            let out: Vec<Correlation> = {
                let lanes = &shard.lock().lanes;
                let there = |lane: &Lane<_>| lane.out_at() == Some(silo);
                let of = |place| lanes.get(place).filter(|(_, lane)| there(lane)).map(|(_, lane)| (place, lane));
                let out = lanes.places().filter_map(of);
                out.flat_map(|(place, lane)| {
                    lane.out().map(move |(number, _)| correlation(lanes.number(), place, number))
                })
                .collect()
            };
            for request in out {
                if unsent.contains(&request) || chaos::planted(Bug::SentTwice) {
                    self.not_here(silo, request);
                } else if !chaos::planted(Bug::EndsForgotten) {
                    self.lost(silo, request, why);
                }
            }
        }
    }

    /// Whether the call ran, nobody will know.
    fn lost(self, silo: Incarnation, request: Correlation, why: &str) {
        let cause = Cause::SiloUnavailable { reason: format!("silo {silo}: {why}") };
        let fault = match chaos::planted(Bug::LeftCalledUnsent) {
            true => Fault::not_executed(cause),
            false => Fault::maybe_executed_with(cause),
        };
        self.ended(silo, request, |shard, place, number, effects| {
            let Some((grain, lane)) = shard.lanes.get_mut(place) else { return Step::Wait };
            self.locations.invalidate(grain);
            let (call, step) = lane.answered(number);
            lane.forget_place();
            effects.extend(call.map(|call| Effect::fail(call, fault)));
            step
        });
    }

    /// Ends what is overdue, and forgets what nobody waits for.
    pub(crate) fn sweep(self, now: Instant) {
        if chaos::planted(Bug::EndsForgotten) {
            return;
        }
        let ended =
            |call: &RemoteCall| call.deadline <= now || call.reply.as_ref().is_some_and(|reply| !reply.is_wanted());
        for shard in &self.shards {
            let mut effects = Effects::default();
            let mut shard = shard.lock();
            shard.lanes.retain(|lane| !lane.is_forgotten());
            for place in shard.lanes.places() {
                let Some((_, lane)) = shard.lanes.get_mut(place) else { continue };
                if lane.waiting() > 0 {
                    effects.extend(lane.remove_waiting(|call| ended(call)).into_iter().map(|call| {
                        Effect::fail(
                            call,
                            Fault::not_executed(Cause::Timeout).detailed("the grain was being looked for"),
                        )
                    }));
                }
                let Some(at) = lane.out_at() else { continue };
                let over: Vec<_> = lane.out().filter(|(_, call)| ended(call)).map(|(number, _)| number).collect();
                for number in over {
                    let request = correlation(shard.lanes.number(), place, number);
                    let _ = self.site.tell(at, Message::Cancel { correlation: request }); // it is only a courtesy
                    let Some((_, lane)) = shard.lanes.get_mut(place) else { break };
                    let (call, step) = lane.answered(number);
                    effects.extend(call.map(|call| {
                        Effect::fail(call, Fault::maybe_executed_with(Cause::Timeout).detailed("it was under way"))
                    }));
                    self.follow(&mut shard, place, step, &mut effects);
                }
            }
            drop(shard);
            self.perform(effects);
        }
    }

    /// Ends every call, and takes no more: the silo or client is over.
    pub(crate) fn close(self, why: &'static str) {
        for shard in &self.shards {
            let lanes = {
                let mut shard = shard.lock();
                shard.closed = Some(why);
                shard.lanes.drain()
            };
            let mut effects = Effects::default();
            for (call, left) in lanes.into_iter().flat_map(|(_, lane)| lane.into_calls()) {
                let fault = if left { Fault::maybe_executed_with } else { Fault::not_executed };
                effects.push(Effect::fail(call, fault(stopped(why))));
            }
            self.perform(effects);
        }
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    use std::time::Duration;

    use bytes::Bytes;
    use gristmill_cluster::Location;
    use gristmill_cluster::transport::wire::ChainEntry;
    use gristmill_grains::port::Reply;
    use gristmill_grains::sync::Mutex;
    use gristmill_grains::turn::ChainNode;
    use gristmill_grains::{ActivationId, Fault, GrainId, GrainType, RequestContext};

    use super::super::site::Site;
    use super::super::wires::SendError;
    use super::*;

    const ME: Incarnation = Incarnation::from_u128(1);
    const OTHER: Incarnation = Incarnation::from_u128(2);

    /// Everything that it sends arrives, and is not answered.
    #[derive(Default)]
    struct Quiet {
        /// Is the grain active here?
        open: AtomicBool,
        served: AtomicU64,
    }

    impl Site for Quiet {
        fn tell(&self, _: Incarnation, _: Message) -> Result<(), SendError> {
            Ok(())
        }
        fn resolve(&self, _: GrainId, _: Option<Location>) {}
        fn chain_of(&self, _: Option<&Arc<ChainNode>>) -> Vec<ChainEntry> {
            Vec::new()
        }
        fn is_open(&self, _: &GrainId) -> bool {
            self.open.load(Ordering::Relaxed)
        }
        fn open(&self, _: &GrainId) {
            self.open.store(true, Ordering::Relaxed);
        }
        fn serve_own(&self, _: Box<RemoteCall>) {
            self.served.fetch_add(1, Ordering::Relaxed);
        }
        fn lost_send(&self, _: Fault) {}
    }

    /// Has one answer, or none yet.
    #[derive(Default)]
    struct Told(Mutex<Option<Result<Bytes, Fault>>>);

    impl Told {
        fn fault(&self) -> Option<Fault> {
            self.0.lock().clone().map(|answer| answer.expect_err("nobody ran it"))
        }
    }

    impl Reply for Told {
        fn leave(&self) -> bool {
            true
        }
        fn come_back(&self) {}
        fn reply(&self, answer: Result<Bytes, Fault>) {
            self.0.lock().get_or_insert(answer);
        }
        fn is_wanted(&self) -> bool {
            self.0.lock().is_none()
        }
    }

    fn grain() -> GrainId {
        GrainId::new(GrainType::from_wire("things"), "one")
    }

    fn call(after: Duration) -> (Box<RemoteCall>, Arc<Told>) {
        let told = Arc::new(Told::default());
        let call = RemoteCall {
            grain: grain(),
            interface: "things".into(),
            method: 1,
            name: "call".into(),
            arguments: Bytes::new(),
            deadline: Instant::now() + after,
            request: RequestContext::default(),
            caller: None,
            one_way: false,
            reply: Some(told.clone()),
        };
        (Box::new(call), told)
    }

    fn at(owner: Incarnation) -> Location {
        Location { owner, join: 1, activation: ActivationId::from_u128(1), epoch: 1 }
    }

    /// Nothing is in the lane any more, and a thread that saw the grain elsewhere makes its call only now.
    #[tokio::test(start_paused = true)]
    async fn a_grain_that_has_arrived_is_called_here_whatever_was_heard_of_it_late() {
        let (router, site) = (Router::new(ME), Quiet::default());
        let routing = router.of(&site);
        let (first, _) = call(Duration::from_secs(1));
        routing.send(first); // it is looked for
        routing.arrived(&grain(), at(ME));
        let sent = out(&router);
        routing.entered(&grain());
        routing.answered(ME, sent, Ok(Bytes::new()));
        assert!(site.is_open(&grain()) && router.shard_of(&grain()).lock().lanes.find(&grain()).is_none());
        routing.found(&grain(), Ok(at(OTHER))); // as it was before
        assert_eq!(router.locations.get(&grain()).map(|known| known.owner), Some(ME));
        router.locations.insert(grain(), at(OTHER));
        let (second, _) = call(Duration::from_secs(1));
        routing.send(second);
        assert_eq!(site.served.load(Ordering::Relaxed), 1, "the caller's third call goes this way, too");
    }

    /// The request of the first call that is out.
    fn out(router: &Router) -> Correlation {
        let shard = router.shard_of(&grain()).lock();
        let place = shard.lanes.find(&grain()).expect("there is a lane");
        let (_, lane) = shard.lanes.get(place).expect("there is a lane");
        let number = lane.out().map(|(number, _)| number).min().expect("a call is out");
        correlation(shard.lanes.number(), place, number)
    }

    #[tokio::test(start_paused = true)]
    async fn at_the_end_every_call_is_answered_and_after_it_at_once() {
        let (router, site) = (Router::new(ME), Quiet::default());
        let routing = router.of(&site);
        let second = Duration::from_secs(1);
        let (waits, waiting) = call(second);
        routing.send(waits);
        routing.close("it has stopped");
        let fault = waiting.fault().expect("it is answered");
        assert!(matches!(fault.cause(), Cause::SiloUnavailable { .. }) && !fault.maybe_executed(), "{fault}");
        let (late, told) = call(second);
        routing.send(late);
        assert!(told.fault().is_some_and(|fault| !fault.maybe_executed()), "nothing would end it");
        let (left, told) = call(second);
        routing.hold(&grain());
        routing.leave(&grain(), vec![*left]);
        assert!(told.fault().is_some_and(|fault| !fault.maybe_executed()), "an activation that ends late leaves it");
        assert!(router.is_idle());
    }

    #[tokio::test(start_paused = true)]
    async fn where_a_grain_was_not_is_forgotten_with_its_calls() {
        let (router, site) = (Router::new(ME), Quiet::default());
        let routing = router.of(&site);
        let (first, _) = call(Duration::from_secs(1));
        let (second, told) = call(Duration::from_secs(1));
        routing.send(first);
        routing.send(second);
        routing.found(&grain(), Ok(at(OTHER)));
        routing.not_here(OTHER, out(&router));
        assert_eq!(router.shard_of(&grain()).lock().stale.len(), 1);
        tokio::time::sleep(Duration::from_secs(2)).await;
        routing.sweep(Instant::now()); // the one that came back and the one that is out
        assert!(told.fault().is_some_and(|fault| fault.maybe_executed()));
        assert!(router.is_idle() && router.shard_of(&grain()).lock().stale.is_empty());
    }
}
