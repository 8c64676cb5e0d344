//! Call filters: code around every call, outgoing or incoming.

use std::any::Any;
use std::sync::Arc;

use async_trait::async_trait;

use crate::{BoxFuture, Cause, Fault, GrainId, RequestContext};

/// Code around calls: logging, authorization, metrics, retries.
///
/// Outgoing filters run on the caller's side, before the call is routed; incoming ones run inside the callee's turn.
/// Both run in the order of their registration, the silo's before the grain type's.
///
/// An outgoing filter may give a call up by dropping `proceed()`. An incoming one that does so has cut its turn in half:
/// the turn is aborted. Calls that an outgoing filter awaits something for may be overtaken by later ones. A one-way
/// call has no outcome: its filter sees [`Cause::Cancelled`] once it was accepted.
///
/// ```
/// use gristmill_grains::filter::{CallFilter, FilteredCall};
/// use gristmill_grains::{Cause, Fault};
///
/// struct OnlyNamed;
///
/// #[async_trait::async_trait]
/// impl CallFilter for OnlyNamed {
///     async fn filter(&self, call: &mut FilteredCall<'_>) -> Result<(), Fault> {
///         if call.request().get("user").is_none() {
///             return Err(Fault::not_executed(Cause::Refused { reason: "no user".into() }));
///         }
///         call.proceed().await
///     }
/// }
/// ```
#[async_trait]
pub trait CallFilter: Send + Sync + 'static {
    /// Handles one call. `call.proceed()` runs the rest; afterwards the outcome can be looked at and replaced. An error
    /// becomes the call's outcome. Ending with `Ok` without an outcome is an error, [`Cause::Refused`].
    async fn filter(&self, call: &mut FilteredCall<'_>) -> Result<(), Fault>;

    /// Does it call [`FilteredCall::proceed`] more than once? Then arguments are encoded first, so that they can be
    /// passed again.
    fn retries(&self) -> bool {
        false
    }
}

/// A call on its way through the filters.
pub struct FilteredCall<'a> {
    rest: &'a [Arc<dyn CallFilter>],
    call: &'a mut dyn Invocation,
}

impl<'a> FilteredCall<'a> {
    /// The call's grain.
    pub fn grain(&self) -> &GrainId {
        self.call.grain()
    }

    /// The interface's wire name.
    pub fn interface(&self) -> &'static str {
        self.call.interface()
    }

    /// The method's name.
    pub fn method(&self) -> &'static str {
        self.call.method()
    }

    /// The values that travel with the call.
    pub fn request(&self) -> &RequestContext {
        self.call.request()
    }

    /// The arguments, when `M` is the method's argument struct and the call has not run.
    pub fn arguments<M: 'static>(&mut self) -> Option<&mut M> {
        self.call.arguments()?.downcast_mut()
    }

    /// The outcome, once there is one, when `M` is the method's argument struct.
    pub fn outcome<M: crate::Method>(&mut self) -> Option<&mut crate::Outcome<M>> {
        self.call.outcome()?.downcast_mut()
    }

    /// Answers the call without running it, or instead of its outcome. A value of another type than the method's outcome
    /// is refused.
    pub fn answer<M: crate::Method>(&mut self, outcome: crate::Outcome<M>) -> Result<(), Fault> {
        self.call.answer(Box::new(outcome))
    }

    /// Why the call failed, after it ran, if it did and not by the method's own error.
    pub fn fault(&self) -> Option<&Fault> {
        self.call.fault()
    }

    /// Runs the rest: the filters behind this one, then the method.
    pub fn proceed(&mut self) -> BoxFuture<'_, Result<(), Fault>> {
        match self.rest.split_first() {
            Some((first, rest)) => {
                let call = &mut *self.call;
                Box::pin(async move { first.filter(&mut FilteredCall { rest, call }).await })
            }
            None => self.call.invoke(),
        }
    }
}

/// Runs a call through filters; its outcome is then in `call`, or the error of a filter is returned.
pub async fn run(filters: &[Arc<dyn CallFilter>], call: &mut dyn Invocation) -> Result<(), Fault> {
    FilteredCall { rest: filters, call: &mut *call }.proceed().await?;
    match call.outcome() {
        Some(_) => Ok(()),
        None => Err(Fault::not_executed(Cause::Refused { reason: "it neither proceeded nor answered".to_owned() })),
    }
}

