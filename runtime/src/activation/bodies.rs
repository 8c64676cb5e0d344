//! What a call's turn does: runs the method, past the type's incoming filters if it has any.

use std::marker::PhantomData;
use std::sync::Arc;

use gristmill_grains::filter::{Target, TypedCall};
use gristmill_grains::{Access, BoxFuture, CallError, Exclusive, Grain, Method, Outcome, RequestContext, Shared};

use super::turn::Body;
use crate::host::TypeHost;

/// How a method's arguments become a turn.
pub(crate) trait CallBody<G: Grain, M: Method>: Body<G, Out = Outcome<M>> {
    fn new(arguments: M, host: &Arc<TypeHost<G>>, key: &G::Key, request: &RequestContext) -> Self;
}

/// A `&mut self` method.
pub(crate) struct ExclusiveCall<M>(M);

impl<G: Grain, M: Exclusive<G>> Body<G> for ExclusiveCall<M> {
    type Out = Outcome<M>;
    const ACCESS: Access = Access::Exclusive;

    async fn run(self, mut grain: Arc<G>) -> (Arc<G>, Self::Out) {
        let outcome = self.0.run(only(&mut grain)).await.map_err(CallError::App);
        (grain, outcome)
    }
}

impl<G: Grain, M: Exclusive<G>> CallBody<G, M> for ExclusiveCall<M> {
    fn new(arguments: M, _: &Arc<TypeHost<G>>, _: &G::Key, _: &RequestContext) -> Self {
        Self(arguments)
    }
}

/// Invariant I10, checked at every write turn: nobody else holds the grain.
pub(crate) fn only<G>(grain: &mut Arc<G>) -> &mut G {
    Arc::get_mut(grain).expect("a write turn is the only one that holds its grain")
}

/// A `&self` method.
pub(crate) struct SharedCall<M>(M);

impl<G: Grain, M: Shared<G>> Body<G> for SharedCall<M> {
    type Out = Outcome<M>;
    const ACCESS: Access = Access::Shared;

    async fn run(self, grain: Arc<G>) -> (Arc<G>, Self::Out) {
        let outcome = self.0.run(&grain).await.map_err(CallError::App);
        (grain, outcome)
    }
}

impl<G: Grain, M: Shared<G>> CallBody<G, M> for SharedCall<M> {
    fn new(arguments: M, _: &Arc<TypeHost<G>>, _: &G::Key, _: &RequestContext) -> Self {
        Self(arguments)
    }
}

/// A method of a grain type with incoming filters.
pub(crate) struct Filtered<G: Grain, M, A> {
    arguments: M,
    host: Arc<TypeHost<G>>,
    key: G::Key,
    request: RequestContext,
    access: PhantomData<fn(A)>,
}

pub(crate) struct Write;
pub(crate) struct Read;

impl<G: Grain, M: Exclusive<G>> Body<G> for Filtered<G, M, Write> {
    type Out = Outcome<M>;
    const ACCESS: Access = Access::Exclusive;

    async fn run(self, mut grain: Arc<G>) -> (Arc<G>, Self::Out) {
        let id = self.host.id_of(&self.key);
        let target = Writing(only(&mut grain));
        let outcome = TypedCall::run(&self.host.incoming, &id, &self.request, self.arguments, target).await;
        (grain, outcome)
    }
}

impl<G: Grain, M: Shared<G>> Body<G> for Filtered<G, M, Read> {
    type Out = Outcome<M>;
    const ACCESS: Access = Access::Shared;

    async fn run(self, grain: Arc<G>) -> (Arc<G>, Self::Out) {
        let id = self.host.id_of(&self.key);
        let target = Reading(&*grain);
        let outcome = TypedCall::run(&self.host.incoming, &id, &self.request, self.arguments, target).await;
        (grain, outcome)
    }
}

impl<G: Grain, M: Method, A: 'static> CallBody<G, M> for Filtered<G, M, A>
where
    Self: Body<G, Out = Outcome<M>>,
{
    fn new(arguments: M, host: &Arc<TypeHost<G>>, key: &G::Key, request: &RequestContext) -> Self {
        Self { arguments, host: host.clone(), key: key.clone(), request: request.clone(), access: PhantomData }
    }
}

struct Writing<'a, G>(&'a mut G);

impl<G: Grain, M: Exclusive<G>> Target<M> for Writing<'_, G> {
    const IS_TURN: bool = true;

    fn call(&mut self, arguments: M) -> BoxFuture<'_, Outcome<M>> {
        Box::pin(async { arguments.run(self.0).await.map_err(CallError::App) })
    }
}

struct Reading<'a, G>(&'a G);

impl<G: Grain, M: Shared<G>> Target<M> for Reading<'_, G> {
    const IS_TURN: bool = true;

    fn call(&mut self, arguments: M) -> BoxFuture<'_, Outcome<M>> {
        Box::pin(async { arguments.run(self.0).await.map_err(CallError::App) })
    }
}
