//! One end of a stream in memory.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Buf;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::memory::{MemoryNet, Path, World};

/// How many bytes are under way in one direction before the writer waits.
const WINDOW: usize = 64 * 1024;

/// One end; each direction is a pipe of the world.
pub(crate) struct MemoryStream {
    pub(crate) net: MemoryNet,
    pub(crate) read: u64,
    pub(crate) write: u64,
}

fn reset<T>() -> Poll<io::Result<T>> {
    Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
}

impl AsyncRead for MemoryStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut world = self.net.world.lock();
        let World { pipes, paths, .. } = &mut *world;
        let Some(pipe) = pipes.get_mut(&self.read) else { return reset() };
        if pipe.reset {
            return reset();
        }
        let late = !paths.is_empty() && paths.contains_key(&(pipe.from.clone(), pipe.to.clone()));
        if late || (pipe.bytes.is_empty() && !pipe.ended) {
            pipe.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let count = pipe.bytes.len().min(out.remaining());
        out.put_slice(&pipe.bytes[..count]);
        pipe.bytes.advance(count);
        if let Some(writer) = pipe.writer.take() {
            writer.wake();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for MemoryStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut world = self.net.world.lock();
        let World { pipes, paths, .. } = &mut *world;
        let Some(pipe) = pipes.get_mut(&self.write) else { return reset() };
        if pipe.reset || pipe.abandoned || pipe.ended {
            return reset();
        }
        let path = if paths.is_empty() { None } else { paths.get(&(pipe.from.clone(), pipe.to.clone())) };
        if path == Some(&Path::Vanishing) {
            return Poll::Ready(Ok(bytes.len()));
        }
        let count = bytes.len().min(WINDOW.saturating_sub(pipe.bytes.len()));
        if count == 0 && !bytes.is_empty() {
            pipe.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        pipe.bytes.extend_from_slice(&bytes[..count]);
        if let Some(reader) = pipe.reader.take() {
            reader.wake();
        }
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(pipe) = self.net.world.lock().pipes.get_mut(&self.write) {
            pipe.ended = true;
            pipe.wake();
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for MemoryStream {
    fn drop(&mut self) {
        let mut world = self.net.world.lock();
        if let Some(pipe) = world.pipes.get_mut(&self.write) {
            pipe.ended = true;
            pipe.wake();
        }
        if let Some(pipe) = world.pipes.get_mut(&self.read) {
            pipe.abandoned = true;
            pipe.wake();
        }
        for id in [self.read, self.write] {
            // The last of the two ends takes the pipe with it.
            if world.pipes.get(&id).is_some_and(|pipe| pipe.ended && pipe.abandoned) {
                world.pipes.remove(&id);
            }
        }
    }
}
