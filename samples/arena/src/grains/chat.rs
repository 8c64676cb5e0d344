//! Chat rooms: one for each match, under the match's name, and one for all.

use std::collections::VecDeque;
use std::fmt;

use gristmill::prelude::*;
use serde::{Deserialize, Serialize};

use crate::rules::PlayerId;

/// The room for all.
pub const GLOBAL: &str = "global";
/// How many lines a room remembers.
pub const HISTORY: usize = 50;
/// The longest line, in bytes.
pub const MAX_LINE: usize = 200;

/// One line of a room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// The room's count, from 1.
    pub seq: u64,
    /// Who said it; none for the arena itself.
    pub from: Option<PlayerId>,
    /// What.
    pub text: String,
}

/// Why a line was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChatError {
    /// There is nothing in it.
    Empty,
    /// It is longer than [`MAX_LINE`].
    TooLong,
}

impl fmt::Display for ChatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the line is empty"),
            Self::TooLong => write!(f, "the line is longer than {MAX_LINE} bytes"),
        }
    }
}

impl std::error::Error for ChatError {}

/// The last lines of a room.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    last: u64,
    lines: VecDeque<Line>,
}

/// A chat room. Its key is the room's name.
#[grain_interface]
pub trait Chat {
    /// Says something; answers the line's number. Lines are in one order for all.
    async fn say(&mut self, from: Option<PlayerId>, text: String) -> Result<u64, ChatError>;

    /// The lines after number `seq`, oldest first, as far as they are remembered: a reader who missed some asks with the
    /// last number it has.
    async fn since(&self, seq: u64) -> Vec<Line>;
}

/// See [`Chat`].
#[derive(Grain)]
#[grain(implements(Chat))]
pub struct ChatGrain {
    #[state]
    history: Persistent<History>,
}

impl Chat for ChatGrain {
    async fn say(&mut self, from: Option<PlayerId>, text: String) -> Result<u64, ChatError> {
        if text.trim().is_empty() {
            return Err(ChatError::Empty);
        }
        if text.len() > MAX_LINE {
            return Err(ChatError::TooLong);
        }
        let history = &mut *self.history;
        history.last += 1;
        history.lines.push_back(Line { seq: history.last, from, text });
        if history.lines.len() > HISTORY {
            history.lines.pop_front();
        }
        Ok(history.last)
    }

    async fn since(&self, seq: u64) -> Vec<Line> {
        self.history.lines.iter().filter(|line| line.seq > seq).cloned().collect()
    }
}
