//! The dialing side: connect, shake hands, run, and say what was not sent.

use std::sync::Arc;

use tokio::time::{Instant, timeout};

use super::error::{HandshakeError, LinkError, NetworkError};
use super::handshake;
use super::link::{Direction, Link};
use super::net::Stream;
use super::network::Shared;
use super::registry::Target;
use super::schedule::Schedule;
use super::wire::hello::Identity;
use crate::Incarnation;

impl Shared {
    /// The link to `target`, made if there is none.
    pub(crate) fn dialed(
        self: &Arc<Self>,
        target: Target,
        expected: Option<Incarnation>,
        address: String,
    ) -> Result<Arc<Link>, NetworkError> {
        let mut links = self.links.lock();
        if links.stopping {
            return Err(NetworkError::Stopped);
        }
        if expected.is_some_and(|incarnation| links.dead.contains(&incarnation)) {
            return Err(NetworkError::PeerDead);
        }
        if let Some(link) = links.dialed.get(&target).filter(|link| !link.is_over() && link.outbound.is_open()) {
            return Ok(link.clone());
        }
        let now = Instant::now();
        if let Some(backoff) = links.backoff.get(&target).filter(|backoff| backoff.until > now) {
            return Err(NetworkError::BackingOff { until: backoff.until, last: Box::new(backoff.last.clone()) });
        }
        let id = links.new_id();
        let link = Link::new(id, Direction::Dialed, expected, &self.options.limits);
        links.all.insert(id, link.clone());
        links.dialed.insert(target.clone(), link.clone());
        drop(links);
        self.spawn(self.clone().run_dialed(target, expected, address, link.clone()));
        Ok(link)
    }

    async fn run_dialed(
        self: Arc<Self>,
        target: Target,
        expected: Option<Incarnation>,
        address: String,
        link: Arc<Link>,
    ) {
        let mut schedule = Schedule::default();
        let connected = tokio::select! {
            biased;
            () = link.ended.cancelled() => Err(link.why()),
            connected = self.connect(&address, expected) => connected,
        };
        let (why, opened) = match connected {
            Err(why) => (why, false),
            Ok((stream, peer)) => {
                self.links.lock().backoff.remove(&target);
                (self.run_open(&link, peer, stream, &mut schedule).await, true)
            }
        };
        link.end(why.clone());
        let mut links = self.links.lock();
        links.all.remove(&link.id());
        if links.dialed.get(&target).is_some_and(|current| current.id() == link.id()) {
            links.dialed.remove(&target);
        }
        if !opened && !matches!(why, LinkError::Local | LinkError::Stopped | LinkError::PeerDead) {
            links.note_failure(target, &why, &self.options.limits);
        }
        drop(links);
        self.give_back(&link, why, schedule);
    }

    async fn connect(
        &self,
        address: &str,
        expected: Option<Incarnation>,
    ) -> Result<(Box<dyn Stream>, Identity), LinkError> {
        let limits = &self.options.limits;
        let connected = timeout(limits.connect_timeout, self.net.connect(address)).await;
        let stream = connected.map_err(|_| LinkError::ConnectTimeout)?;
        let stream = stream.map_err(|error| LinkError::of_connect(&error))?;
        let handshake = async {
            let mut stream = self.secure_dialed(stream, address).await?;
            let admit = |peer: &Identity| self.admit(peer);
            let (peer, _) = handshake::dial(&mut *stream, &self.local(), expected, &admit).await?;
            Ok((stream, peer))
        };
        let done = timeout(limits.handshake_timeout, handshake).await.unwrap_or(Err(HandshakeError::Timeout));
        Ok(done?)
    }

    #[cfg(feature = "tls")]
    async fn secure_dialed(&self, stream: Box<dyn Stream>, address: &str) -> Result<Box<dyn Stream>, HandshakeError> {
        match &self.options.tls {
            Some(tls) => tls.dial(stream, address).await,
            None => Ok(stream),
        }
    }

    #[cfg(not(feature = "tls"))]
    async fn secure_dialed(&self, stream: Box<dyn Stream>, _: &str) -> Result<Box<dyn Stream>, HandshakeError> {
        Ok(stream)
    }
}
