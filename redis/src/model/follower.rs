//! A copy that lags: the file of a server, or its replica.

use std::collections::VecDeque;

use super::Command;
use super::commands;
use super::keyspace::Keyspace;

/// What it has, and what it has not got yet.
#[derive(Debug, Default)]
pub(super) struct Follower {
    keys: Keyspace,
    /// What each command wrote. A script's writes are one transaction: all of them are got, or none.
    behind: VecDeque<(u64, Vec<Command>)>,
}

impl Follower {
    pub(super) fn of(keys: &Keyspace) -> Self {
        Self { keys: keys.clone(), behind: VecDeque::new() }
    }

    pub(super) fn wrote(&mut self, now: u64, commands: Vec<Command>) {
        self.behind.push_back((now, commands));
    }

    pub(super) fn behind(&self) -> usize {
        self.behind.len()
    }

    pub(super) fn catch_up(&mut self, writes: usize) {
        let writes = writes.min(self.behind.len());
        for (now, commands) in self.behind.drain(..writes) {
            for command in commands {
                // It succeeded on the original, so it does here.
                drop(commands::run(&mut self.keys, &command, now));
            }
        }
    }

    pub(super) fn take(&mut self) -> Keyspace {
        std::mem::take(self).keys
    }
}
