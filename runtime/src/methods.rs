//! The methods of a grain type: by their place in a table for references, by wire id for a transport.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;

use gristmill_grains::port::{LocalCall, Runtime};
use gristmill_grains::{
    Access, Binder, BoxFuture, CallError, Exclusive, Fault, Grain, GrainId, GrainKey, GrainRef, GrainType, Interface,
    Method, Shared, codec, reference,
};

use crate::activation::bodies::{ExclusiveCall, Filtered, Read, SharedCall, Write};
use crate::activation::call::Endpoint;
use crate::host::TypeHost;

/// A method reached by its wire id: what a transport delivers to.
pub(crate) trait WireCall: Send + Sync {
    fn serve(
        &self,
        runtime: Arc<dyn Runtime>,
        key: &str,
        arguments: &[u8],
    ) -> BoxFuture<'static, Result<Vec<u8>, Fault>>;
}

struct WireMethod<M>(std::marker::PhantomData<fn(M)>);

impl<M: Method> WireCall for WireMethod<M> {
    fn serve(
        &self,
        runtime: Arc<dyn Runtime>,
        key: &str,
        arguments: &[u8],
    ) -> BoxFuture<'static, Result<Vec<u8>, Fault>> {
        let id = GrainId::new(GrainType::new(M::Interface::GRAIN), key);
        let key = <M::Interface as Interface>::Key::from_text(key).map_err(Fault::from);
        let arguments = reference::decoding(&runtime, || codec::decode_wire::<M>(arguments));
        Box::pin(async move {
            let named = |fault: Fault| fault.of(&id).in_method(M::NAME);
            let (key, arguments) = (key.map_err(named)?, arguments.map_err(named)?);
            let grain = GrainRef::<M::Interface>::bound(key, &*runtime);
            let answer: Result<M::Ok, M::Err> = match grain.call(arguments).await {
                Ok(value) => Ok(value),
                Err(CallError::App(error)) => Err(error),
                Err(CallError::Fault(fault)) => return Err(fault),
            };
            codec::encode_wire(&answer).map_err(|fault| named(fault).after_start())
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

    fn method<M: Method>(&mut self, local: Box<dyn LocalCall<M>>) {
        let Some(interface) = self.interfaces.last_mut() else { return };
        interface.local.push(Box::new(local));
        let wire = Box::new(WireMethod::<M>(std::marker::PhantomData));
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
            true => Box::new(Endpoint::<G, ExclusiveCall<M>>::new(&self.host)),
            false => Box::new(Endpoint::<G, Filtered<G, M, Write>>::new(&self.host)),
        });
    }

    fn shared<M: Shared<G>>(&mut self)
    where
        M::Interface: Interface<Key = G::Key>,
    {
        debug_assert_eq!(M::ACCESS, Access::Shared);
        self.method::<M>(match self.host.incoming.is_empty() {
            true => Box::new(Endpoint::<G, SharedCall<M>>::new(&self.host)),
            false => Box::new(Endpoint::<G, Filtered<G, M, Read>>::new(&self.host)),
        });
    }
}
