//! The two halves of an open connection: one reads, one writes, and when either ends, both do.

use std::convert::Infallible;
use std::sync::{Arc, Weak};
use std::task::Poll;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::error::LinkError;
use super::keepalive::KEEPALIVE;
use super::link::Link;
use super::net::Stream;
use super::options::{Limits, Receiver};
use super::schedule::{BATCH, Schedule};
use super::wire::frame::{FrameDecoder, HEADER, MAX_PAYLOAD};
use super::wire::{Message, Reassembly};

/// How often a closed gate is asked again.
const GATE_INTERVAL: Duration = Duration::from_millis(100);
/// How many messages that came together are taken before others may use the thread. So what they led to leaves, and the
/// other side has something to do, while this one takes the rest.
const AT_ONCE: usize = 128;
/// After how many it is looked at the time.
const LOOK: usize = 16;
/// How long messages that arrived together keep the receiver busy before it is behind.
const INLINE: Duration = Duration::from_millis(1);
/// How long a failed write waits for what the reader knows: a goodbye may be in the buffer.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// What a connection needs of its network.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) handle: Handle,
    /// Whoever runs the network, which does not keep it alive.
    pub(crate) receiver: Weak<dyn Receiver>,
    pub(crate) flush: Arc<Notify>,
    pub(crate) limits: Arc<Limits>,
}

/// Runs an open connection to its end. What was not sent is left in `schedule` and in the link's queue.
pub(crate) async fn run(
    context: &Context,
    link: &Arc<Link>,
    stream: Box<dyn Stream>,
    schedule: &mut Schedule,
) -> LinkError {
    let (read, write) = tokio::io::split(stream);
    let reading = Reading { link: link.clone(), receiver: context.receiver.clone(), limits: context.limits.clone() };
    let mut reader = context.handle.spawn(reading.run(read));
    let mut read_ended = None;
    let why = {
        let writing = Writing { link, context, schedule, buffer: BytesMut::new() };
        tokio::select! {
            biased;
            () = link.ended.cancelled() => link.why(),
            ended = writing.run(write) => {
                let (patience, otherwise) = match ended {
                    Ok(()) => (context.limits.goodbye_timeout, LinkError::Local),
                    Err(why) => (LAST_WORDS, why),
                };
                match (timeout(patience, &mut reader).await, otherwise) {
                    // After our own goodbye the stream is expected to end.
                    (Ok(result), LinkError::Local) => { read_ended = Some(result); LinkError::Local }
                    (Ok(Ok(why)), _) => { read_ended = Some(Ok(why.clone())); why }
                    (Ok(Err(panic)), otherwise) => { read_ended = Some(Err(panic)); otherwise }
                    (Err(_), otherwise) => otherwise,
                }
            }
            result = &mut reader => {
                let why = result.as_ref().map_or(LinkError::Receiver, LinkError::clone);
                read_ended = Some(result);
                why
            }
        }
    };
    // Nothing is read after `closed`: whatever the reader is doing ends first.
    link.end(why.clone());
    if read_ended.is_none() {
        reader.abort();
        drop(reader.await);
    }
    why
}

/// Lets the tasks run that wait for this thread.
async fn after_others() {
    let mut first = true;
    std::future::poll_fn(|cx| {
        if std::mem::take(&mut first) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(())
    })
    .await;
}

struct Reading {
    link: Arc<Link>,
    receiver: Weak<dyn Receiver>,
    limits: Arc<Limits>,
}

impl Reading {
    async fn run(self, mut read: impl AsyncRead + Unpin) -> LinkError {
        match self.read_all(&mut read).await {
            Ok(never) => match never {},
            Err(why) => why,
        }
    }

