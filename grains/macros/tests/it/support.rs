//! A grain without a silo.

use std::any::{Any, TypeId};
use std::sync::{Arc, Weak};
use std::time::Duration;

use gristmill_grains::port::{AnyActivation, Binding, Outgoing, RecordCommit, Runtime, TimerSpec};
use gristmill_grains::state::{Loader, StateField, StateSpec, StateVisitor};
use gristmill_grains::{
    Access, ActivationId, Binder, BoxError, BoxFuture, BuildContext, Exclusive, Fault, Grain, GrainContext, GrainId,
    Interface, Method, Shared,
};

/// Makes a grain as a silo does, nothing stored; `service` is what `#[service]` fields get.
pub(crate) fn build<G: Grain>(service: Option<Arc<dyn Any + Send + Sync>>) -> Result<G, BoxError> {
    let activation = NoSilo { service };
    let context = GrainContext::new(GrainId::new(G::grain_type(), "alice"), Weak::<NoSilo>::new());
    G::build(&mut BuildContext::new(context, &activation, Loader::new(&[])))
}

/// What a grain type binds: interfaces, and methods as `name index access`.
pub(crate) fn bound<G: Grain>() -> Vec<String> {
    let mut bound = Bound(Vec::new());
    G::bind(&mut bound);
    bound.0
}

struct Bound(Vec<String>);

impl Bound {
    fn method<M: Method>(&mut self, access: Access) {
        assert_eq!(M::ACCESS, access);
        self.0.push(format!("{} {} {access:?}", M::NAME, M::INDEX));
    }
}

impl<G: Grain> Binder<G> for Bound {
    fn interface<I: Interface<Key = G::Key>>(&mut self) {
        self.0.push(format!("{} of {}", I::NAME, I::GRAIN));
    }

    fn exclusive<M: Exclusive<G>>(&mut self)
    where
        M::Interface: Interface<Key = G::Key>,
    {
        self.method::<M>(Access::Exclusive);
    }

    fn shared<M: Shared<G>>(&mut self)
    where
        M::Interface: Interface<Key = G::Key>,
    {
        self.method::<M>(Access::Shared);
    }
}

/// The names and dirty marks of a grain's state fields.
pub(crate) fn states<G: Grain>(grain: &G) -> Vec<(&'static str, bool)> {
    let mut seen = Seen(Vec::new());
    grain.visit_states(&mut seen);
    seen.0
}

struct Seen(Vec<(&'static str, bool)>);

impl StateVisitor for Seen {
    fn field<S: StateField>(&mut self, spec: &'static StateSpec, field: &S) {
        self.0.push((spec.name, field.is_dirty()));
    }
}

struct NoSilo {
    service: Option<Arc<dyn Any + Send + Sync>>,
}

impl AnyActivation for NoSilo {
    fn id(&self) -> GrainId {
        unimplemented()
    }
    fn activation_id(&self) -> ActivationId {
        unimplemented()
    }
    fn runtime(&self) -> &Arc<dyn Runtime> {
        unimplemented()
    }
    fn lost(&self) -> Option<Fault> {
        None
    }
    fn denies_dirty_calls(&self) -> bool {
        false
    }
    fn count_dirty_call(&self) {}
    fn is_settled(&self) -> bool {
        true
    }
    fn hold_back(&self, outgoing: Box<dyn Outgoing>) {
        outgoing.leave();
    }
    fn commit(&self, _: RecordCommit, _: Vec<Box<dyn Outgoing>>) -> BoxFuture<'static, Result<(), Fault>> {
        unimplemented()
    }
    fn start_timer(&self, _: TimerSpec, _: Box<dyn Any + Send>) -> Result<u64, Fault> {
        unimplemented()
    }
    fn stop_timer(&self, _: u64) {}
    fn spawn(&self, _: BoxFuture<'static, ()>) {}
    fn deactivate_on_idle(&self) {}
    fn delay_deactivation(&self, _: Duration) {}
    fn retire(&self) {}
    fn abort(&self) {}
    fn note_turn(&self, _: u64, _: Access) {}
    fn service(&self, ty: TypeId) -> Option<Arc<dyn Any + Send + Sync>> {
        self.service.clone().filter(|service| (**service).type_id() == ty)
    }
}

fn unimplemented<T>() -> T {
    panic!("there is no silo")
}

/// A runtime that hosts nothing: references can be bound to it.
pub(crate) struct NoGrains;

impl Runtime for NoGrains {
    fn binding(&self, _: &str) -> Arc<Binding> {
        Arc::new(Binding { runtime: Arc::new(NoGrains), methods: None, outgoing: Vec::new(), remote: None })
    }
    fn lost_send(&self, _: Fault) {}
    fn spawn(&self, _: BoxFuture<'static, ()>) {}
    fn default_timeout(&self) -> Duration {
        Duration::from_secs(30)
    }
}
