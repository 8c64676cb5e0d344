//! Calls that cannot succeed, and turns that fail.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use gristmill::grains::filter::{CallFilter, FilteredCall};
use gristmill::grains::{BoxError, GrainContext};
use gristmill::prelude::*;
use gristmill::{Client, SiloBuilder};
use parking_lot::Mutex;
use serde::{Deserialize, Deserializer, Serialize};

use super::{Caller, PATIENCE, SLACK, Stale, Workload, surely};
use crate::history::{Counts, History, Outcome, told};

/// Grains.
const KEYS: usize = 2;

/// A grain of this key cannot be activated.
const BROKEN: &str = "broken";

/// A grain that may be told to fail.
#[grain_interface]
pub trait Clumsy {
    /// Notes it.
    async fn note(&mut self, id: u64);
    /// Notes it, and panics.
    async fn panic(&mut self, id: u64);
    /// Notes it, and aborts.
    async fn abort(&mut self, id: u64);
    /// Notes it, and waits for another grain before it is committed; says whether that was denied, and notes it no more.
    async fn ask_too_early(&mut self, id: u64) -> bool;
    /// Takes what cannot be read.
    async fn take(&mut self, what: Unreadable);
    /// A filter refuses it.
    async fn forbidden(&self);
    /// What is noted.
    async fn read(&self) -> Vec<u64>;
}

/// The same interface, a version later.
#[grain_interface(grain = "clumsy", name = "clumsy")]
pub trait LaterClumsy {
    /// It has one method more.
    async fn dance(&self);
}

/// No silo hosts it.
#[grain_interface]
pub trait Nowhere {
    /// So nobody answers.
    async fn call(&self);
}

/// It can be written, and not read.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Unreadable;

impl<'de> Deserialize<'de> for Unreadable {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(serde::de::Error::custom("it cannot be read"))
    }
}

#[derive(Grain)]
#[grain(implements(Clumsy), lifecycle, dirty_calls = "deny")]
struct ClumsyGrain {
    ctx: GrainContext<Self>,
    #[state]
    noted: Persistent<Vec<u64>>,
}

impl Lifecycle for ClumsyGrain {
    async fn on_activate(&mut self) -> Result<(), BoxError> {
        if self.ctx.key() == BROKEN { Err("it is broken".into()) } else { Ok(()) }
    }
}

impl Clumsy for ClumsyGrain {
    async fn note(&mut self, id: u64) {
        self.noted.push(id);
    }

    async fn panic(&mut self, id: u64) {
        self.noted.push(id);
        // As `panic!`, but nothing is printed.
        std::panic::resume_unwind(Box::new("it is clumsy"));
    }

    async fn abort(&mut self, id: u64) {
        self.noted.push(id);
        self.ctx.abort();
    }

    async fn ask_too_early(&mut self, id: u64) -> bool {
        self.noted.push(id);
        let other: ClumsyRef = self.ctx.grain("other");
        let answer = other.read().await;
        self.noted.retain(|noted| *noted != id);
        answer.is_err_and(|error| error.cause() == Some(&Cause::Uncommitted))
    }

    async fn take(&mut self, _: Unreadable) {}

    async fn forbidden(&self) {}

    async fn read(&self) -> Vec<u64> {
        self.noted.clone()
    }
}

/// Refuses one method.
struct Forbids;

#[async_trait]
impl CallFilter for Forbids {
    async fn filter(&self, call: &mut FilteredCall<'_>) -> Result<(), Fault> {
        match call.method() {
            "forbidden" => Err(Fault::not_executed(Cause::Refused { reason: "it is forbidden".to_owned() })),
            _ => call.proceed().await,
        }
    }
}

/// What is done wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ask {
    /// Nothing: it is noted.
    Note(u64),
    /// The turn panics.
    Panic(u64),
    /// The turn aborts.
    Abort(u64),
    /// A call within a turn that has not committed.
    TooEarly(u64),
    /// The arguments cannot be read.
    Unreadable,
    /// A filter refuses it.
    Forbidden,
    /// The grain cannot be activated.
    Broken,
    /// No grain can have the key.
    Keyless,
    /// The method is unknown.
    Later,
    /// The grain's type is unknown.
    Nowhere,
    /// The reference belongs to nothing.
    Unbound,
}

impl Ask {
    /// Whether this is the cause that the call must have, and whether it may have run then.
    fn expects(self, cause: &Cause) -> Option<bool> {
        match (self, cause) {
            (Self::Panic(_), Cause::Panicked { .. }) | (Self::Abort(_), Cause::Aborted) => Some(true),
            (Self::Unreadable, Cause::Codec { .. })
            | (Self::Forbidden, Cause::Refused { .. })
            | (Self::Broken, Cause::ActivationFailed { .. })
            | (Self::Keyless, Cause::InvalidKey { .. })
            | (Self::Later, Cause::UnknownMethod { .. })
            | (Self::Nowhere, Cause::UnknownGrain)
            | (Self::Unbound, Cause::Unbound) => Some(false),
            _ => None,
        }
    }

    /// A random one. What drops an activation only if what is stored lasts.
    fn any(rng: &mut fastrand::Rng, id: u64, keeps: bool) -> Self {
        match rng.u8(..16) {
            0 if keeps => Self::Panic(id),
            1 if keeps => Self::Abort(id),
            2 => Self::TooEarly(id),
            3 => Self::Unreadable,
            4 => Self::Forbidden,
            5 => Self::Broken,
            6 => Self::Keyless,
            7 => Self::Later,
            8 => Self::Nowhere,
            9 => Self::Unbound,
            _ => Self::Note(id),
        }
    }
}

