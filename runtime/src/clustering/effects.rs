//! What follows from a change of a lane, done once no lock is held.

use std::iter::Chain;
use std::{option, vec};

use bytes::Bytes;
use gristmill_grains::port::RemoteCall;
use gristmill_grains::{Fault, GrainId};

/// All that is done then: mostly it is one.
#[derive(Default)]
pub(super) struct Effects {
    first: Option<Effect>,
    more: Vec<Effect>,
}

impl Effects {
    pub(super) fn push(&mut self, effect: Effect) {
        match self.first {
            None => self.first = Some(effect),
            Some(_) => self.more.push(effect),
        }
    }

    pub(super) fn extend(&mut self, effects: impl IntoIterator<Item = Effect>) {
        effects.into_iter().for_each(|effect| self.push(effect));
    }
}

/// What is done once no lock is held.
pub(super) enum Effect {
    Reply(Box<RemoteCall>, Result<Bytes, Fault>),
    Resolve(GrainId),
    /// By the activation in this silo.
    Serve(Box<RemoteCall>),
}

impl Effect {
    /// The call fails; the failure names it.
    pub(super) fn fail(call: Box<RemoteCall>, fault: Fault) -> Self {
        let fault = fault.of(&call.grain);
        let fault = if call.name.is_empty() { fault } else { fault.in_method(call.name.clone()) };
        Self::Reply(call, Err(fault))
    }
}

impl IntoIterator for Effects {
    type Item = Effect;
    type IntoIter = Chain<option::IntoIter<Effect>, vec::IntoIter<Effect>>;

    fn into_iter(self) -> Self::IntoIter {
        self.first.into_iter().chain(self.more)
    }
}
