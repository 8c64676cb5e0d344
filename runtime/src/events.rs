//! What operators and tests want to hear of.

use std::fmt;
use std::time::Duration;

use gristmill_grains::{ChainLink, Fault, GrainId};

/// Something noteworthy that happened in a silo. Each is also logged.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum SiloEvent {
    /// A turn has been running for longer than `stuck_after`.
    StuckTurn {
        /// The turn, then those that wait for it, nearest first.
        chain: Vec<ChainLink>,
        /// For how long.
        running_for: Duration,
    },
    /// An activation was lost: fenced, aborted, panicked, or over its turn limit.
    ActivationLost {
        /// The grain.
        grain: GrainId,
        /// Why.
        fault: Fault,
    },
    /// A storage's serving process is another one than before; writes it acknowledged last may be gone.
    StorageRestarted {
        /// The storage's name.
        storage: String,
    },
    /// A storage had lost acknowledged writes of a live grain; they are being written again.
    Restored {
        /// The grain.
        grain: GrainId,
        /// The storage's name.
        storage: String,
        /// The records that were behind.
        records: Vec<String>,
    },
    /// A later silo runs on this storage; this one stops.
    Superseded {
        /// The storage's name.
        storage: String,
    },
}

impl fmt::Display for SiloEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StuckTurn { chain, running_for } => {
                let chain: Vec<_> = chain.iter().map(ToString::to_string).collect();
                write!(f, "running for {running_for:.1?}: {}", chain.join(", awaited by "))
            }
            Self::ActivationLost { grain, fault } => write!(f, "{grain} was lost: {fault}"),
            Self::StorageRestarted { storage } => write!(f, "storage {storage:?} was restarted"),
            Self::Restored { grain, storage, records } => {
                write!(f, "{grain}: storage {storage:?} had lost {records:?}; restoring them")
            }
            Self::Superseded { storage } => write!(f, "a later silo runs on storage {storage:?}"),
        }
    }
}