    async fn read_all(&self, read: &mut (impl AsyncRead + Unpin)) -> Result<Infallible, LinkError> {
        let (mut decoder, mut reassembly) = (FrameDecoder::default(), Reassembly::default());
        let mut buffer = BytesMut::new();
        // When the first byte of what is in the buffer came, or its last frame was whole.
        let mut begun = Instant::now();
        loop {
            if buffer.capacity() - buffer.len() < MAX_PAYLOAD / 4 {
                buffer.reserve(HEADER + MAX_PAYLOAD);
            }
            let is_within_frame = !buffer.is_empty();
            let more = read.read_buf(&mut buffer);
            let count = if is_within_frame {
                timeout_at(begun + self.limits.frame_timeout, more).await.map_err(|_| LinkError::Stalled)?
            } else if reassembly.incomplete() > 0 {
                timeout(self.limits.stall_timeout, more).await.map_err(|_| LinkError::Stalled)?
            } else {
                more.await
            };
            if count.map_err(|error| LinkError::of_open(&error))? == 0 {
                return Err(LinkError::Closed);
            }
            self.link.touch();
            let (arrived, unread) = (Instant::now(), buffer.len());
            self.link.set_behind(false);
            while !self.link.outbound.corked(|| self.take(&mut buffer, &mut decoder, &mut reassembly, arrived))? {
                after_others().await;
            }
            if !is_within_frame || buffer.len() < unread {
                begun = arrived;
            }
        }
    }

    /// Takes some of the messages in the buffer; were they all?
    fn take(
        &self,
        buffer: &mut BytesMut,
        decoder: &mut FrameDecoder,
        reassembly: &mut Reassembly,
        arrived: Instant,
    ) -> Result<bool, LinkError> {
        let receiver = self.receiver.upgrade().ok_or(LinkError::Stopped)?;
        for number in 0..AT_ONCE {
            if number % LOOK == 0 && arrived.elapsed() > INLINE {
                self.link.set_behind(true);
            }
            let Some(frame) = decoder.next(buffer)? else { return Ok(true) };
            let Some((kind, bytes)) = reassembly.push(frame)? else { continue };
            let message = Message::decode(kind, bytes)?;
            // What a dead peer sent is dropped unread.
            if self.link.is_over() {
                return Err(self.link.why());
            }
            match message {
                Message::Probe { number } => self.link.outbound.acknowledge(number),
                Message::ProbeAck { number: KEEPALIVE } => {}
                Message::Goodbye => return Err(LinkError::Goodbye),
                message => receiver.message(&self.link, message),
            }
        }
        Ok(false)
    }
}

struct Writing<'a> {
    link: &'a Link,
    context: &'a Context,
    schedule: &'a mut Schedule,
    buffer: BytesMut,
}

impl Writing<'_> {
    /// Writes until the link finishes. What is put into the buffer may have left; what is not, has not.
    async fn run(mut self, mut write: impl AsyncWrite + Unpin) -> Result<(), LinkError> {
        let mut written = 0;
        loop {
            let more = !self.schedule.is_empty() || self.link.outbound.work().await;
            if written > 1 {
                // There are many who send: those whose turn it is come first, so that one write takes what they send.
                after_others().await;
            }
            while !self.context.receiver.upgrade().ok_or(LinkError::Stopped)?.may_flush() {
                tokio::select! {
                    biased;
                    () = self.context.flush.notified() => {}
                    () = sleep(GATE_INTERVAL) => {}
                }
            }
            self.buffer.clear();
            if more {
                self.link.outbound.drain_into(self.schedule);
                let released = self.schedule.compose(&mut self.buffer);
                self.link.outbound.release(released);
                written = released.messages;
            } else {
                self.schedule.put_goodbye(&mut self.buffer);
            }
            self.write(&mut write).await?;
            if !more {
                return self.in_time(write.shutdown()).await;
            }
            if self.buffer.capacity() > 4 * BATCH {
                self.buffer = BytesMut::new();
            }
        }
    }

    async fn write(&mut self, write: &mut (impl AsyncWrite + Unpin)) -> Result<(), LinkError> {
        let mut rest = &self.buffer[..];
        while !rest.is_empty() {
            let count = self.in_time(write.write(rest)).await?;
            if count == 0 {
                return Err(LinkError::Closed);
            }
            rest = rest.get(count..).unwrap_or_default();
        }
        self.in_time(write.flush()).await
    }

    async fn in_time<T>(&self, io: impl Future<Output = std::io::Result<T>>) -> Result<T, LinkError> {
        let done = timeout(self.context.limits.stall_timeout, io).await.map_err(|_| LinkError::Stalled)?;
        done.map_err(|error| LinkError::of_open(&error))
    }
}
