//! The messages.

use std::borrow::Cow;

use bytes::Bytes;
use gristmill_grains::{Access, ActivationId, ChainLink, Fault, GrainId, RequestContext};

use crate::Incarnation;

/// What one message may hold at most. A message beyond is refused by its sender and closes a connection at its receiver.
pub mod limits {
    /// A body: the arguments or the result of a call.
    pub const BODY: usize = gristmill_grains::codec::MAX_BODY;
    /// Everything of a message besides its body.
    pub const HEAD: usize = 256 * 1024;
    /// A message.
    pub const MESSAGE: usize = BODY + HEAD;
    /// The steps of a call chain.
    pub const CHAIN: usize = 64;
    /// The values of a request context.
    pub const CONTEXT: usize = 64;
    /// One value of a request context, in bytes. Its key: 255.
    pub const CONTEXT_VALUE: usize = 1024;
    /// A grain's key, in bytes. Its type, and every name: 255.
    pub const KEY: usize = gristmill_grains::MAX_KEY_LEN;
    /// An encoded failure. A larger one travels without its details.
    pub const FAULT: usize = 64 * 1024;
}

/// One message between two silos, or a client and a silo.
#[derive(Clone, Debug)]
pub enum Message {
    /// A call.
    Request(Request),
    /// The outcome of a call.
    Response(Response),
    /// The call was not executed: its grain is not on this silo.
    NotHere(NotHere),
    /// The caller gave the call up.
    Cancel {
        /// Which call.
        correlation: u64,
    },
    /// A question of the cluster's own parts to each other.
    Control(Control),
    /// The answer to it.
    ControlReply(Control),
    /// Are you there? Answered by the connection itself, before anything that waits.
    Probe {
        /// Comes back in the answer.
        number: u64,
    },
    /// I am.
    ProbeAck {
        /// The probe's.
        number: u64,
    },
    /// There is a view of at least this version: read it.
    ViewHint {
        /// The version.
        version: u64,
    },
    /// The sender sends nothing more and waits for nothing more.
    Goodbye,
}

/// A call on its way to a grain.
#[derive(Clone, Debug)]
pub struct Request {
    /// Names the call on its connection, for the response. Chosen by the caller.
    pub correlation: u64,
    /// The grain.
    pub target: GrainId,
    /// The wire name of the interface.
    pub interface: Cow<'static, str>,
    /// The wire id of the method.
    pub method: u32,
    /// What is left of the call's time, in milliseconds.
    pub remaining_ms: u32,
    /// Nobody waits for the outcome, and no response is sent.
    pub one_way: bool,
    /// For the runtime's use; carried, not read.
    pub flags: u8,
    /// The turns that wait for this call, nearest first.
    pub chain: Vec<ChainEntry>,
    /// The values that travel with the call.
    pub context: RequestContext,
    /// The encoded arguments.
    pub body: Bytes,
}

/// A turn that waits for a call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ChainEntry {
    /// The silo it runs on.
    pub incarnation: Incarnation,
    /// Its id there.
    pub turn: u64,
    /// How it holds its grain.
    pub access: Access,
    /// Its grain and method.
    pub link: ChainLink,
}

/// The outcome of a call.
#[derive(Clone, Debug)]
pub struct Response {
    /// Which call.
    pub correlation: u64,
    /// The encoded outcome of the method, or why there is none.
    pub result: Result<Bytes, Fault>,
}

/// The grain is not on the silo that was asked; the call was not executed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotHere {
    /// Which call.
    pub correlation: u64,
    /// Where the grain is, if the silo knows.
    pub owner: Option<Location>,
    /// The version of the view it judged by. The caller reads one as late before it asks again.
    pub view: u64,
}

/// Where an activation lives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Location {
    /// On this silo.
    pub incarnation: Incarnation,
    /// It is this one.
    pub activation: ActivationId,
    /// With this epoch.
    pub epoch: u64,
}

/// A question or an answer of the cluster's own parts; what is in it is their affair.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Control {
    /// Names the question on its connection.
    pub correlation: u64,
    /// Opaque here.
    pub body: Bytes,
}

impl Message {
    /// The byte that names the kind of message in a frame.
    pub fn kind(&self) -> u8 {
        match self {
            Self::Request(_) => 1,
            Self::Response(_) => 2,
            Self::NotHere(_) => 3,
            Self::Cancel { .. } => 4,
            Self::Control(_) => 5,
            Self::ControlReply(_) => 6,
            Self::Probe { .. } => 7,
            Self::ProbeAck { .. } => 8,
            Self::ViewHint { .. } => 9,
            Self::Goodbye => 10,
        }
    }

    /// Does it go before everything that waits?
    pub(crate) fn is_urgent(&self) -> bool {
        matches!(self, Self::Probe { .. } | Self::ProbeAck { .. } | Self::ViewHint { .. })
    }
}
