//! The handshake, on either side of a stream. The caller bounds its time.

use std::ops::RangeInclusive;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::auth::{Entropy, Secret, Side};
use super::error::HandshakeError;
use super::net::Stream;
use super::wire::hello::{HEADER, Handshake, HandshakeFrameError, Hello, Identity, MAX_FRAME, Refusal, Welcome};
use crate::Incarnation;

/// This side of every handshake.
pub(crate) struct Local {
    pub(crate) identity: Identity,
    pub(crate) protocol: RangeInclusive<u16>,
    pub(crate) secret: Option<Secret>,
    pub(crate) entropy: Arc<dyn Entropy>,
}

type Admit<'a> = &'a (dyn Fn(&Identity) -> Result<(), Refusal> + Sync);

/// Dials: gives who is there, and the protocol version.
pub(crate) async fn dial(
    stream: &mut dyn Stream,
    local: &Local,
    expected: Option<Incarnation>,
    admit: Admit<'_>,
) -> Result<(Identity, u16), HandshakeError> {
    let nonce = local.nonce()?;
    let versions = (*local.protocol.start(), *local.protocol.end());
    let hello = Hello { versions, secret: local.secret.is_some(), from: local.identity.clone(), expected, nonce };
    let hello = send(stream, &Handshake::Hello(hello)).await?;
    let (answer, answered) = receive(stream).await?;
    let Handshake::Welcome(welcome) = answer else { return Err(unexpected(answer)) };
    if let Err(refusal) = local.judge(&welcome, &hello, &answered, expected, admit) {
        return Err(decline(stream, refusal).await);
    }
    let proof = local.secret.as_ref().map_or([0; 32], |secret| secret.prove(Side::Dialer, &[&hello, &answered]));
    send(stream, &Handshake::Proof(proof)).await?;
    match receive(stream).await?.0 {
        Handshake::Ready => Ok((welcome.from, welcome.version)),
        other => Err(unexpected(other)),
    }
}

/// Answers one who dials: gives who it is, and the protocol version.
pub(crate) async fn accept(
    stream: &mut dyn Stream,
    local: &Local,
    admit: Admit<'_>,
) -> Result<(Identity, u16), HandshakeError> {
    let (said, hello_bytes) = receive(stream).await?;
    let Handshake::Hello(hello) = said else { return Err(unexpected(said)) };
    let version = match local.negotiate(&hello) {
        Ok(version) => version,
        Err(refusal) => return Err(decline(stream, refusal).await),
    };
    let nonce = local.nonce()?;
    let from = local.identity.clone();
    let mut welcome = Welcome { version, secret: local.secret.is_some(), from, nonce, proof: [0; 32] };
    if let Some(secret) = &local.secret {
        let unproven = encode(&Handshake::Welcome(welcome.clone()))?;
        welcome.proof = secret.prove(Side::Listener, &[&hello_bytes, proven_part(&unproven)]);
    }
    let answer = send(stream, &Handshake::Welcome(welcome)).await?;
    let (said, _) = receive(stream).await?;
    let Handshake::Proof(proof) = said else { return Err(unexpected(said)) };
    let proven = |secret: &Secret| secret.verify(Side::Dialer, &[&hello_bytes, &answer], &proof);
    let actual = local.identity.incarnation;
    let verdict = if !local.secret.as_ref().is_none_or(proven) {
        Err(Refusal::WrongSecret)
    } else if hello.expected.is_some_and(|expected| expected != actual) {
        Err(Refusal::NotExpected { actual })
    } else {
        admit(&hello.from)
    };
    if let Err(refusal) = verdict {
        return Err(decline(stream, refusal).await);
    }
    send(stream, &Handshake::Ready).await?;
    Ok((hello.from, version))
}

/// Tells the one who dials why it may not connect, as far as it listens.
pub(crate) async fn refuse(stream: &mut dyn Stream, refusal: Refusal) -> HandshakeError {
    decline(stream, refusal).await
}

