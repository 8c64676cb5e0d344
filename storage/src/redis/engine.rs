//! The contract over a link: everything that one server and a cluster have in common.

use std::time::Duration;

use gristmill_grains::GrainId;
use gristmill_grains::storage::{Commit, Durability, Fence, Opened, StorageError};
use redis::{RedisResult, Value};
use tokio::time::Instant;

use super::address::Address;
use super::link::Link;
use super::reply::Reply;
use super::restarts::Restarts;
use super::script::{By, Call};
use super::{RedisOptions, error};
use crate::{rules, size};

/// The most bytes of bodies in one pipeline; larger batches are sent in several, one after the other.
const PIPELINE_BYTES: usize = 8 * 1024 * 1024;

/// The most round trips of one operation: by hash, by text, and to ask which process serves.
const ROUND_TRIPS: u32 = 3;

pub(super) struct Engine<L> {
    link: L,
    pub(super) address: Address,
    prefix: String,
    commit_limit: usize,
    response_timeout: Duration,
    /// Do the servers tell which process they are?
    probing: bool,
    pub(super) durability: Durability,
    pub(super) restarts: Restarts,
}

impl<L: Link> Engine<L> {
    pub(super) fn new(link: L, address: Address, durability: Durability, probing: bool, options: RedisOptions) -> Self {
        let RedisOptions { prefix, commit_limit, response_timeout, .. } = options;
        let restarts = Restarts::default();
        Self { link, address, prefix, commit_limit, response_timeout, probing, durability, restarts }
    }

    pub(super) async fn open(&self, grain: &GrainId, fence: Fence) -> Result<Opened, StorageError> {
        let reply = self.call(Call::open(&self.prefix, grain, fence)).await;
        reply.and_then(Reply::opened).map_err(|error| self.address.of_error(of(grain, error)))
    }

    pub(super) async fn commit(&self, batch: &[Commit]) -> Vec<Result<(), StorageError>> {
        // Ok is only what a server has said.
        let unsent = |commit| check(commit, self.commit_limit).and(Err(StorageError::unavailable("not sent")));
        let mut answers: Vec<_> = batch.iter().map(unsent).collect();
        let mut failed = None;
        let begun = Instant::now();
        for pipeline in pipelines(batch, self.commit_limit) {
            let calls: Vec<_> = pipeline.iter().map(|index| Call::commit(&self.prefix, &batch[*index])).collect();
            // One limit of time for the whole batch: after a silence, the rest is not tried. In a cluster it may be another
            // node's, so it is, for as long as one operation may take.
            let alone = self.link.is_one_process();
            let replies = match &failed {
                Some(failure) if alone || begun.elapsed() >= self.response_timeout * ROUND_TRIPS => {
                    calls.iter().map(|_| Err(StorageError::clone(failure))).collect()
                }
                _ => self.calls(&calls).await,
            };
            for (index, reply) in pipeline.into_iter().zip(replies) {
                let done =
                    reply.and_then(|reply| reply.outcome).map(drop).map_err(|error| of(&batch[index].grain, error));
                failed = failed.or_else(|| done.clone().err().filter(|error| !error.is_definite()));
                answers[index] = done;
            }
        }
        answers.into_iter().map(|answer| answer.map_err(|error| self.address.of_error(error))).collect()
    }

    pub(super) async fn begin_run(&self, floor: u64) -> Result<u64, StorageError> {
        self.number(Call::begin_run(&self.prefix, floor)).await
    }

    pub(super) async fn run(&self) -> Result<u64, StorageError> {
        self.number(Call::run(&self.prefix)).await
    }

    async fn number(&self, call: Call<'_>) -> Result<u64, StorageError> {
        self.call(call).await.and_then(Reply::number).map_err(|error| self.address.of_error(error))
    }

    async fn call(&self, call: Call<'_>) -> Result<Reply, StorageError> {
        let mut replies = self.calls(&[call]).await;
        replies.pop().unwrap_or_else(|| Err(StorageError::unavailable("no answer")))
    }

