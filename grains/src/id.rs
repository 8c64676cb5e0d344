//! Identities: the type and key of a grain, and the id of one activation of it.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The wire and storage name of a grain type, such as `player`.
///
/// It is part of every stored record's name, so it must not change when a Rust item is renamed; that is why an
/// interface states it (`#[grain_interface(grain = "player")]`).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GrainType(Cow<'static, str>);

impl GrainType {
    /// A grain type of a name known at compile time.
    pub const fn new(name: &'static str) -> Self {
        Self(Cow::Borrowed(name))
    }

    /// A grain type whose name came from outside (a frame, a stored reference).
    pub fn from_wire(name: impl Into<String>) -> Self {
        Self(Cow::Owned(name.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for GrainType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for GrainType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A grain: its type and the canonical text of its key. Shown as `type/key`.
///
/// ```
/// use gristmill_grains::{GrainId, GrainType};
/// let id = GrainId::new(GrainType::new("player"), "alice");
/// assert_eq!(id.to_string(), "player/alice");
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GrainId {
    grain_type: GrainType,
    key: Arc<str>,
}

impl GrainId {
    /// The grain of this type and key text.
    pub fn new(grain_type: GrainType, key: impl Into<Arc<str>>) -> Self {
        Self { grain_type, key: key.into() }
    }

    /// The grain's type.
    pub fn grain_type(&self) -> &GrainType {
        &self.grain_type
    }

    /// The canonical text of the grain's key (see [`GrainKey`](crate::GrainKey)).
    pub fn key(&self) -> &Arc<str> {
        &self.key
    }
}

impl fmt::Display for GrainId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.grain_type, self.key)
    }
}

impl fmt::Debug for GrainId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One life of a grain in memory. Drawn from the silo's seeded generator; never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ActivationId(Uuid);

impl ActivationId {
    /// The activation of these 128 random bits.
    pub const fn from_u128(bits: u128) -> Self {
        Self(Uuid::from_u128(bits))
    }

    /// The bits.
    pub const fn as_u128(self) -> u128 {
        self.0.as_u128()
    }
}

impl fmt::Display for ActivationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0.simple(), f)
    }
}

impl fmt::Debug for ActivationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for ActivationId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::parse_str(text).map(Self)
    }
}
