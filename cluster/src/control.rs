//! What the runtimes of two silos, or of a client and a silo, say to each other, inside of the transport's control messages.

use gristmill_grains::{ChainLink, Fault, GrainId};
use serde::{Deserialize, Serialize};

use crate::{Incarnation, Location};

/// The body of a [`Control`](crate::transport::wire::Control) message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Talk {
    /// A question; its answer is the body of a reply.
    Ask(Ask),
    /// The sender leaves: it is to be sent no more requests. Answered by [`Farewell`](Self::Farewell).
    Goodbye,
    /// No more requests come, and those that came are answered.
    Farewell,
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
    /// Does it own this grain?
    Owns {
        /// The grain.
        grain: GrainId,
    },
    /// How many activations does it have?
    Load,
    /// What does a turn wait for in the silo that is asked?
    Below {
        /// The turn.
        turn: TurnAt,
    },
    /// From a client: which other silos take its calls?
    Gateways,
}

/// A turn of a silo.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TurnAt {
    /// The silo.
    pub silo: Incarnation,
    /// Its number there.
    pub turn: u64,
}

/// A call in the mailbox of a grain that is busy.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct QueuedCall {
    /// Its number in its silo.
    pub number: u64,
    /// From the turn that was asked for down to the one that made the call.
    pub chain: Vec<ChainLink>,
    /// The turns that hold its grain, by their numbers in its silo.
    pub holders: Vec<u64>,
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
    /// The addresses of the active silos.
    Gateways(Vec<String>),
    /// So many activations.
    Load(u64),
    /// What a turn waits for here.
    Below {
        /// Calls that are queued here.
        queued: Vec<QueuedCall>,
        /// Silos where more of its calls, or of turns that it awaits, are.
        onward: Vec<Incarnation>,
    },
}