    /// Runs the calls in one pipeline. What a server refuses because it has forgotten the script (it was restarted, or
    /// flushed) is sent once more with the script's text; the rest is not.
    async fn calls(&self, calls: &[Call<'_>]) -> Vec<Result<Reply, StorageError>> {
        let every: Vec<_> = calls.iter().collect();
        let mut answers = self.send(&every, By::Hash).await;
        let forgotten = |index: &usize| answers[*index].as_ref().is_err_and(error::is_noscript);
        let again: Vec<_> = (0..calls.len()).filter(forgotten).collect();
        if !again.is_empty() {
            let calls: Vec<_> = again.iter().map(|index| &calls[*index]).collect();
            let second = self.send(&calls, By::Text).await;
            again.into_iter().zip(second).for_each(|(index, answer)| answers[index] = answer);
        }
        let replies: Vec<_> = calls.iter().zip(answers).map(|(call, answer)| self.reply(call, answer)).collect();
        let mut answered = replies.iter().flatten().peekable();
        if self.probing && answered.peek().is_some() && answered.all(|reply| reply.run_id.is_none()) {
            // The call that should have asked failed by itself: ask before the others' answers are believed.
            let ask = Call::run(&self.prefix);
            for answer in self.send(&[&ask], By::Text).await {
                if let Err(error) = self.reply(&ask, answer) {
                    return calls.iter().map(|_| Err(error.clone())).collect();
                }
            }
        }
        replies
    }

    async fn send(&self, calls: &[&Call<'_>], by: By) -> Vec<RedisResult<Value>> {
        let commands = calls.iter().enumerate();
        let commands =
            commands.map(|(index, call)| call.command(by, self.probing && self.link.probes(index))).collect();
        self.link.send(commands, self.response_timeout).await
    }

    /// Takes an answer apart. Another process is told of before anyone gets to see what it answered.
    fn reply(&self, call: &Call<'_>, answer: RedisResult<Value>) -> Result<Reply, StorageError> {
        let failed = |error| {
            if error::is_demoted(&error) {
                self.restarts.doubt(self.link.shard(&call.key));
            }
            error::in_operation(&error)
        };
        let reply = Reply::parse(answer.map_err(failed)?)?;
        match &reply.run_id {
            Some(run_id) => self.restarts.saw(self.link.shard(&call.key), run_id),
            None if !self.probing && call.writes() && reply.outcome.is_ok() => {
                self.restarts.took_a_write(self.link.shard(&call.key));
            }
            None => {}
        }
        Ok(reply)
    }
}

/// Refuses a commit that need not be sent.
fn check(commit: &Commit, limit: usize) -> Result<(), StorageError> {
    rules::check(commit).and_then(|()| size::check(commit, limit))
}

/// Cuts the commits that can be sent into pipelines, by size.
fn pipelines(batch: &[Commit], commit_limit: usize) -> Vec<Vec<usize>> {
    let mut pipelines: Vec<Vec<usize>> = Vec::new();
    let mut room = 0;
    let takes = |commit: &Commit| check(commit, commit_limit).is_ok();
    for (index, commit) in batch.iter().enumerate().filter(|(_, commit)| takes(commit)) {
        let size = size::body_bytes(commit);
        match pipelines.last_mut() {
            Some(last) if size <= room => last.push(index),
            _ => {
                pipelines.push(vec![index]);
                room = PIPELINE_BYTES;
            }
        }
        room = room.saturating_sub(size);
    }
    pipelines
}

/// Says which grain cannot be read.
fn of(grain: &GrainId, error: StorageError) -> StorageError {
    match error {
        StorageError::Unreadable { detail } => StorageError::Unreadable { detail: format!("{grain}: {detail}") },
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use parking_lot::Mutex;
    use redis::{Cmd, make_extension_error};

    use super::*;

    /// A server that does not tell its run id, and the answers it is to give.
    #[derive(Default)]
    struct Silent {
        sent: Mutex<Vec<Vec<u8>>>,
        answers: Mutex<Vec<RedisResult<Value>>>,
    }

    #[async_trait]
    impl Link for Silent {
        async fn send(&self, commands: Vec<Cmd>, _limit: Duration) -> Vec<RedisResult<Value>> {
            self.sent.lock().extend(commands.iter().map(Cmd::get_packed_command));
            commands.iter().map(|_| self.answers.lock().remove(0)).collect()
        }

        async fn ask_all(&self, _command: Cmd) -> RedisResult<Vec<Value>> {
            Ok(Vec::new())
        }

        fn shard(&self, _key: &str) -> u16 {
            0
        }

        fn is_one_process(&self) -> bool {
            true
        }

        fn probes(&self, index: usize) -> bool {
            index == 0
        }
    }

    fn number(number: &str) -> RedisResult<Value> {
        Ok(Value::Array(["", "ok", number].map(|item| Value::BulkString(item.into())).to_vec()))
    }

    #[tokio::test]
    async fn server_without_a_run_id_is_not_asked_for_it_and_its_demotion_is_noticed() {
        let (link, address) = (Silent::default(), Address::of_server("redis://127.0.0.1:6379").unwrap());
        let read_only = make_extension_error("READONLY".to_owned(), None);
        *link.answers.lock() = vec![number("1"), Err(read_only), number("1"), number("2"), number("3")];
        let engine = Engine::new(link, address, Durability::Memory, false, RedisOptions::default());
        assert_eq!(engine.begin_run(0).await, Ok(1));
        assert!(engine.begin_run(0).await.is_err());
        assert_eq!(engine.run().await, Ok(1));
        assert_eq!(*engine.restarts.subscribe().borrow(), 0, "a replica, too, can be read");
        assert_eq!((engine.begin_run(0).await, engine.begin_run(0).await), (Ok(2), Ok(3)));
        assert_eq!(*engine.restarts.subscribe().borrow(), 1);
        assert_eq!(engine.link.sent.lock().len(), 5, "one command for each");
    }
}
