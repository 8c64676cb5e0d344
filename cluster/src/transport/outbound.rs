//! The bounded queue before a connection. Sending never waits; the writer does.

use std::collections::VecDeque;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::error::{SendError, SendErrorKind};
use super::line::Line;
use super::schedule::{Released, Schedule};
use super::wire::{Encoded, Message};

/// How many urgent messages wait at most.
const MAX_URGENT: usize = 64;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Open,
    /// Takes no more; what is in it is sent.
    Finishing,
    Closed,
}

struct Queue {
    urgent: VecDeque<Encoded>,
    line: Line,
    phase: Phase,
    /// How many do not want the writer to be woken yet.
    corks: usize,
    /// Was something queued that the writer was not woken for?
    unheard: bool,
    /// Of all that is not in a write yet, the writer's part included.
    messages: usize,
    bytes: usize,
}

/// The queue of one link.
pub(crate) struct Outbound {
    queue: Mutex<Queue>,
    max_messages: usize,
    max_bytes: usize,
    work: Notify,
}

impl Outbound {
    pub(crate) fn new(max_messages: usize, max_bytes: usize) -> Self {
        let queue = Queue {
            urgent: VecDeque::new(),
            line: Line::default(),
            phase: Phase::Open,
            corks: 0,
            unheard: false,
            messages: 0,
            bytes: 0,
        };
        Self { queue: Mutex::new(queue), max_messages, max_bytes, work: Notify::new() }
    }

    pub(crate) fn try_send(&self, message: Message) -> Result<(), SendError> {
        let refuse = |kind, message| Err(SendError { kind, message: Box::new(message) });
        let mut queue = self.queue.lock();
        if queue.phase != Phase::Open || matches!(message, Message::Goodbye) {
            return refuse(SendErrorKind::Closed, message);
        }
        if message.is_urgent() {
            if queue.urgent.len() >= MAX_URGENT {
                return refuse(SendErrorKind::Overloaded, message);
            }
            match message.encode() {
                Ok(encoded) => queue.urgent.push_back(encoded),
                Err(error) => return refuse(error.into(), message),
            }
        } else {
            // One message always fits, however large.
            let room = match queue.messages {
                0 => usize::MAX,
                some if some < self.max_messages => self.max_bytes.saturating_sub(queue.bytes),
                _ => 0,
            };
            match queue.line.push(&message, room) {
                Ok(Some(size)) => {
                    queue.messages += 1;
                    queue.bytes += size;
                }
                Ok(None) => return refuse(SendErrorKind::Overloaded, message),
                Err(error) => return refuse(error.into(), message),
            }
            if queue.corks > 0 {
                queue.unheard = true;
                return Ok(());
            }
        }
        drop(queue);
        self.work.notify_one();
        Ok(())
    }

    /// Answers a probe. A peer that asks without reading the answers loses some of them.
    pub(crate) fn acknowledge(&self, number: u64) {
        drop(self.try_send(Message::ProbeAck { number }));
    }

    /// Messages and bytes that wait.
    pub(crate) fn queued(&self) -> (usize, usize) {
        let queue = self.queue.lock();
        (queue.messages, queue.bytes)
    }

    /// Does it still take messages?
    pub(crate) fn is_open(&self) -> bool {
        self.queue.lock().phase == Phase::Open
    }

    /// Moves what waits to the writer, once that has nothing left of what it took before.
    pub(crate) fn drain_into(&self, schedule: &mut Schedule) {
        let (urgent, line) = schedule.queue_mut();
        let mut queue = self.queue.lock();
        urgent.append(&mut queue.urgent);
        if line.is_empty() {
            std::mem::swap(line, &mut queue.line);
        }
    }

    /// The writer put so much into a write.
    pub(crate) fn release(&self, released: Released) {
        let mut queue = self.queue.lock();
        queue.messages = queue.messages.saturating_sub(released.messages);
        queue.bytes = queue.bytes.saturating_sub(released.bytes);
    }

    /// While `batch` runs nobody wakes the writer: what is queued meanwhile goes out in one write, after it.
    pub(crate) fn corked<T>(&self, batch: impl FnOnce() -> T) -> T {
        struct Cork<'a>(&'a Outbound);
        impl Drop for Cork<'_> {
            fn drop(&mut self) {
                let mut queue = self.0.queue.lock();
                queue.corks -= 1;
                let wake = queue.corks == 0 && std::mem::take(&mut queue.unheard);
                drop(queue);
                if wake {
                    self.0.work.notify_one();
                }
            }
        }
        self.queue.lock().corks += 1;
        let _cork = Cork(self);
        batch()
    }

    /// Waits until something waits here: true; or until nothing ever will: false. Cancellation safe.
    pub(crate) async fn work(&self) -> bool {
        loop {
            {
                let queue = self.queue.lock();
                if !queue.urgent.is_empty() || !queue.line.is_empty() {
                    return true;
                }
                if queue.phase != Phase::Open {
                    return false;
                }
            }
            self.work.notified().await;
        }
    }

    /// Takes no more; what is in it is still sent.
    pub(crate) fn finish(&self) {
        let mut queue = self.queue.lock();
        if queue.phase == Phase::Open {
            queue.phase = Phase::Finishing;
        }
        drop(queue);
        self.work.notify_one();
    }

    /// Takes no more; gives what is in it. After this every send is refused, so no message is lost between.
    pub(crate) fn close(&self) -> Line {
        let mut queue = self.queue.lock();
        queue.phase = Phase::Closed;
        queue.messages = 0;
        queue.bytes = 0;
        queue.urgent.clear();
        std::mem::take(&mut queue.line)
    }
}
