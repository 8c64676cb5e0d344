//! The bounded queue before a connection. Sending never waits; the writer does.

use std::collections::VecDeque;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::error::{SendError, SendErrorKind};
use super::schedule::{Entry, Released, Schedule};
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
    entries: VecDeque<Entry>,
    phase: Phase,
    next_serial: u64,
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
            entries: VecDeque::new(),
            phase: Phase::Open,
            next_serial: 0,
            messages: 0,
            bytes: 0,
        };
        Self { queue: Mutex::new(queue), max_messages, max_bytes, work: Notify::new() }
    }

    pub(crate) fn try_send(&self, message: Message) -> Result<(), SendError> {
        let refuse = |kind, message| Err(SendError { kind, message: Box::new(message) });
        let encoded = match message.encode() {
            Ok(encoded) => encoded,
            Err(error) => return refuse(error.into(), message),
        };
        let mut queue = self.queue.lock();
        if queue.phase != Phase::Open || matches!(message, Message::Goodbye) {
            return refuse(SendErrorKind::Closed, message);
        }
        if message.is_urgent() {
            if queue.urgent.len() >= MAX_URGENT {
                return refuse(SendErrorKind::Overloaded, message);
            }
            queue.urgent.push_back(encoded);
        } else {
            let over = queue.messages >= self.max_messages || queue.bytes + encoded.len() > self.max_bytes;
            // One message always fits, however large.
            if over && queue.messages > 0 {
                return refuse(SendErrorKind::Overloaded, message);
            }
            queue.messages += 1;
            queue.bytes += encoded.len();
            let serial = queue.next_serial;
            queue.next_serial += 1;
            queue.entries.push_back(Entry { serial, message, encoded });
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

    /// Moves all that waits to the writer.
    pub(crate) fn drain_into(&self, schedule: &mut Schedule) {
        let (urgent, entries) = schedule.queue_mut();
        let mut queue = self.queue.lock();
        urgent.append(&mut queue.urgent);
        if entries.is_empty() {
            std::mem::swap(entries, &mut queue.entries);
        } else {
            entries.append(&mut queue.entries);
        }
    }

    /// The writer put so much into a write.
    pub(crate) fn release(&self, released: Released) {
        let mut queue = self.queue.lock();
        queue.messages = queue.messages.saturating_sub(released.messages);
        queue.bytes = queue.bytes.saturating_sub(released.bytes);
    }

    /// Waits until something waits here: true; or until nothing ever will: false. Cancellation safe.
    pub(crate) async fn work(&self) -> bool {
        loop {
            {
                let queue = self.queue.lock();
                if !queue.urgent.is_empty() || !queue.entries.is_empty() {
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
    pub(crate) fn close(&self) -> VecDeque<Entry> {
        let mut queue = self.queue.lock();
        queue.phase = Phase::Closed;
        queue.messages = 0;
        queue.bytes = 0;
        queue.urgent.clear();
        std::mem::take(&mut queue.entries)
    }
}
