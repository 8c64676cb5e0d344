//! The codecs. The only place that names bincode (2.0.1 is pinned, see the workspace's `deny.toml`).

use bincode::config::{self, Configuration};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Cause, Fault};

/// The largest body of one call, in bytes, as a decoder accepts it.
pub const MAX_BODY: usize = 16 * 1024 * 1024;

/// Room for most values, so that encoding them allocates once.
const MOSTLY: usize = 128;

/// What a decoder may claim: numbers are counted by their size in memory, up to 16 bytes for one byte of input.
const MAX_CLAIM: usize = 16 * MAX_BODY;

fn wire_config() -> impl config::Config {
    let standard: Configuration = config::standard();
    standard.with_limit::<MAX_CLAIM>()
}

/// Encodes an argument struct or an outcome for the wire.
///
/// # Errors
/// [`Cause::Codec`] when the value refuses to be serialized or is over [`MAX_BODY`].
pub fn encode_wire<T: Serialize>(value: &T) -> Result<Vec<u8>, Fault> {
    let mut bytes = Vec::with_capacity(MOSTLY);
    bincode::serde::encode_into_std_write(value, &mut bytes, wire_config())
        .map_err(|error| codec(error.to_string()))?;
    if bytes.len() > MAX_BODY {
        return Err(codec(format!("{} bytes, the limit is {MAX_BODY}", bytes.len())));
    }
    Ok(bytes)
}

/// Decodes what [`encode_wire`] made; every byte must belong to the value.
///
/// # Errors
/// [`Cause::Codec`] for anything else.
pub fn decode_wire<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Fault> {
    if bytes.len() > MAX_BODY {
        return Err(codec(format!("{} bytes, the limit is {MAX_BODY}", bytes.len())));
    }
    let decoded = bincode::serde::decode_from_slice(bytes, wire_config());
    let (value, used) = decoded.map_err(|error| codec(error.to_string()))?;
    if used != bytes.len() {
        return Err(codec(format!("{} bytes too many", bytes.len() - used)));
    }
    Ok(value)
}

fn codec(detail: String) -> Fault {
    Fault::not_executed(Cause::Codec { detail })
}

/// How a state record is encoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Codec {
    /// Readable in the store's own tools; fields can be added with `#[serde(default)]`. The default.
    #[default]
    Json,
    /// Compact and fast. Cannot read an old record after a field is added: raise the schema version and migrate.
    Bincode,
}

impl Codec {
    /// Its name in the envelope.
    pub fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Bincode => "bincode",
        }
    }

    /// The codec of this name.
    pub fn of_name(name: &str) -> Option<Self> {
        [Self::Json, Self::Bincode].into_iter().find(|codec| codec.name() == name)
    }

    pub(crate) fn encode_into<T: Serialize>(self, value: &T, out: &mut Vec<u8>) -> Result<(), String> {
        match self {
            Self::Json => serde_json::to_writer(out, value).map_err(|error| error.to_string()),
            Self::Bincode => bincode::serde::encode_into_std_write(value, out, wire_config())
                .map(|_| ())
                .map_err(|error| error.to_string()),
        }
    }

    pub(crate) fn decode<T: DeserializeOwned>(self, bytes: &[u8]) -> Result<T, String> {
        match self {
            Self::Json => serde_json::from_slice(bytes).map_err(|error| error.to_string()),
            Self::Bincode => decode_wire(bytes).map_err(|fault| fault.to_string()),
        }
    }
}
