//! The least that answers calls over a connection and batches: what the grains are compared with.
//!
//! No addresses, no deadlines, no checksums, no order to keep, no errors: a call is a frame with a number, and its answer a
//! frame with the same number.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use gristmill::prelude::BoxError;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};

use super::frames::{self, Frame};
use super::stage::Peer;
use crate::child;

/// A connection to the bare echo.
#[derive(Clone)]
pub(crate) struct Bare {
    queue: mpsc::UnboundedSender<Frame>,
    waiting: Arc<Mutex<Waiting>>,
}

/// Who waits for an answer, by the number of the frame.
#[derive(Default)]
struct Waiting {
    slots: Vec<Option<oneshot::Sender<(u64, Bytes)>>>,
    free: Vec<usize>,
}

impl Waiting {
    fn enter(&mut self, who: oneshot::Sender<(u64, Bytes)>) -> u64 {
        let place = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        self.slots[place] = Some(who);
        place as u64
    }

    fn leave(&mut self, number: u64) -> Option<oneshot::Sender<(u64, Bytes)>> {
        let place = usize::try_from(number).ok()?;
        let who = self.slots.get_mut(place)?.take()?;
        self.free.push(place);
        Some(who)
    }
}

impl Bare {
    /// Connects; a task reads and a task writes until it is dropped.
    pub(super) async fn connect(address: &str) -> Result<Self, BoxError> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (read, write) = stream.into_split();
        let (queue, frames) = mpsc::unbounded_channel();
        let waiting = Arc::new(Mutex::new(Waiting::default()));
        let answered = waiting.clone();
        tokio::task::spawn(frames::write(frames, write));
        tokio::task::spawn(frames::read(read, move |frame| {
            let who = answered.lock().unwrap_or_else(PoisonError::into_inner).leave(frame.number);
            if let Some(who) = who {
                let _ = who.send((frame.count, frame.body)); // who called may have gone
            }
        }));
        Ok(Self { queue, waiting })
    }
}

impl Peer for Bare {
    const NAME: &'static str = "bare echo";

    async fn echo(&self, body: Bytes) -> (u64, Bytes) {
        let (who, answer) = oneshot::channel();
        let number = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).enter(who);
        let _ = self.queue.send(Frame { number, count: 0, body }); // or no answer comes
        answer.await.expect("the bare echo answers")
    }
}

/// Echoes what comes, by connection: a child's job.
pub(crate) async fn serve() -> Result<(), BoxError> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    child::say(&format!("ready {}", listener.local_addr()?))?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (read, write) = stream.into_split();
        let (queue, frames) = mpsc::unbounded_channel();
        let mut count = 0;
        tokio::task::spawn(frames::write(frames, write));
        tokio::task::spawn(frames::read(read, move |frame| {
            count += 1;
            let _ = queue.send(Frame { count, ..frame }); // or the connection is over
        }));
    }
}
