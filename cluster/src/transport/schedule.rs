//! In which order messages become frames. Pure: no I/O, no waiting.
//!
//! Small messages go in the order they came. A large one is cut and shares the stream with what came after it, except
//! with messages that must not overtake it: requests to the same grain, control messages among themselves, and its own
//! cancellation. Those wait in its *lane*.

use std::collections::{BTreeMap, VecDeque};

use bytes::BytesMut;
use gristmill_grains::GrainId;

use super::wire::frame::{FrameEncoder, LAST, PART};
use super::wire::{Encoded, Message};

/// A message above this is cut, into parts of this size.
pub(crate) const PART_SIZE: usize = 32 * 1024;
/// How much goes into one write, about.
pub(crate) const BATCH: usize = 64 * 1024;
/// How many large messages are under way at a time. The receiver takes 16.
const ACTIVE_LANES: usize = 4;

/// A message that waits to be sent.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Its place in the order of sends.
    pub(crate) serial: u64,
    pub(crate) message: Message,
    pub(crate) encoded: Encoded,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum LaneKey {
    Grain(GrainId),
    Control,
    ControlReply(u64),
    Response(u64),
}

/// A large message, and what must not overtake it.
struct Lane {
    entries: VecDeque<Entry>,
    /// How far the first one is sent.
    offset: usize,
    /// The number of its parts.
    id: u32,
}

/// How much of a queue was made into frames.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Released {
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
}

/// The messages of one link that the writer has taken over.
#[derive(Default)]
pub(crate) struct Schedule {
    urgent: VecDeque<Encoded>,
    queue: VecDeque<Entry>,
    lanes: BTreeMap<LaneKey, Lane>,
    /// The lanes; the first few take turns.
    rotation: VecDeque<LaneKey>,
    /// The lanes of requests, for their cancellations.
    requests: BTreeMap<u64, GrainId>,
    next_id: u32,
    encoder: FrameEncoder,
}

impl Schedule {
    pub(crate) fn is_empty(&self) -> bool {
        self.urgent.is_empty() && self.queue.is_empty() && self.lanes.is_empty()
    }

    pub(crate) fn queue_mut(&mut self) -> (&mut VecDeque<Encoded>, &mut VecDeque<Entry>) {
        (&mut self.urgent, &mut self.queue)
    }

    /// Appends the next frames to `out`, about [`BATCH`] bytes: what is urgent, then small messages, then one turn of one
    /// lane. So a small message waits for at most one part of a large one per batch.
    pub(crate) fn compose(&mut self, out: &mut BytesMut) -> Released {
        let mut released = Released::default();
        while let Some(encoded) = self.urgent.pop_front() {
            self.encoder.put(out, encoded.kind, 0, &[&encoded.head]);
        }
        while out.len() < if self.lanes.is_empty() { BATCH } else { BATCH - PART_SIZE } {
            let Some(entry) = self.queue.pop_front() else { break };
            match self.lane_of(&entry) {
                Some(key) => self.defer(key, entry),
                None => self.put_whole(entry, out, &mut released),
            }
        }
        if let Some(key) = self.rotation.pop_front() {
            if self.take_turn(&key, out, &mut released) {
                let place = self.rotation.len().min(ACTIVE_LANES - 1);
                self.rotation.insert(place, key);
            } else {
                self.lanes.remove(&key);
            }
        }
        released
    }

    pub(crate) fn put_goodbye(&mut self, out: &mut BytesMut) {
        self.encoder.put(out, Message::Goodbye.kind(), 0, &[]);
    }

    /// What was not sent, or not to its end, in the order of sends.
    pub(crate) fn into_unsent(self) -> Vec<Entry> {
        let mut unsent: Vec<Entry> = self.queue.into();
        unsent.extend(self.lanes.into_values().flat_map(|lane| lane.entries));
        unsent.sort_unstable_by_key(|entry| entry.serial);
        unsent
    }

    /// The lane that the message belongs in, if it is large or must wait for a large one.
    fn lane_of(&self, entry: &Entry) -> Option<LaneKey> {
        let large = entry.encoded.len() > PART_SIZE;
        if !large && self.lanes.is_empty() {
            return None;
        }
        let key = match &entry.message {
            Message::Request(request) => LaneKey::Grain(request.target.clone()),
            Message::Cancel { correlation } => LaneKey::Grain(self.requests.get(correlation)?.clone()),
            Message::Control(_) => LaneKey::Control,
            Message::ControlReply(reply) => LaneKey::ControlReply(reply.correlation),
            Message::Response(response) => LaneKey::Response(response.correlation),
            _ => return None,
        };
        (large || self.lanes.contains_key(&key)).then_some(key)
    }

    fn defer(&mut self, key: LaneKey, entry: Entry) {
        if let Message::Request(request) = &entry.message {
            self.requests.insert(request.correlation, request.target.clone());
        }
        if let Some(lane) = self.lanes.get_mut(&key) {
            lane.entries.push_back(entry);
            return;
        }
        let id = self.new_id();
        self.lanes.insert(key.clone(), Lane { entries: VecDeque::from([entry]), offset: 0, id });
        self.rotation.push_back(key);
    }

    fn new_id(&mut self) -> u32 {
        self.next_id = self.next_id.wrapping_add(1);
        self.next_id
    }

    fn put_whole(&mut self, entry: Entry, out: &mut BytesMut, released: &mut Released) {
        let Encoded { kind, head, body } = &entry.encoded;
        self.encoder.put(out, *kind, 0, &[head, body]);
        released.messages += 1;
        released.bytes += entry.encoded.len();
    }

    /// Sends about one part's worth of the lane; is anything left in it?
    fn take_turn(&mut self, key: &LaneKey, out: &mut BytesMut, released: &mut Released) -> bool {
        let end = out.len() + PART_SIZE;
        loop {
            let id = self.new_id();
            let Some(lane) = self.lanes.get_mut(key) else { return false };
            let Some(entry) = lane.entries.front() else { return false };
            if out.len() >= end {
                return true;
            }
            if entry.encoded.len() > PART_SIZE {
                let done = put_part(&mut self.encoder, entry, lane.id, &mut lane.offset, out);
                if !done {
                    return true;
                }
                lane.offset = 0;
                lane.id = id;
                released.messages += 1;
                released.bytes += entry.encoded.len();
                self.forget(key);
            } else if let Some(entry) = lane.entries.pop_front() {
                if let Message::Request(request) = &entry.message {
                    self.requests.remove(&request.correlation);
                }
                self.put_whole(entry, out, released);
            }
        }
    }

    /// The first of a lane was sent.
    fn forget(&mut self, key: &LaneKey) {
        let sent = self.lanes.get_mut(key).and_then(|lane| lane.entries.pop_front());
        if let Some(Entry { message: Message::Request(request), .. }) = sent {
            self.requests.remove(&request.correlation);
        }
    }
}

/// Sends the next part of a large message; was it the last?
fn put_part(encoder: &mut FrameEncoder, entry: &Entry, id: u32, offset: &mut usize, out: &mut BytesMut) -> bool {
    let Encoded { kind, head, body } = &entry.encoded;
    let end = entry.encoded.len().min(*offset + PART_SIZE);
    let from_head = head.get(*offset..end.min(head.len())).unwrap_or_default();
    let from_body = body.get(offset.saturating_sub(head.len())..end.saturating_sub(head.len())).unwrap_or_default();
    let last = end == entry.encoded.len();
    let flags = if last { PART | LAST } else { PART };
    encoder.put(out, *kind, flags, &[&id.to_le_bytes(), from_head, from_body]);
    *offset = end;
    last
}
