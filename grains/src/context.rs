//! What a grain's own code asks of the runtime.

use std::any::{Any, TypeId};
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::port::{AnyActivation, BoxFuture, Schedule, TimerSpec};
use crate::reference::{InterfaceRef, RefKey};
use crate::{ActivationId, Cause, Fault, Grain, GrainId, GrainRef, RequestContext, turn};

/// A grain's access to its identity, other grains, timers and its own activation. Cheap to clone; a clone may move into
/// spawned work, where it does not keep the activation alive.
pub struct GrainContext<G> {
    id: GrainId,
    /// `None` in a detached context.
    activation: Option<Weak<dyn AnyActivation>>,
    grain: PhantomData<fn(&mut G)>,
}

impl<G> Clone for GrainContext<G> {
    fn clone(&self) -> Self {
        Self { id: self.id.clone(), activation: self.activation.clone(), grain: PhantomData }
    }
}

impl<G> fmt::Debug for GrainContext<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GrainContext({})", self.id)
    }
}

impl<G: Grain> GrainContext<G> {
    /// For the runtime.
    #[doc(hidden)]
    pub fn new(id: GrainId, activation: Weak<dyn AnyActivation>) -> Self {
        Self { id, activation: Some(activation), grain: PhantomData }
    }

    /// A context without an activation, for tests of a grain's own code without a silo. With
    /// [`Persistent::detached`](crate::state::Persistent::detached) it makes a grain by a struct literal:
    ///
    /// ```
    /// # mod example {
    /// use gristmill_grains::state::Persistent; // in a program: gristmill::prelude::*
    /// use gristmill_grains::{Grain, GrainContext, grain_interface};
    ///
    /// #[grain_interface(crate = gristmill_grains)]
    /// pub trait Player {
    ///     async fn greet(&self) -> String;
    /// }
    ///
    /// #[derive(Grain)]
    /// #[grain(implements(Player), crate = gristmill_grains)]
    /// pub struct PlayerGrain {
    ///     ctx: GrainContext<Self>,
    ///     #[state]
    ///     greeting: Persistent<String>,
    /// }
    ///
    /// impl Player for PlayerGrain {
    ///     async fn greet(&self) -> String {
    ///         format!("{}, {}", *self.greeting, self.ctx.key())
    ///     }
    /// }
    ///
    /// pub async fn a_player_greets() {
    ///     let greeting = Persistent::detached("Hello".to_owned());
    ///     let player = PlayerGrain { ctx: GrainContext::detached("alice"), greeting };
    ///     assert_eq!(player.greet().await, "Hello, alice");
    /// }
    /// # }
    /// # tokio::runtime::Runtime::new().unwrap().block_on(example::a_player_greets());
    /// ```
    ///
    /// Calls through references that it makes fail with [`Cause::Unbound`]; timers, [`spawn`](Self::spawn) and
    /// [`activation_id`](Self::activation_id), with [`Cause::ActivationLost`]. What ends or keeps an activation does
    /// nothing.
    pub fn detached(key: impl Into<G::Key>) -> Self {
        let id = GrainId::new(G::grain_type(), crate::GrainKey::to_text(&key.into()));
        Self { id, activation: None, grain: PhantomData }
    }

    /// The grain.
    pub fn id(&self) -> &GrainId {
        &self.id
    }

    /// The canonical text of the grain's key. [`typed_key`](Self::typed_key) gives the key itself.
    pub fn key(&self) -> &str {
        self.id.key()
    }

    /// The grain's key.
    ///
    /// # Errors
    /// Never for a key that this process made; a key text from elsewhere may not be one of `G::Key`.
    pub fn typed_key(&self) -> Result<G::Key, crate::InvalidKey> {
        crate::GrainKey::from_text(self.id.key())
    }

    /// This life of the grain.
    ///
    /// # Errors
    /// [`Cause::ActivationLost`] in work that outlived the activation.
    pub fn activation_id(&self) -> Result<ActivationId, Fault> {
        self.activation().map(|activation| activation.activation_id())
    }

    /// A reference to another grain (or this one).
    pub fn grain<R: InterfaceRef>(&self, key: impl Into<RefKey<R>>) -> R {
        let key = key.into();
        R::from_ref(match self.live() {
            Some(activation) => GrainRef::bound(key, &**activation.runtime()),
            None => GrainRef::unbound(key),
        })
    }