/// A call, as filters see it. Implemented by the runtime.
pub trait Invocation: Send {
    /// The grain.
    fn grain(&self) -> &GrainId;
    /// The interface's wire name.
    fn interface(&self) -> &'static str;
    /// The method's name.
    fn method(&self) -> &'static str;
    /// The values that travel with the call.
    fn request(&self) -> &RequestContext;
    /// The argument struct, before the call runs.
    fn arguments(&mut self) -> Option<&mut dyn Any>;
    /// The outcome, after it ran.
    fn outcome(&mut self) -> Option<&mut dyn Any>;
    /// Why it failed, if it did and not by the method's own error.
    fn fault(&self) -> Option<&Fault>;
    /// Sets the outcome.
    fn answer(&mut self, outcome: Box<dyn Any + Send>) -> Result<(), Fault>;
    /// Runs the method.
    fn invoke(&mut self) -> BoxFuture<'_, Result<(), Fault>>;
}

/// Where a [`TypedCall`] goes when it passed every filter.
pub trait Target<M: crate::Method>: Send {
    /// Does it run the method here, inside a turn? Then dropping it midway leaves half a turn.
    const IS_TURN: bool;

    /// Runs the method, or sends the call off.
    fn call(&mut self, arguments: M) -> BoxFuture<'_, crate::Outcome<M>>;
}

/// The [`Invocation`] of a method with these arguments.
pub struct TypedCall<'a, M: crate::Method, T> {
    grain: &'a GrainId,
    request: &'a RequestContext,
    arguments: Option<M>,
    again: Option<Vec<u8>>,
    outcome: Option<crate::Outcome<M>>,
    running: bool,
    /// Was it dropped while it ran?
    cut: bool,
    target: T,
}

impl<'a, M: crate::Method, T: Target<M>> TypedCall<'a, M, T> {
    /// Runs a call through `filters` to `target`.
    pub async fn run(
        filters: &'a [Arc<dyn CallFilter>],
        grain: &'a GrainId,
        request: &'a RequestContext,
        arguments: M,
        target: T,
    ) -> crate::Outcome<M> {
        let mut again = None;
        if filters.iter().any(|filter| filter.retries()) {
            again = Some(crate::codec::encode_wire(&arguments)?);
        }
        let mut call = Self {
            grain,
            request,
            arguments: Some(arguments),
            again,
            outcome: None,
            running: false,
            cut: false,
            target,
        };
        let result = run(filters, &mut call).await;
        if T::IS_TURN && (call.running || call.cut) {
            // The method was cut off where it was waiting: half a turn must not be kept.
            crate::turn::with_current(|frame| frame.into_iter().for_each(|frame| frame.aborted = true));
            let reason = "a call filter dropped the running method".to_owned();
            return Err(Fault::maybe_executed_with(Cause::Refused { reason }).of(grain).in_method(M::NAME).into());
        }
        let ran = call.arguments.is_none();
        match (result, call.outcome) {
            (Ok(()), Some(outcome)) => outcome,
            (Ok(()), None) => Err(Fault::maybe_executed_with(Cause::Cancelled).into()),
            (Err(fault), _) if ran => Err(fault.after_start().of(grain).in_method(M::NAME).into()),
            (Err(fault), _) => Err(fault.of(grain).in_method(M::NAME).into()),
        }
    }
}

impl<M: crate::Method, T: Target<M>> Invocation for TypedCall<'_, M, T> {
    fn grain(&self) -> &GrainId {
        self.grain
    }

    fn interface(&self) -> &'static str {
        <M::Interface as crate::Interface>::NAME
    }

    fn method(&self) -> &'static str {
        M::NAME
    }

    fn request(&self) -> &RequestContext {
        self.request
    }

    fn arguments(&mut self) -> Option<&mut dyn Any> {
        self.arguments.as_mut().map(|arguments| arguments as _)
    }

    fn outcome(&mut self) -> Option<&mut dyn Any> {
        self.outcome.as_mut().map(|outcome| outcome as _)
    }

    fn fault(&self) -> Option<&Fault> {
        match &self.outcome {
            Some(Err(crate::CallError::Fault(fault))) => Some(fault),
            _ => None,
        }
    }

    fn answer(&mut self, outcome: Box<dyn Any + Send>) -> Result<(), Fault> {
        let refused = || Cause::Refused { reason: format!("it answered {} with a value of another type", M::NAME) };
        let outcome = outcome.downcast().map_err(|_| Fault::not_executed(refused()))?;
        self.outcome = Some(*outcome);
        Ok(())
    }

    fn invoke(&mut self) -> BoxFuture<'_, Result<(), Fault>> {
        Box::pin(async move {
            let arguments = match (self.arguments.take(), &self.again) {
                (Some(arguments), _) => arguments,
                (None, Some(bytes)) => crate::codec::decode_wire(bytes)?,
                (None, None) => {
                    let reason = "it proceeded twice; a filter that does must say so with `retries()`".to_owned();
                    return Err(Fault::maybe_executed_with(Cause::Refused { reason }));
                }
            };
            self.outcome = None;
            self.cut |= self.running;
            self.running = true;
            self.outcome = Some(self.target.call(arguments).await);
            self.running = false;
            Ok(())
        })
    }
}
