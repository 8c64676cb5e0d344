//! The network as a host sees it: the transport's own code runs over it.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use async_trait::async_trait;
use bytes::{Buf, Bytes, BytesMut};
use gristmill_cluster::transport::{Listener, Net, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::weather::Path;
use super::world::{Attempt, HostId, Listening, Packet, Pipe, Standing, State, WINDOW, World};

/// How many streams wait to be accepted.
const BACKLOG: usize = 1_024;

/// The network as one host sees it.
pub(crate) struct SimNet {
    pub(crate) world: Arc<World>,
    pub(crate) host: HostId,
}

/// One end of a connection.
pub(crate) struct SimStream {
    world: Arc<World>,
    read: u64,
    write: u64,
}

struct SimListener {
    world: Arc<World>,
    address: String,
    id: u64,
}

/// An attempt that is taken back when it is given up.
struct Trying {
    world: Arc<World>,
    attempt: u64,
}

impl Drop for Trying {
    fn drop(&mut self) {
        let mut state = self.world.0.lock();
        let attempt = state.attempts.remove(&self.attempt);
        if let Some(Ok((read, write))) = attempt.and_then(|attempt| attempt.outcome) {
            state.hang_up(read, write);
        }
    }
}

#[async_trait]
impl Net for SimNet {
    async fn connect(&self, address: &str) -> io::Result<Box<dyn Stream>> {
        let trying = self
            .world
            .0
            .lock()
            .knock(self.host, address)
            .map(|attempt| Trying { world: self.world.clone(), attempt })?;
        let (read, write) = poll_fn(|cx| {
            let mut state = self.world.0.lock();
            let Some(attempt) = state.attempts.get_mut(&trying.attempt) else {
                return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
            };
            match attempt.outcome.take() {
                Some(outcome) => Poll::Ready(outcome),
                None => {
                    attempt.waker = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await?;
        Ok(Box::new(SimStream { world: self.world.clone(), read, write }))
    }

    async fn bind(&self, address: &str) -> io::Result<Box<dyn Listener>> {
        let mut state = self.world.0.lock();
        if state.listeners.contains_key(address) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        let id = state.number();
        let listening = Listening { host: self.host, id, arrived: Vec::new(), waker: None };
        state.listeners.insert(address.to_owned(), listening);
        Ok(Box::new(SimListener { world: self.world.clone(), address: address.to_owned(), id }))
    }
}

#[async_trait]
impl Listener for SimListener {
    async fn accept(&self) -> io::Result<(Box<dyn Stream>, String)> {
        let (read, write) = poll_fn(|cx| {
            let mut state = self.world.0.lock();
            match state.listeners.get_mut(&self.address).filter(|listening| listening.id == self.id) {
                Some(listening) if !listening.arrived.is_empty() => Poll::Ready(listening.arrived.remove(0)),
                Some(listening) => {
                    listening.waker = Some(cx.waker().clone());
                    Poll::Pending
                }
                None => Poll::Pending, // the host is gone, and this with it
            }
        })
        .await;
        let from = {
            let state = self.world.0.lock();
            state.pipes.get(&read).map(|pipe| state.name(pipe.from).to_owned()).unwrap_or_default()
        };
        Ok((Box::new(SimStream { world: self.world.clone(), read, write }), from))
    }

    fn local_address(&self) -> String {
        self.address.clone()
    }

    fn is_loopback(&self) -> bool {
        true
    }
}

impl Drop for SimListener {
    fn drop(&mut self) {
        let mut state = self.world.0.lock();
        if state.listeners.get(&self.address).is_some_and(|listening| listening.id == self.id) {
            let listening = state.listeners.remove(&self.address);
            for (read, write) in listening.into_iter().flat_map(|listening| listening.arrived) {
                state.hang_up(read, write);
            }
        }
    }
}

fn reset<T>() -> Poll<io::Result<T>> {
    Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
}

impl AsyncRead for SimStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut state = self.world.0.lock();
        let Some(pipe) = state.pipes.get_mut(&self.read) else { return reset() };
        if pipe.reset_reader {
            return reset();
        }
        if pipe.inbox.is_empty() && !pipe.ended {
            pipe.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let count = pipe.inbox.len().min(out.remaining());
        out.put_slice(&pipe.inbox[..count]);
        pipe.inbox.advance(count);
        if let Some(writer) = pipe.writer.take() {
            writer.wake();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for SimStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut state = self.world.0.lock();
        let Some(pipe) = state.pipes.get_mut(&self.write) else { return reset() };
        if pipe.reset_writer {
            return reset();
        }
        let count = bytes.len().min(WINDOW.saturating_sub(pipe.inbox.len() + pipe.under_way));
        if count == 0 && !bytes.is_empty() {
            pipe.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let (from, to) = (pipe.from, pipe.to);
        pipe.under_way += count;
        if !pipe.black && state.standing(from) == Standing::Up {
            let bytes = Bytes::copy_from_slice(&bytes[..count]);
            state.send(from, to, Packet::Bytes { pipe: self.write, bytes });
        }
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.world.0.lock().end_pipe(self.write);
        Poll::Ready(Ok(()))
    }
}

impl Drop for SimStream {
    fn drop(&mut self) {
        self.world.0.lock().hang_up(self.read, self.write);
    }
}

impl State {
    fn knock(&mut self, from: HostId, address: &str) -> io::Result<u64> {
        let name = address.rsplit_once(':').map_or(address, |(name, _)| name);
        let to = self.host_named(name).ok_or(io::ErrorKind::NotFound)?;
        let attempt = self.number();
        self.attempts.insert(attempt, Attempt { outcome: None, waker: None });
        self.send(from, to, Packet::Knock { attempt, address: address.to_owned() });
        Ok(attempt)
    }

    /// The writer writes no more.
    fn end_pipe(&mut self, id: u64) {
        let Some(pipe) = self.pipes.get_mut(&id).filter(|pipe| !pipe.writer_gone) else { return };
        pipe.writer_gone = true;
        let (from, to, black) = (pipe.from, pipe.to, pipe.black);
        if !black && self.standing(from) == Standing::Up {
            self.send(from, to, Packet::End { pipe: id });
        }
    }

    /// One end of a connection is dropped.
    fn hang_up(&mut self, read: u64, write: u64) {
        self.end_pipe(write);
        if let Some(pipe) = self.pipes.get_mut(&read) {
            pipe.reader_gone = true;
            pipe.inbox.clear();
            pipe.wake();
        }
        for id in [read, write] {
            // The last of the two ends takes the pipe with it; what is under way to it arrives nowhere.
            if self.pipes.get(&id).is_some_and(|pipe| pipe.reader_gone && pipe.writer_gone) {
                self.pipes.remove(&id);
            }
        }
    }

    fn pipe(&mut self, from: HostId, to: HostId) -> u64 {
        let id = self.number();
        let pipe = Pipe {
            from,
            to,
            inbox: BytesMut::new(),
            under_way: 0,
            ended: false,
            reset_reader: false,
            reset_writer: false,
            black: false,
            reader_gone: false,
            writer_gone: false,
            reader: None,
            writer: None,
            last: 0,
        };
        self.pipes.insert(id, pipe);
        id
    }

    pub(super) fn arrive_at_host(&mut self, path: Path, from: HostId, to: HostId, packet: Packet) {
        match packet {
            Packet::Bytes { pipe: id, bytes } => {
                let flip = path.corrupt.then(|| self.rng.usize(..bytes.len() * 8));
                let Some(pipe) = self.pipes.get_mut(&id) else { return };
                if pipe.black {
                    return;
                }
                pipe.under_way = pipe.under_way.saturating_sub(bytes.len());
                if pipe.reader_gone {
                    self.send(to, from, Packet::Reset { pipe: id, to_reader: false });
                    return;
                }
                let begin = pipe.inbox.len();
                pipe.inbox.extend_from_slice(&bytes);
                if let Some(bit) = flip {
                    pipe.inbox[begin + bit / 8] ^= 1 << (bit % 8);
                }
                pipe.reader.take().into_iter().for_each(|reader| reader.wake());
                if flip.is_some() {
                    self.met("bit flipped");
                }
            }
            Packet::End { pipe } => {
                if let Some(pipe) = self.pipes.get_mut(&pipe) {
                    pipe.ended = true;
                    pipe.wake();
                }
            }
            Packet::Reset { pipe, to_reader } => {
                if let Some(pipe) = self.pipes.get_mut(&pipe) {
                    if to_reader {
                        pipe.reset_reader = true
                    } else {
                        pipe.reset_writer = true
                    }
                    pipe.wake();
                }
            }
            Packet::Knock { attempt, address } => {
                if self.standing(to) == Standing::Off {
                    return; // nobody says anything
                }
                let open = self.listeners.get(&address).is_some_and(|listening| listening.arrived.len() < BACKLOG);
                let pipes = open.then(|| (self.pipe(from, to), self.pipe(to, from)));
                if let (Some(pipes), Some(listening)) = (pipes, self.listeners.get_mut(&address)) {
                    listening.arrived.push(pipes);
                    listening.waker.take().into_iter().for_each(|waker| waker.wake());
                }
                self.send(to, from, Packet::Answer { attempt, pipes: pipes.map(|(there, back)| (back, there)) });
            }
            Packet::Answer { attempt, pipes } => match (self.attempts.get_mut(&attempt), pipes) {
                (Some(attempt), pipes) => {
                    attempt.outcome = Some(pipes.ok_or_else(|| io::ErrorKind::ConnectionRefused.into()));
                    attempt.waker.take().into_iter().for_each(|waker| waker.wake());
                }
                (None, Some((read, write))) => self.hang_up(read, write), // it was given up
                (None, None) => {}
            },
            Packet::Ask { .. } | Packet::Reply { .. } => {}
        }
    }
}

impl World {
    /// A host is gone. As a process it is missed at once; as a whole machine by nobody.
    pub(crate) fn kill(&self, host: HostId, machine: bool) {
        let mut state = self.0.lock();
        state.hosts[host].1 = if machine { Standing::Off } else { Standing::Down };
        let mine: Vec<_> = state.listeners.iter().filter(|(_, it)| it.host == host).map(|(at, _)| at.clone()).collect();
        mine.iter().for_each(|address| drop(state.listeners.remove(address)));
        let pipes = state.pipes.iter().filter(|(_, pipe)| pipe.from == host || pipe.to == host);
        let pipes: Vec<_> = pipes.map(|(id, pipe)| (*id, pipe.from, pipe.to)).collect();
        for (id, from, to) in pipes {
            if let Some(pipe) = state.pipes.get_mut(&id) {
                // This end of it: what it still does goes nowhere.
                pipe.black |= from == host;
                pipe.reset_writer |= from == host;
                pipe.reset_reader |= to == host;
            }
            if !machine {
                let (other, to_reader) = if from == host { (to, true) } else { (from, false) };
                state.send(host, other, Packet::Reset { pipe: id, to_reader });
            }
        }
    }

    /// A host is there, and knows nothing of its earlier connections.
    pub(crate) fn revive(&self, host: HostId) {
        let mut state = self.0.lock();
        state.hosts[host].1 = Standing::Up;
        let old = state.pipes.iter().filter(|(_, pipe)| pipe.from == host || pipe.to == host);
        let old: Vec<_> = old.map(|(id, pipe)| (*id, pipe.from, pipe.to)).collect();
        for (id, from, to) in old {
            let (other, to_reader) = if from == host { (to, true) } else { (from, false) };
            state.send(host, other, Packet::Reset { pipe: id, to_reader });
        }
    }
}