    /// The values that came with the current call. Empty outside of a turn.
    pub fn request(&self) -> RequestContext {
        turn::with_current(|frame| {
            let extra = frame.and_then(|frame| frame.extra.as_ref());
            extra.map_or_else(RequestContext::default, |extra| extra.request.clone())
        })
    }

    /// Ticks `every` after the end of the last tick (the first one, after the same time), as a `&mut self` turn:
    /// `self.ctx.every(Duration::from_secs(1), Self::tick)`. The timer ends with the activation, or when its handle is
    /// told to [`stop`](TimerHandle::stop). Ticks do not keep the activation from being idle.
    ///
    /// # Errors
    /// [`Cause::ActivationLost`] once the activation is lost.
    pub fn every<F: for<'a> TurnFn<'a, G>>(&self, every: Duration, tick: F) -> Result<TimerHandle, Fault> {
        self.timer(
            TimerSpec { name: "every", schedule: Schedule::AfterEnd { first: every, every }, keep_alive: false },
            tick,
        )
    }

    /// Ticks once, after this time.
    ///
    /// # Errors
    /// [`Cause::ActivationLost`] once the activation is lost.
    pub fn after<F: for<'a> TurnFn<'a, G>>(&self, after: Duration, tick: F) -> Result<TimerHandle, Fault> {
        self.timer(TimerSpec { name: "after", schedule: Schedule::Once { after }, keep_alive: true }, tick)
    }

    /// Ticks at a fixed rate, without drift: a match loop. After a stall at most three ticks are made up for in a row;
    /// the rest is skipped and counted. Keeps the activation from being idle. [`timer`](Self::timer) takes other values.
    ///
    /// # Errors
    /// [`Cause::ActivationLost`] once the activation is lost.
    pub fn tick_hz<F: for<'a> TurnFn<'a, G>>(&self, hz: f64, tick: F) -> Result<TimerHandle, Fault> {
        self.timer(TimerSpec { name: "tick", schedule: Schedule::Rate { hz, catch_up: 3 }, keep_alive: true }, tick)
    }

    /// Starts a timer of this specification.
    ///
    /// # Errors
    /// [`Cause::ActivationLost`] once the activation is lost.
    pub fn timer<F: for<'a> TurnFn<'a, G>>(&self, spec: TimerSpec, tick: F) -> Result<TimerHandle, Fault> {
        let activation = self.activation()?;
        let number = activation.start_timer(spec, Box::new(TickFn::new(tick)))?;
        Ok(TimerHandle { activation: Arc::downgrade(&activation), number })
    }

    /// Runs work beside the turns: it ends with the activation. It has no access to the grain's value; it calls the grain
    /// like anybody else, through a reference.
    ///
    /// # Errors
    /// [`Cause::ActivationLost`] once the activation is lost.
    pub fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) -> Result<(), Fault> {
        self.activation()?.spawn(Box::pin(work));
        Ok(())
    }

    /// Ends the activation once the turns that run now are over. Calls that wait go to the next activation, in order.
    pub fn deactivate_on_idle(&self) {
        if let Some(activation) = self.live() {
            activation.deactivate_on_idle();
        }
    }

    /// Keeps the activation from being collected as idle for at least this time from now; zero cancels it.
    pub fn delay_deactivation(&self, time: Duration) {
        if let Some(activation) = self.live() {
            activation.delay_deactivation(time);
        }
    }

    /// Ends the activation like [`deactivate_on_idle`](Self::deactivate_on_idle), and a `keep_running` grain is not
    /// brought back, until it is called again.
    pub fn retire(&self) {
        if let Some(activation) = self.live() {
            activation.retire();
        }
    }

    /// Drops what this turn changed, and the activation: the call fails with [`Cause::Aborted`] whatever the method
    /// returns, its sends do not leave, and the next call activates the grain from its stored state. What the turn has
    /// committed by `commit()` stays.
    pub fn abort(&self) {
        if self.activation.is_none() {
            return;
        }
        let in_turn = turn::with_current(|frame| match frame {
            Some(frame) if frame.activation.id() == self.id => {
                frame.aborted = true;
                true
            }
            _ => false,
        });
        if !in_turn && let Some(activation) = self.live() {
            activation.abort();
        }
    }

    /// The activation, if it is still in memory.
    fn live(&self) -> Option<Arc<dyn AnyActivation>> {
        self.activation.as_ref()?.upgrade()
    }

    fn activation(&self) -> Result<Arc<dyn AnyActivation>, Fault> {
        let gone = || {
            let detached = "a detached context has none; test this with a silo";
            let reason = if self.activation.is_none() { detached } else { "the activation has ended" };
            Fault::not_executed(Cause::ActivationLost { reason: reason.to_owned() }).of(&self.id)
        };
        let activation = self.live().ok_or_else(gone)?;
        match activation.lost() {
            Some(fault) => Err(fault.of(&self.id)),
            None => Ok(activation),
        }
    }
}

