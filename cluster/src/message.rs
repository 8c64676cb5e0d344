//! What silos say to each other.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use gristmill_grains::{Access, ChainLink, Fault, GrainId, RequestContext};
use serde::{Deserialize, Serialize};

use crate::{Incarnation, Location};

/// Names a request to the one who sent it, until it is answered.
pub type Correlation = u64;

/// A message from one silo (or client) to another.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Message {
    /// A call.
    Request(Request),
    /// The end of a call: the encoded `Result` of the method, or why there is none. Of a one-way call: that it was taken
    /// on, or why not.
    Response {
        /// Of the request.
        correlation: Correlation,
        /// How it ended.
        answer: Result<Bytes, Fault>,
    },
    /// The grain is not active here; the call did not run.
    NotHere {
        /// Of the request.
        correlation: Correlation,
    },
    /// Nobody waits for the answer any more.
    Cancel {
        /// Of the request.
        correlation: Correlation,
    },
    /// The sender leaves: it is to be sent no more requests.
    Goodbye,
    /// The answer to that, after the last request.
    Farewell,
    /// A question of the cluster's own.
    Ask {
        /// Of the question.
        correlation: Correlation,
        /// The question.
        ask: Ask,
    },
    /// Its answer.
    Answer {
        /// Of the question.
        correlation: Correlation,
        /// The answer.
        answer: Answer,
    },
}

/// A call of a grain's method.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Request {
    /// Names it to the caller.
    pub correlation: Correlation,
    /// The grain.
    pub grain: GrainId,
    /// The interface's wire name.
    pub interface: Cow<'static, str>,
    /// The method's wire id.
    pub method: u32,
    /// The encoded argument struct.
    pub arguments: Bytes,
    /// How long the caller waits.
    pub remaining: Duration,
    /// Does nobody wait for an outcome?
    pub one_way: bool,
    /// The turns that wait for it, nearest first.
    pub chain: Vec<ChainEntry>,
    /// Values that travel with it.
    pub request: RequestContext,
}

/// A turn that waits for a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainEntry {
    /// Where it runs.
    pub silo: Incarnation,
    /// Its number there.
    pub turn: u64,
    /// Does it hold its grain alone?
    #[serde(with = "access")]
    pub access: Access,
    /// Its grain and method.
    pub link: ChainLink,
}

mod access {
    use gristmill_grains::Access;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(access: &Access, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bool(*access == Access::Exclusive)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Access, D::Error> {
        let exclusive = bool::deserialize(deserializer)?;
        Ok(if exclusive { Access::Exclusive } else { Access::Shared })
    }
}

/// A question of the cluster's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ask {
    /// To the grain's broker: where is it? Activates it if it is nowhere.
    Locate {
        /// The grain.
        grain: GrainId,
        /// Where it was looked for in vain.
        stale: Option<Location>,
    },
    /// Activate the grain, unless it is active there.
    Activate {
        /// The grain.
        grain: GrainId,
        /// The row that may be replaced.
        expect: Option<Location>,
    },
}

/// An answer to a question.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Answer {
    /// Where the grain is.
    At(Location),
    /// Another activation owns the grain.
    Held(Location),
    /// The grain cannot be activated: callers are told.
    Failed(Fault),
    /// Not by this silo, now: it leaves, or does not host the type. Ask another.
    No,
}
