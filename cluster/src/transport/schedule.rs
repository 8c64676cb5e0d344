//! In which order messages become frames. Pure: no I/O, no waiting.
//!
//! Small messages go in the order they came. A large one is cut and shares the stream with what came after it, except
//! with messages that must not overtake it: requests to the same grain, control messages among themselves, and its own
//! cancellation. Those wait in its *lane*.

use std::collections::{BTreeMap, VecDeque};

use bytes::BytesMut;
use gristmill_grains::GrainId;

use super::line::{Line, Next};
use super::wire::frame::{FrameEncoder, LAST, PART};
use super::wire::{Encoded, Message};

/// A message above this is cut, into parts of this size.
pub(crate) const PART_SIZE: usize = 32 * 1024;
/// How much goes into one write, about.
pub(crate) const BATCH: usize = 64 * 1024;
/// How many large messages are under way at a time. The receiver takes 16.
const ACTIVE_LANES: usize = 4;

/// A message in a lane.
struct Entry {
    /// Its place in the order of sends.
    serial: u64,
    /// The number of the call, if it is one.
    request: Option<u64>,
    encoded: Encoded,
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

impl Released {
    fn add(&mut self, bytes: usize) {
        self.messages += 1;
        self.bytes += bytes;
    }
}

/// The messages of one link that the writer has taken over.
#[derive(Default)]
pub(crate) struct Schedule {
    urgent: VecDeque<Encoded>,
    line: Line,
    /// Messages that went into lanes.
    deferred: u64,
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
        self.urgent.is_empty() && self.line.is_empty() && self.lanes.is_empty()
    }

    pub(crate) fn queue_mut(&mut self) -> (&mut VecDeque<Encoded>, &mut Line) {
        (&mut self.urgent, &mut self.line)
    }

    /// Appends the next frames to `out`, about [`BATCH`] bytes: what is urgent, then small messages, then one turn of one
    /// lane. So a small message waits for at most one part of a large one per batch.
    pub(crate) fn compose(&mut self, out: &mut BytesMut) -> Released {
        let mut released = Released::default();
        while let Some(encoded) = self.urgent.pop_front() {
            self.encoder.put(out, encoded.kind, 0, &[&encoded.head]);
        }
        while out.len() < if self.lanes.is_empty() { BATCH } else { BATCH - PART_SIZE } {
            let Some(next) = self.line.next() else { break };
            match next {
                Next::Small { kind, payload } if self.lanes.is_empty() => {
                    self.encoder.put(out, kind, 0, &[payload]);
                    released.add(payload.len());
                }
                next => {
                    let encoded = next.into_encoded();
                    self.put_or_defer(encoded, out, &mut released);
                }
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
    pub(crate) fn into_unsent(self, queued: Line) -> Vec<Message> {
        let mut deferred: Vec<_> = self.lanes.into_values().flat_map(|lane| lane.entries).collect();
        deferred.sort_unstable_by_key(|entry| entry.serial);
        let mut unsent: Vec<_> = deferred.into_iter().filter_map(|entry| decoded(&entry.encoded)).collect();
        for mut line in [self.line, queued] {
            while let Some(next) = line.next() {
                unsent.extend(decoded(&next.into_encoded()));
            }
        }
        unsent
    }

    /// The lane that the message belongs in, if it is large or must wait for a large one.
    fn lane_of(&self, message: &Message, large: bool) -> Option<LaneKey> {
        let key = match message {
            Message::Request(request) => LaneKey::Grain(request.target.clone()),
            Message::Cancel { correlation } => LaneKey::Grain(self.requests.get(correlation)?.clone()),
            Message::Control(_) => LaneKey::Control,
            Message::ControlReply(reply) => LaneKey::ControlReply(reply.correlation),
            Message::Response(response) => LaneKey::Response(response.correlation),
            _ => return None,
        };
        (large || self.lanes.contains_key(&key)).then_some(key)
    }

    /// A message that is large, or comes while a large one is under way.
    fn put_or_defer(&mut self, encoded: Encoded, out: &mut BytesMut, released: &mut Released) {
        // Its head has all that matters here.
        let message = Message::decode(encoded.kind, encoded.head.clone()).ok();
        let key = message.as_ref().and_then(|message| self.lane_of(message, encoded.len() > PART_SIZE));
        let Some(key) = key else { return self.put_whole(&encoded, out, released) };
        let request = match message {
            Some(Message::Request(request)) => {
                self.requests.insert(request.correlation, request.target);
                Some(request.correlation)
            }
            _ => None,
        };
        self.deferred += 1;
        self.defer(key, Entry { serial: self.deferred, request, encoded });
    }

    fn defer(&mut self, key: LaneKey, entry: Entry) {
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

    fn put_whole(&mut self, encoded: &Encoded, out: &mut BytesMut, released: &mut Released) {
        self.encoder.put(out, encoded.kind, 0, &[&encoded.head, &encoded.body]);
        released.add(encoded.len());
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
                released.add(entry.encoded.len());
                lane.entries.pop_front().and_then(|sent| sent.request).map(|sent| self.requests.remove(&sent));
            } else if let Some(entry) = lane.entries.pop_front() {
                entry.request.map(|sent| self.requests.remove(&sent));
                self.put_whole(&entry.encoded, out, released);
            }
        }
    }
}

fn decoded(encoded: &Encoded) -> Option<Message> {
    Message::decode(encoded.kind, encoded.to_bytes()).ok() // it was encoded here
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
