//! Callers that call as fast as they are answered, and check every answer.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hdrhistogram::Histogram;
use tokio::runtime::Runtime;

use crate::child::Process;
use crate::rounds::Run;

/// Bytes that each call carries, there and back.
const BODY: usize = 64;

/// What one caller calls.
pub(crate) trait Peer: Clone + Send + Sync + 'static {
    const NAME: &'static str;
    /// Gives the body back, and how many calls were served until then, this one included.
    fn echo(&self, body: Bytes) -> impl Future<Output = (u64, Bytes)> + Send;
}

/// Callers, each with what it calls.
pub(crate) struct Stage<P> {
    runtime: Arc<Runtime>,
    server: Rc<Process>,
    callers: Vec<Caller<P>>,
    /// Calls made, by all.
    made: u64,
}

#[derive(Clone)]
struct Caller<P> {
    peer: P,
    number: u64,
    /// Calls made.
    made: u64,
    /// What the last answer counted.
    served: u64,
    /// Does nobody else call this peer?
    alone: bool,
}

impl<P: Peer> Caller<P> {
    async fn call(&mut self) {
        let mut body = [0x5a; BODY];
        body[..8].copy_from_slice(&self.number.to_le_bytes());
        body[8..16].copy_from_slice(&self.made.to_le_bytes());
        let (served, back) = self.peer.echo(Bytes::copy_from_slice(&body)).await;
        assert!(back == body[..], "caller {} got another call's answer", self.number);
        let next = if self.alone { served == self.served + 1 } else { served > self.served };
        assert!(next, "caller {}: count {served} follows {}", self.number, self.served);
        self.served = served;
        self.made += 1;
    }
}

impl<P: Peer> Stage<P> {
    /// Each peer has a caller. `apart`: no two are the same. Each is called once, so that it is there.
    pub(crate) fn new(runtime: &Arc<Runtime>, server: &Rc<Process>, peers: Vec<P>, apart: bool) -> Self {
        let caller = |(number, peer)| Caller { peer, number, made: 0, served: 0, alone: apart };
        let callers: Vec<_> = (0..).zip(peers).map(caller).collect();
        let mut stage = Self { runtime: runtime.clone(), server: server.clone(), callers, made: 0 };
        stage.run(1);
        stage
    }

    /// How long one call after the other takes the first caller, in nanoseconds.
    pub(crate) fn round_trips(&mut self, time: Duration) -> Histogram<u64> {
        let mut trips = Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("these bounds can be");
        let Some(mut caller) = self.callers.first().cloned() else { return trips };
        let (caller, trips) = self.runtime.block_on(async move {
            let task = tokio::task::spawn(async move {
                let started = Instant::now();
                let mut last = Duration::ZERO;
                while last < time {
                    caller.call().await;
                    let now = started.elapsed();
                    trips.saturating_record((now - last).as_nanos() as u64);
                    last = now;
                }
                (caller, trips)
            });
            task.await.expect("a caller ends")
        });
        self.callers[0] = caller;
        trips
    }
}

impl<P: Peer> Run for Stage<P> {
    fn name(&self) -> &'static str {
        P::NAME
    }

    fn run(&mut self, calls: u64) -> u64 {
        let each = calls.div_ceil(self.callers.len() as u64);
        let callers = std::mem::take(&mut self.callers);
        self.callers = self.runtime.block_on(async {
            let tasks = callers.into_iter().map(|mut caller| {
                tokio::task::spawn(async move {
                    for _ in 0..each {
                        caller.call().await;
                    }
                    caller
                })
            });
            let mut callers = Vec::new();
            for task in tasks.collect::<Vec<_>>() {
                callers.push(task.await.expect("a caller ends"));
            }
            callers
        });
        let done = each * self.callers.len() as u64;
        self.made += done;
        let served = self.callers.iter().map(|caller| caller.served).max();
        let alone = self.callers.iter().all(|caller| caller.alone);
        assert!(alone || served == Some(self.made), "{} calls were made, and {served:?} served", self.made);
        done
    }

    fn cpu_time(&self) -> Duration {
        crate::machine::cpu_time() + self.server.cpu_time()
    }
}
