//! The shared secret of a cluster: each side proves that it knows it, over all that was said, without sending it.

use std::fmt;
use std::io;
use std::sync::Arc;

use hmac::{Hmac, Mac};
use sha2::Sha256;

/// The shortest secret that is accepted, in bytes. Draw it at random; a guessable one can be found from one handshake.
pub(crate) const MIN_SECRET: usize = 16;

/// A secret that all nodes of a cluster share.
#[derive(Clone)]
pub struct Secret(Arc<[u8]>);

/// A secret under 16 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a cluster secret needs at least {MIN_SECRET} bytes; draw 32 at random")]
pub struct WeakSecret;

impl Secret {
    /// The secret of these bytes.
    ///
    /// # Errors
    /// It is under 16 bytes.
    pub fn new(bytes: impl AsRef<[u8]>) -> Result<Self, WeakSecret> {
        let bytes = bytes.as_ref();
        if bytes.len() < MIN_SECRET { Err(WeakSecret) } else { Ok(Self(bytes.into())) }
    }

    /// The proof of `side` over what was said so far.
    pub(crate) fn prove(&self, side: Side, transcript: &[&[u8]]) -> [u8; 32] {
        self.mac(side, transcript).map_or([0; 32], |mac| mac.finalize().into_bytes().into())
    }

    /// Is `proof` the proof of `side`? Takes the same time whatever differs.
    pub(crate) fn verify(&self, side: Side, transcript: &[&[u8]], proof: &[u8; 32]) -> bool {
        self.mac(side, transcript).is_some_and(|mac| mac.verify_slice(proof).is_ok())
    }

    /// HMAC takes keys of any length, so this is never `None`.
    fn mac(&self, side: Side, transcript: &[&[u8]]) -> Option<Hmac<Sha256>> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).ok()?;
        mac.update(match side {
            Side::Listener => b"gristmill/1 listener",
            Side::Dialer => b"gristmill/1 dialer\0\0",
        });
        for piece in transcript {
            mac.update(piece);
        }
        Some(mac)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Who proves. Each side has its own label, so that neither's proof serves as the other's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Side {
    Listener,
    Dialer,
}

/// Where nonces come from: the operating system, or a simulation's seed.
pub trait Entropy: Send + Sync {
    /// Fills `out` with bytes that nobody can guess and that never come again.
    ///
    /// # Errors
    /// The system has none to give.
    fn fill(&self, out: &mut [u8]) -> io::Result<()>;
}

/// The operating system's randomness.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsEntropy;

impl Entropy for OsEntropy {
    fn fill(&self, out: &mut [u8]) -> io::Result<()> {
        getrandom::fill(out).map_err(|error| io::Error::other(error.to_string()))
    }
}