/// What may be wrong with any call in bad weather.
fn is_weather(cause: &Cause) -> bool {
    matches!(
        cause,
        Cause::Timeout
            | Cause::Overloaded { .. }
            | Cause::ActivationLost { .. }
            | Cause::Fenced
            | Cause::Storage { .. }
            | Cause::SiloUnavailable { .. }
    )
}

/// Calls that cannot succeed fail for the right reason; what a failed turn did is gone, and what others did is not.
#[derive(Default)]
pub struct Mistakes {
    first: usize,
    history: History<Ask, bool>,
    wrong: Arc<Mutex<Vec<String>>>,
    finally: Arc<Mutex<BTreeMap<usize, Vec<u64>>>>,
}

impl Mistakes {
    /// Its grains are numbered from `first`.
    pub fn of(first: usize) -> Self {
        Self { first, ..Self::default() }
    }
}

fn clumsy(client: &Client, number: usize) -> ClumsyRef {
    client.grain(format!("clumsy-{number}"))
}

/// Does it, and says whether it went as it must.
async fn make(client: &Client, number: usize, ask: Ask, patience: Duration) -> Result<bool, CallError> {
    let grain = clumsy(client, number);
    match ask {
        Ask::Note(id) => grain.note(id).timeout(patience).await.map(|()| true),
        Ask::Panic(id) => grain.panic(id).timeout(patience).await.map(|()| false),
        Ask::Abort(id) => grain.abort(id).timeout(patience).await.map(|()| false),
        Ask::TooEarly(id) => grain.ask_too_early(id).timeout(patience).await,
        Ask::Unreadable => grain.take(Unreadable).timeout(patience).await.map(|()| false),
        Ask::Forbidden => grain.forbidden().timeout(patience).await.map(|()| false),
        Ask::Broken => client.grain::<ClumsyRef>(BROKEN).read().timeout(patience).await.map(|_| false),
        Ask::Keyless => client.grain::<ClumsyRef>(" ").read().timeout(patience).await.map(|_| false),
        Ask::Later => {
            let later: LaterClumsyRef = client.grain(format!("clumsy-{number}"));
            later.dance().timeout(patience).await.map(|()| false)
        }
        Ask::Nowhere => client.grain::<NowhereRef>("x").call().timeout(patience).await.map(|()| false),
        Ask::Unbound => {
            let unbound: ClumsyRef = GrainContext::<ClumsyGrain>::detached("x").grain("y");
            unbound.read().timeout(patience).await.map(|_| false)
        }
    }
}

impl Workload for Mistakes {
    fn name(&self) -> &'static str {
        "mistakes"
    }

    fn describe(&self, silo: SiloBuilder) -> SiloBuilder {
        silo.grain_with::<ClumsyGrain>(|setup| {
            setup.incoming(Forbids);
        })
    }

    fn play(&self, caller: Caller) -> BoxFuture<'static, ()> {
        let (history, wrong, first) = (self.history.clone(), self.wrong.clone(), self.first);
        async move {
            let (mut rng, clock, who) = (caller.rng(6), caller.clock.clone(), caller.number);
            let mut next = 0;
            while !caller.is_over() {
                next += 1;
                let id = (who as u64) << 32 | next;
                let (key, patience) = (rng.usize(..KEYS), caller.patience(&mut rng));
                let ask = Ask::any(&mut rng, id, caller.keeps);
                let call = async {
                    let answer = make(&caller.client, first + key, ask, patience).await;
                    let is_right = match &answer {
                        Ok(went_well) => *went_well,
                        Err(error) => error.cause().is_some_and(|cause| {
                            let expected = ask.expects(cause);
                            expected.map_or_else(
                                || is_weather(cause),
                                |may_have_run| may_have_run == error.maybe_executed(),
                            )
                        }),
                    };
                    if !is_right {
                        wrong.lock().push(format!("{ask:?} came to {answer:?}"));
                    }
                    // That it failed as it must is what is asked for.
                    match answer {
                        Err(error) if error.cause().is_some_and(|cause| ask.expects(cause).is_some()) => Ok(false),
                        answer => answer,
                    }
                };
                history.note(&clock, (who, key, ask), Box::pin(call)).await;
                caller.rest(&mut rng).await;
            }
        }
        .boxed()
    }

    fn audit(&self, client: Client) -> BoxFuture<'static, ()> {
        let (finally, first) = (self.finally.clone(), self.first);
        async move {
            for key in 0..KEYS {
                let noted = surely(|| clumsy(&client, first + key).read().into_owned()).await;
                finally.lock().insert(key, noted);
            }
        }
        .boxed()
    }

    fn check(&self, _: &Stale) -> Vec<String> {
        let finally = self.finally.lock();
        let mut wrong = self.wrong.lock().clone();
        for record in self.history.all() {
            let Some(noted) = finally.get(&record.key) else { continue };
            let times = |id: &u64| noted.iter().filter(|noted| *noted == id).count();
            let holds = match (&record.call, &record.outcome) {
                (Ask::Note(id), Outcome::Done(_)) => times(id) == 1,
                (Ask::Note(id), Outcome::Unknown) => times(id) <= 1,
                (Ask::Note(id) | Ask::Panic(id) | Ask::Abort(id) | Ask::TooEarly(id), _) => times(id) == 0,
                _ => true,
            };
            if !holds {
                wrong.push(format!("clumsy-{} has {noted:?}\n{}", self.first + record.key, told(&[record])));
            }
        }
        wrong.into_iter().chain(self.history.slow(PATIENCE + SLACK)).collect()
    }

    fn counts(&self) -> Counts {
        self.history.counts()
    }

    fn failed(&self) -> String {
        self.history.failed()
    }
}
