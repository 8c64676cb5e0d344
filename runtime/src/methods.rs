//! The methods of a grain type: by their place in a table for references, by wire id for a transport.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use gristmill_grains::cell::Waiting;
use gristmill_grains::port::{CallOptions, LocalCall, Runtime, Start, Unposted};
use gristmill_grains::{
    Access, Binder, BoxFuture, CallError, Cause, Exclusive, Fault, Grain, GrainId, GrainKey, GrainRef, GrainType,
    Interface, Method, Outcome, Shared, codec, reference,
};

use crate::activation::bodies::{ExclusiveCall, Filtered, Read, SharedCall, Write};
use crate::activation::call::Endpoint;
use crate::host::TypeHost;

/// A method reached by its wire id: what a transport delivers to.
pub(crate) trait WireCall: Send + Sync {
    /// Calls it wherever the grain is.
    fn invoke(
        &self,
        runtime: Arc<dyn Runtime>,
        key: &str,
        arguments: &[u8],
    ) -> BoxFuture<'static, Result<Vec<u8>, Fault>>;
    /// Calls it in this silo, if the grain is active here. Calls are taken on in the order of these calls.
    fn serve(&self, runtime: &Arc<dyn Runtime>, key: &str, arguments: &[u8], options: &CallOptions) -> Served;
    /// [`serve`](Self::serve) for a one-way call.
    fn post(&self, runtime: &Arc<dyn Runtime>, key: &str, arguments: &[u8], options: &CallOptions)
    -> Result<(), Fault>;
}

/// A call served here.
pub(crate) enum Served {
    Over(Result<Bytes, Fault>),
    Under(BoxFuture<'static, Result<Bytes, Fault>>),
}

struct WireMethod<M: Method>(Arc<dyn LocalCall<M>>);

impl<M: Method> WireMethod<M> {
    fn decode(
        runtime: &Arc<dyn Runtime>,
        key: &str,
        arguments: &[u8],
    ) -> Result<(<M::Interface as Interface>::Key, M), Fault> {
        let named = |fault: Fault| fault.of(&Self::id(key)).in_method(M::NAME);
        let typed = <M::Interface as Interface>::Key::from_text(key).map_err(|error| named(error.into()))?;
        let arguments = reference::decoding(runtime, || codec::decode_wire::<M>(arguments)).map_err(named)?;
        Ok((typed, arguments))
    }

    fn id(key: &str) -> GrainId {
        GrainId::new(GrainType::new(M::Interface::GRAIN), key)
    }

    fn encode(outcome: Outcome<M>, id: impl FnOnce() -> GrainId) -> Result<Vec<u8>, Fault> {
        let answer: Result<M::Ok, M::Err> = match outcome {
            Ok(value) => Ok(value),
            Err(CallError::App(error)) => Err(error),
            Err(CallError::Fault(fault)) => return Err(fault),
        };
        codec::encode_wire(&answer).map_err(|fault| fault.of(&id()).in_method(M::NAME).after_start())
    }
}

impl<M: Method> WireCall for WireMethod<M> {
    fn invoke(
        &self,
        runtime: Arc<dyn Runtime>,
        key: &str,
        arguments: &[u8],
    ) -> BoxFuture<'static, Result<Vec<u8>, Fault>> {
        let id = Self::id(key);
        let decoded = Self::decode(&runtime, key, arguments);
        Box::pin(async move {
            let (key, arguments) = decoded?;
            let grain = GrainRef::<M::Interface>::bound(key, &*runtime);
            Self::encode(grain.call(arguments).await, || id)
        })
    }

    fn serve(&self, runtime: &Arc<dyn Runtime>, key: &str, arguments: &[u8], options: &CallOptions) -> Served {
        let (typed, arguments) = match Self::decode(runtime, key, arguments) {
            Ok(decoded) => decoded,
            Err(fault) => return Served::Over(Err(fault)),
        };
        match self.0.start(&typed, arguments, options) {
            Start::Ready(outcome) => Served::Over(Self::encode(outcome, || Self::id(key)).map(Bytes::from)),
            Start::Wait(cell) => {
                let id = Self::id(key);
                Served::Under(Box::pin(async move { Self::encode(Waiting(cell).await, || id).map(Bytes::from) }))
            }
            Start::Elsewhere(_) => Served::Over(Err(Fault::not_executed(Cause::Moved))),
        }
    }

    fn post(
        &self,
        runtime: &Arc<dyn Runtime>,
        key: &str,
        arguments: &[u8],
        options: &CallOptions,
    ) -> Result<(), Fault> {
        let (typed, arguments) = Self::decode(runtime, key, arguments)?;
        self.0.post(&typed, arguments, options).map_err(|unposted| match unposted {
            Unposted::Refused(fault) => fault,
            Unposted::Elsewhere(_) => Fault::not_executed(Cause::Moved),
        })
    }
}

/// The methods of a grain type, gathered when it is registered.
pub(crate) struct Methods<G: Grain> {
    host: Arc<TypeHost<G>>,
    pub(crate) interfaces: Vec<BoundInterface>,
    pub(crate) error: Option<String>,
}

/// One interface of a grain type.
pub(crate) struct BoundInterface {
    pub(crate) name: &'static str,
    pub(crate) grain: &'static str,
    pub(crate) local: Vec<Box<dyn Any + Send + Sync>>,
    pub(crate) wire: BTreeMap<u32, Box<dyn WireCall>>,
}

impl<G: Grain> Methods<G> {
    pub(crate) fn of(host: &Arc<TypeHost<G>>) -> Self {
        let mut methods = Self { host: host.clone(), interfaces: Vec::new(), error: None };
        G::bind(&mut methods);
        methods
    }

    fn method<M: Method>(&mut self, local: Arc<dyn LocalCall<M>>) {
        let Some(interface) = self.interfaces.last_mut() else { return };
        interface.local.push(Box::new(local.clone()));
        let wire = Box::new(WireMethod::<M>(local));
        if interface.wire.insert(M::WIRE_ID, wire).is_some() {
            self.error = Some(format!("method {:?} of interface {:?} has another's wire id", M::NAME, interface.name));
        }
    }
}

impl<G: Grain> Binder<G> for Methods<G> {
    fn interface<I: Interface<Key = G::Key>>(&mut self) {
        self.interfaces.push(BoundInterface {
            name: I::NAME,
            grain: I::GRAIN,
            local: Vec::new(),
            wire: BTreeMap::new(),
        });
    }

    fn exclusive<M: Exclusive<G>>(&mut self)
    where
        M::Interface: Interface<Key = G::Key>,
    {
        debug_assert_eq!(M::ACCESS, Access::Exclusive);
        self.method::<M>(match self.host.incoming.is_empty() {
            true => Arc::new(Endpoint::<G, ExclusiveCall<M>>::new(&self.host)),
            false => Arc::new(Endpoint::<G, Filtered<G, M, Write>>::new(&self.host)),
        });
    }

    fn shared<M: Shared<G>>(&mut self)
    where
        M::Interface: Interface<Key = G::Key>,
    {
        debug_assert_eq!(M::ACCESS, Access::Shared);
        self.method::<M>(match self.host.incoming.is_empty() {
            true => Arc::new(Endpoint::<G, SharedCall<M>>::new(&self.host)),
            false => Arc::new(Endpoint::<G, Filtered<G, M, Read>>::new(&self.host)),
        });
    }
}