impl Local {
    fn nonce(&self) -> Result<[u8; 32], HandshakeError> {
        let mut nonce = [0; 32];
        self.entropy.fill(&mut nonce)?;
        Ok(nonce)
    }

    /// The listener's view of a hello.
    fn negotiate(&self, hello: &Hello) -> Result<u16, Refusal> {
        let (min, max) = (*self.protocol.start(), *self.protocol.end());
        let (theirs_min, theirs_max) = hello.versions;
        if theirs_min > theirs_max {
            return Err(Refusal::Malformed);
        }
        if theirs_max < min {
            return Err(Refusal::ProtocolTooOld { min, max });
        }
        if theirs_min > max {
            return Err(Refusal::ProtocolTooNew { min, max });
        }
        if hello.from.cluster != self.identity.cluster {
            return Err(Refusal::WrongCluster);
        }
        if hello.secret != self.secret.is_some() {
            return Err(Refusal::SecretMismatch);
        }
        Ok(max.min(theirs_max))
    }

    /// The dialer's view of a welcome. The proof comes before everything that the welcome claims.
    fn judge(
        &self,
        welcome: &Welcome,
        hello: &Bytes,
        answered: &Bytes,
        expected: Option<Incarnation>,
        admit: Admit<'_>,
    ) -> Result<(), Refusal> {
        if welcome.secret != self.secret.is_some() {
            return Err(Refusal::SecretMismatch);
        }
        let transcript = [&hello[..], proven_part(answered)];
        if !self.secret.as_ref().is_none_or(|secret| secret.verify(Side::Listener, &transcript, &welcome.proof)) {
            return Err(Refusal::WrongSecret);
        }
        if !self.protocol.contains(&welcome.version) {
            return Err(Refusal::Malformed);
        }
        if welcome.from.cluster != self.identity.cluster {
            return Err(Refusal::WrongCluster);
        }
        let actual = welcome.from.incarnation;
        if expected.is_some_and(|expected| expected != actual) {
            return Err(Refusal::NotExpected { actual });
        }
        admit(&welcome.from)
    }
}

/// Of a welcome frame, what its own proof covers: the payload without the proof at its end. (The header holds a checksum
/// over the proof, so it cannot be covered; it says nothing else.)
fn proven_part(welcome: &[u8]) -> &[u8] {
    welcome.get(HEADER..welcome.len().saturating_sub(32)).unwrap_or_default()
}

fn unexpected(frame: Handshake) -> HandshakeError {
    match frame {
        Handshake::Refused(refusal) => HandshakeError::Refused(refusal),
        _ => HandshakeError::OutOfOrder,
    }
}

async fn decline(stream: &mut dyn Stream, refusal: Refusal) -> HandshakeError {
    if send(stream, &Handshake::Refused(refusal)).await.is_ok() {
        // The stream ends either way; it is only told in order.
        drop(stream.shutdown().await);
    }
    HandshakeError::Declined(refusal)
}

fn encode(frame: &Handshake) -> Result<Bytes, HandshakeError> {
    frame.encode().map_err(HandshakeError::OwnIdentity)
}

async fn send(stream: &mut dyn Stream, frame: &Handshake) -> Result<Bytes, HandshakeError> {
    let bytes = encode(frame)?;
    stream.write_all(&bytes).await?;
    stream.flush().await?;
    Ok(bytes)
}

/// Reads exactly one frame: what follows it belongs to the messages.
async fn receive(stream: &mut dyn Stream) -> Result<(Handshake, Bytes), HandshakeError> {
    let mut bytes = BytesMut::zeroed(HEADER);
    stream.read_exact(&mut bytes).await?;
    let length = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    let size = usize::try_from(length).ok().filter(|size| *size <= MAX_FRAME - HEADER);
    let size = size.ok_or(HandshakeFrameError::Oversize { length })?;
    bytes.resize(HEADER + size, 0);
    stream.read_exact(&mut bytes[HEADER..]).await?;
    match Handshake::decode(&bytes)? {
        Some((frame, _)) => Ok((frame, bytes.freeze())),
        None => Err(HandshakeError::OutOfOrder),
    }
}