/// A timer of an activation. Dropping it leaves the timer running.
#[derive(Clone)]
pub struct TimerHandle {
    activation: Weak<dyn AnyActivation>,
    number: u64,
}

impl TimerHandle {
    /// No further tick begins. A tick that runs ends.
    pub fn stop(&self) {
        if let Some(activation) = self.activation.upgrade() {
            activation.stop_timer(self.number);
        }
    }
}

impl fmt::Debug for TimerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TimerHandle({})", self.number)
    }
}

/// What a timer runs: a `&mut self` method (`Self::tick`), or an async closure of one argument
/// (`async |grain: &mut Self| ..`).
#[diagnostic::on_unimplemented(
    message = "this cannot be a timer's tick on `{G}`",
    label = "expected `Self::method` of `async fn method(&mut self)`, or `async |grain: &mut Self| ..`"
)]
pub trait TurnFn<'a, G>: Send + Sync + 'static {
    /// The turn.
    type Turn: Future<Output = ()> + Send + 'a;
    /// Begins a turn.
    fn turn(&self, grain: &'a mut G) -> Self::Turn;
}

impl<'a, G: 'a, F, T> TurnFn<'a, G> for F
where
    F: Fn(&'a mut G) -> T + Send + Sync + 'static,
    T: Future<Output = ()> + Send + 'a,
{
    type Turn = T;

    fn turn(&self, grain: &'a mut G) -> T {
        self(grain)
    }
}

/// A timer's tick, its type erased.
pub struct TickFn<G>(Arc<DynTick<G>>);

type DynTick<G> = dyn for<'a> Fn(&'a mut G) -> BoxFuture<'a, ()> + Send + Sync;

impl<G: 'static> TickFn<G> {
    fn new<F: for<'a> TurnFn<'a, G>>(tick: F) -> Self {
        Self(Arc::new(move |grain| Box::pin(tick.turn(grain))))
    }

    /// Begins a tick.
    pub fn tick<'a>(&self, grain: &'a mut G) -> BoxFuture<'a, ()> {
        (self.0)(grain)
    }
}

impl<G> Clone for TickFn<G> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// What a grain's value is made from when it is activated. For the code that `#[derive(Grain)]` writes.
pub struct BuildContext<'a, G: Grain> {
    context: GrainContext<G>,
    activation: &'a dyn AnyActivation,
    states: crate::state::Loader<'a>,
}

impl<'a, G: Grain> BuildContext<'a, G> {
    /// For the runtime.
    #[doc(hidden)]
    pub fn new(context: GrainContext<G>, activation: &'a dyn AnyActivation, states: crate::state::Loader<'a>) -> Self {
        Self { context, activation, states }
    }

    /// The grain's context.
    pub fn context(&self) -> GrainContext<G> {
        self.context.clone()
    }

    /// The state field at this place in [`Grain::STATES`].
    pub fn state<S: crate::state::StateField>(&mut self, index: usize) -> Result<S, crate::BoxError> {
        self.states.load(index, &G::STATES[index])
    }

    /// The service of this type that the silo was built with.
    pub fn service<T: Any + Send + Sync>(&self) -> Result<Arc<T>, crate::BoxError> {
        let service = self.activation.service(TypeId::of::<T>()).and_then(|service| service.downcast().ok());
        service.ok_or_else(|| {
            let name = std::any::type_name::<T>();
            format!("no service of type {name} was registered; add it with Silo::builder().service(..)").into()
        })
    }
}
