//! Carries the bytes of one direction.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::time::sleep;

use super::{End, Net, Trouble};

/// Bytes that are carried at once at most.
const CHUNK: usize = 16 * 1024;

/// One chunk of so many is met by what is wrong with a single chunk.
const ONE_OF: u8 = 6;

/// A throttled way carries so many pieces a second.
const PIECES: u64 = 20;

/// How a direction ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Over {
    /// Its sender has closed it; the other direction goes on.
    Closed,
    /// Both directions end in order.
    Both,
    /// The connection is reset.
    Reset,
}

/// One direction of one connection.
pub(super) struct Pump<'a> {
    pub(super) net: &'a Net,
    pub(super) way: (End, End),
    pub(super) rng: fastrand::Rng,
}

/// Until both directions are over, or one ends both.
pub(super) async fn both(there: impl Future<Output = Over>, back: impl Future<Output = Over>) -> Over {
    let (mut there, mut back) = (std::pin::pin!(there), std::pin::pin!(back));
    let (first, there_is_first) = tokio::select! {
        biased;
        over = &mut there => (over, true),
        over = &mut back => (over, false),
    };
    match first {
        Over::Closed if there_is_first => back.await,
        Over::Closed => there.await,
        over => over,
    }
}

impl Pump<'_> {
    /// Carries until one side ends, or what is wrong ends it.
    pub(super) async fn carry(mut self, mut from: ReadHalf<'_>, mut to: WriteHalf<'_>) -> Over {
        let mut ways = self.net.ways.subscribe();
        let mut buffer = vec![0; CHUNK];
        // Nothing may follow on bytes that were lost.
        let mut lost = false;
        loop {
            let trouble = ways.borrow_and_update().get(&self.way).copied();
            match trouble {
                Some(Trouble::Cut) => {
                    self.net.count("connections cut");
                    return Over::Reset;
                }
                Some(Trouble::Stall) => {
                    self.net.count("directions stalled");
                    if ways.changed().await.is_err() {
                        return Over::Reset;
                    }
                    continue;
                }
                Some(Trouble::Swallow | Trouble::HalfClose) => {}
                _ if lost => return Over::Reset,
                _ => {}
            }
            let read = tokio::select! {
                biased;
                changed = ways.changed() => if changed.is_ok() { continue } else { return Over::Reset },
                read = from.read(&mut buffer) => read,
            };
            let chunk = match read {
                Ok(0) => {
                    let _ = to.shutdown().await; // or it is gone
                    return Over::Closed;
                }
                Ok(read) => &mut buffer[..read],
                Err(_) => return Over::Reset,
            };
            if lost {
                continue;
            }
            match self.pass(trouble, chunk, &mut to).await {
                Ok(Passed::On) => {}
                Ok(Passed::Lost) => lost = true,
                Ok(Passed::Ends) => return Over::Both,
                Err(_) => return Over::Reset,
            }
        }
    }

    /// Passes a chunk on.
    async fn pass(
        &mut self,
        trouble: Option<Trouble>,
        chunk: &mut [u8],
        to: &mut WriteHalf<'_>,
    ) -> std::io::Result<Passed> {
        match trouble {
            None | Some(Trouble::Cut | Trouble::Stall) => to.write_all(chunk).await?,
            Some(Trouble::Delay(delay)) => {
                self.net.count("chunks delayed");
                sleep(delay.mul_f64(2.0 * self.rng.f64())).await;
                to.write_all(chunk).await?;
            }
            Some(Trouble::Throttle(rate)) => {
                self.net.count("chunks throttled");
                for piece in chunk.chunks((rate / PIECES).max(1) as usize) {
                    to.write_all(piece).await?;
                    let is_over = self.net.ways.borrow().get(&self.way) != trouble.as_ref();
                    if !is_over {
                        sleep(Duration::from_secs(1) / PIECES as u32).await;
                    }
                }
            }
            Some(Trouble::Swallow) => {
                self.net.count("half-open directions");
                return Ok(Passed::Lost);
            }
            Some(_) if self.rng.u8(..ONE_OF) != 0 => to.write_all(chunk).await?,
            Some(Trouble::HalfClose) => {
                self.net.count("directions closed");
                to.write_all(chunk).await?;
                to.shutdown().await?;
                return Ok(Passed::Lost);
            }
            Some(Trouble::Truncate) => {
                self.net.count("chunks truncated");
                to.write_all(&chunk[..self.rng.usize(..chunk.len())]).await?;
                to.shutdown().await?;
                return Ok(Passed::Ends);
            }
            Some(Trouble::Duplicate) => {
                self.net.count("chunks duplicated in part");
                let (begin, end) = (self.rng.usize(..chunk.len()), self.rng.usize(1..=chunk.len()));
                to.write_all(chunk).await?;
                to.write_all(&chunk[begin.min(end - 1)..end]).await?;
            }
            Some(Trouble::Garble) => {
                self.net.count("chunks garbled");
                chunk[self.rng.usize(..chunk.len())] ^= 1 << self.rng.u8(..8);
                to.write_all(chunk).await?;
            }
        }
        Ok(Passed::On)
    }
}

/// What became of a chunk.
enum Passed {
    /// It is passed on.
    On,
    /// It is lost, or nothing can follow it.
    Lost,
    /// It was the connection's last.
    Ends,
}
