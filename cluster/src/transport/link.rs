//! One connection as its owner sees it.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::error::{LinkError, SendError};
use super::options::Limits;
use super::outbound::Outbound;
use super::wire::Message;
use super::wire::hello::Identity;
use crate::Incarnation;

/// Who opened a link. Requests go over a link that this side dialed; responses return on the link the request came by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// This side.
    Dialed,
    /// The peer.
    Accepted,
}

/// One connection to a peer, or the attempt at one: messages queue from the start, and are sent once it is open.
pub struct Link {
    id: u64,
    direction: Direction,
    expected: Option<Incarnation>,
    peer: OnceLock<Identity>,
    pub(crate) outbound: Outbound,
    pub(crate) ended: CancellationToken,
    /// The same, quicker to read.
    over: AtomicBool,
    why: Mutex<Option<LinkError>>,
    made: Instant,
    /// Microseconds from `made` to the last bytes, plus one; 0 before any.
    received: AtomicU64,
    /// What arrived together has taken long.
    behind: AtomicBool,
    /// What it was when it was last looked at, and how often it was the same since.
    silence: Mutex<(u64, u32)>,
}

impl Link {
    pub(crate) fn new(id: u64, direction: Direction, expected: Option<Incarnation>, limits: &Limits) -> Arc<Self> {
        Arc::new(Self {
            id,
            direction,
            expected,
            peer: OnceLock::new(),
            outbound: Outbound::new(limits.queue_messages, limits.queue_bytes),
            ended: CancellationToken::new(),
            over: AtomicBool::new(false),
            why: Mutex::new(None),
            made: Instant::now(),
            received: AtomicU64::new(0),
            behind: AtomicBool::new(false),
            silence: Mutex::new((0, 0)),
        })
    }

    /// Queues a message. Never waits. Requests to one grain arrive in the order of sends, as do control messages; a small
    /// message may overtake a large one otherwise.
    ///
    /// # Errors
    /// The queue is full, the link has ended or the message is too large. It comes back in the error, and was not sent.
    /// A goodbye is refused as well: [`finish`](Self::finish) says it.
    pub fn try_send(&self, message: Message) -> Result<(), SendError> {
        self.outbound.try_send(message)
    }

    /// Ends the link now. What was not sent is given back to the receiver's `closed`.
    pub fn close(&self) {
        self.end(LinkError::Local);
    }

    /// Takes no more messages, sends those that are queued, says goodbye and ends. A peer that does not read ends it by the
    /// stall timeout; while the receiver's `may_flush` says no it stays, unless it is closed.
    pub fn finish(&self) {
        self.outbound.finish();
    }

    /// Names the link within its network; never reused.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Who opened it.
    pub fn direction(&self) -> Direction {
        self.direction
    }

    /// Who the peer proved to be; `None` before the handshake is over.
    pub fn peer(&self) -> Option<&Identity> {
        self.peer.get()
    }

    /// The peer's incarnation, as far as known: the one that was asked for, or the one that is there.
    pub fn incarnation(&self) -> Option<Incarnation> {
        self.peer.get().map(|peer| peer.incarnation).or(self.expected)
    }

    /// Is the handshake over, and the link not ended?
    pub fn is_open(&self) -> bool {
        self.peer.get().is_some() && !self.is_over()
    }

    /// When bytes last came from the peer. Its host's acknowledgements do not count: a stopped process has those too.
    pub fn last_received(&self) -> Option<Instant> {
        let micros = self.received.load(Ordering::Acquire).checked_sub(1)?;
        Some(self.made + Duration::from_micros(micros))
    }

    /// Has the receiver been busy for some time with messages that arrived together? Then others
    /// should do what is left, if they can.
    pub fn is_behind(&self) -> bool {
        self.behind.load(Ordering::Relaxed)
    }

    pub(crate) fn set_behind(&self, behind: bool) {
        self.behind.store(behind, Ordering::Relaxed);
    }

    /// How many messages wait to be sent, and how many bytes they are.
    pub fn queued(&self) -> (usize, usize) {
        self.outbound.queued()
    }

    pub(crate) fn set_peer(&self, peer: Identity) {
        drop(self.peer.set(peer));
    }

    pub(crate) fn touch(&self) {
        let micros = u64::try_from(self.made.elapsed().as_micros()).unwrap_or(u64::MAX - 1);
        self.received.store(micros + 1, Ordering::Release);
    }

    /// How many looks in a row have found that nothing came. A look that is not allowed to ask counts from anew.
    pub(crate) fn silent_rounds(&self, asks: bool) -> u32 {
        let received = self.received.load(Ordering::Acquire);
        let mut silence = self.silence.lock();
        *silence = if silence.0 == received && asks { (received, silence.1 + 1) } else { (received, 0) };
        silence.1
    }

    /// Was it ended?
    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// Ends the link; the first reason stays.
    pub(crate) fn end(&self, why: LinkError) {
        self.why.lock().get_or_insert(why);
        self.over.store(true, Ordering::Release);
        self.ended.cancel();
    }

    /// Why it was ended by this side.
    pub(crate) fn why(&self) -> LinkError {
        self.why.lock().clone().unwrap_or(LinkError::Local)
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("id", &self.id)
            .field("direction", &self.direction)
            .field("incarnation", &self.incarnation())
            .field("open", &self.is_open())
            .finish_non_exhaustive()
    }
}
