//! The listening side: accept, shake hands, run.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use super::error::HandshakeError;
use super::handshake;
use super::link::{Direction, Link};
use super::net::{Listener, Stream};
use super::network::Shared;
use super::schedule::Schedule;
use super::wire::hello::{Identity, Refusal};

/// How long to wait when the system gives no more streams.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

impl Shared {
    /// Accepts until the network stops.
    pub(crate) async fn listen(self: Arc<Self>, listener: Box<dyn Listener>) {
        let pending = Arc::new(Semaphore::new(self.options.limits.pending_handshakes));
        loop {
            let next = async {
                let permit = pending.clone().acquire_owned().await.map_err(io::Error::other)?;
                listener.accept().await.map(|accepted| (permit, accepted))
            };
            let next = tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                next = next => next,
            };
            match next {
                Ok((permit, (stream, from))) => {
                    let shared = self.clone();
                    self.spawn(async move {
                        let admitted = tokio::select! {
                            biased;
                            () = shared.stop.cancelled() => return,
                            admitted = shared.admit_stream(stream) => admitted,
                        };
                        drop(permit);
                        match admitted {
                            Ok((stream, peer)) => shared.run_accepted(stream, peer).await,
                            Err(error) => tracing::debug!(%from, %error, "refused a connection"),
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept connections");
                    tokio::select! {
                        biased;
                        () = self.stop.cancelled() => return,
                        () = sleep(ACCEPT_PAUSE) => {}
                    }
                }
            }
        }
    }

    async fn admit_stream(&self, stream: Box<dyn Stream>) -> Result<(Box<dyn Stream>, Identity), HandshakeError> {
        let handshake = async {
            let mut stream = self.secure_accepted(stream).await?;
            if self.links.lock().accepted >= self.options.limits.connections {
                return Err(handshake::refuse(&mut *stream, Refusal::Busy).await);
            }
            let admit = |peer: &Identity| self.admit(peer);
            let (peer, _) = handshake::accept(&mut *stream, &self.local(), &admit).await?;
            Ok((stream, peer))
        };
        timeout(self.options.limits.handshake_timeout, handshake).await.unwrap_or(Err(HandshakeError::Timeout))
    }

    async fn run_accepted(self: Arc<Self>, stream: Box<dyn Stream>, peer: Identity) {
        let link = {
            let mut links = self.links.lock();
            // It may have died, or this side stopped, since it was admitted.
            if links.stopping || links.dead.contains(&peer.incarnation) {
                return;
            }
            let id = links.new_id();
            let link = Link::new(id, Direction::Accepted, Some(peer.incarnation), &self.options.limits);
            links.all.insert(id, link.clone());
            links.accepted += 1;
            link
        };
        let mut schedule = Schedule::default();
        let why = self.run_open(&link, peer, stream, &mut schedule).await;
        let mut links = self.links.lock();
        links.all.remove(&link.id());
        links.accepted = links.accepted.saturating_sub(1);
        drop(links);
        self.give_back(&link, why, schedule);
    }

    #[cfg(feature = "tls")]
    async fn secure_accepted(&self, stream: Box<dyn Stream>) -> Result<Box<dyn Stream>, HandshakeError> {
        match &self.options.tls {
            Some(tls) => tls.accept(stream).await,
            None => Ok(stream),
        }
    }

    #[cfg(not(feature = "tls"))]
    async fn secure_accepted(&self, stream: Box<dyn Stream>) -> Result<Box<dyn Stream>, HandshakeError> {
        Ok(stream)
    }
}
