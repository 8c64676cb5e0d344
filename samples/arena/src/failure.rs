//! Why a run came to no verdict.

use std::fmt;

use gristmill::StartError;
use gristmill::grains::StorageError;
use gristmill::prelude::*;

use crate::grains::matchmaker::Ticket;
use crate::rules::MatchId;

/// Why a run came to no verdict.
#[derive(Debug)]
pub enum Failure {
    /// The storage cannot be used.
    Storage(StorageError),
    /// The silo did not start.
    Start(StartError),
    /// A grain did not answer.
    Call(CallError),
    /// The silo may serve no more, as another has taken its storage.
    Stopped(Fault),
    /// The matches did not come to their end.
    Late {
        /// The matches that are open.
        open: Vec<MatchId>,
        /// The tickets that wait for one.
        waiting: Vec<Ticket>,
    },
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Storage(error) => write!(f, "the storage cannot be used: {error}"),
            Self::Start(error) => write!(f, "the silo did not start: {error}"),
            Self::Call(error) => write!(f, "a grain did not answer: {error}"),
            Self::Stopped(fault) => {
                write!(f, "{fault}; let that run end, then start this one again, or give it a storage of its own")
            }
            Self::Late { open, waiting } => {
                let waiting: Vec<String> = waiting.iter().map(|t| format!("{} #{}", t.player, t.number)).collect();
                write!(f, "the matches did not end in time; still open: {open:?}, still waiting: {waiting:?}")
            }
        }
    }
}

impl std::error::Error for Failure {}
