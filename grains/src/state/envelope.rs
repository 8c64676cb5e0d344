//! The bytes of a stored record: one line of text that says how to read the rest, then the encoded value.
//!
//! ```text
//! gristmill 1 json 3\n{"health":100}
//! ^         ^ ^    ^  ^ the value
//! magic     | |    schema version of the value (the grain's `version = ..`), decimal
//!           | codec: json or bincode (2.0.1, `standard` configuration)
//!           version of this header
//! ```
//!
//! With JSON a record is readable, and can be mended, in the store's own tools.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codec::Codec;

const MAGIC: &str = "gristmill";
const HEADER: u32 = 1;
/// A header is a few words; whatever has no newline by here has none.
const MAX_HEADER: usize = 64;

/// Encodes `value` with its header.
///
/// # Errors
/// What the value's `Serialize` says; a float that JSON cannot say.
pub fn seal<T: Serialize>(codec: Codec, schema: u32, value: &T) -> Result<Bytes, String> {
    let mut out = format!("{MAGIC} {HEADER} {} {schema}\n", codec.name()).into_bytes();
    if codec == Codec::Json {
        super::finite::check(value).map_err(|error| error.to_string())?;
    }
    codec.encode_into(value, &mut out)?;
    Ok(out.into())
}

/// A record, its header read and its value not yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sealed<'a> {
    /// How the value is encoded.
    pub codec: Codec,
    /// The value's schema version.
    pub schema: u32,
    /// The value's bytes.
    pub body: &'a [u8],
}

impl<'a> Sealed<'a> {
    /// Reads the header.
    ///
    /// # Errors
    /// Says what is wrong with it: no Gristmill record, a newer header, an unknown codec.
    pub fn read(bytes: &'a [u8]) -> Result<Self, String> {
        let end = bytes.iter().take(MAX_HEADER).position(|&byte| byte == b'\n');
        let header = end.and_then(|end| std::str::from_utf8(&bytes[..end]).ok());
        let (Some(end), Some(header)) = (end, header) else { return Err("it has no record header".to_owned()) };
        let words: Vec<_> = header.split(' ').collect();
        let &[MAGIC, version, codec, schema] = words.as_slice() else {
            return Err(format!("{header:?} is no record header"));
        };
        if version.parse() != Ok(HEADER) {
            return Err(format!("its header has version {version}, this build reads {HEADER}"));
        }
        let codec = Codec::of_name(codec).ok_or_else(|| format!("unknown codec {codec:?}"))?;
        let schema = schema.parse().map_err(|_| format!("{schema:?} is no schema version"))?;
        Ok(Self { codec, schema, body: &bytes[end + 1..] })
    }

    /// Decodes the value.
    ///
    /// # Errors
    /// What the codec says.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, String> {
        self.codec.decode(self.body)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_bytes_are_as_documented() {
        let sealed = seal(Codec::Json, 3, &serde_json::json!({"health": 100})).unwrap();
        assert_eq!(&sealed[..], b"gristmill 1 json 3\n{\"health\":100}");
        let sealed = seal(Codec::Bincode, 0, &(1u32, "ab")).unwrap();
        assert_eq!(&sealed[..], b"gristmill 1 bincode 0\n\x01\x02ab");
    }

    #[test]
    fn what_is_sealed_can_be_read() {
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let nested = std::collections::BTreeMap::from([("at", vec![(1u8, Some(bad))])]);
            assert!(seal(Codec::Json, 0, &nested).unwrap_err().contains("JSON"));
            let sealed = seal(Codec::Bincode, 0, &bad).unwrap();
            assert_eq!(Sealed::read(&sealed).unwrap().decode::<f64>().unwrap().to_bits(), bad.to_bits());
        }
        // As large in memory, and so in a decoder's count, as a record of few bytes can be.
        let many = vec![0u128; 4_000_000];
        let sealed = seal(Codec::Bincode, 0, &many).unwrap();
        assert_eq!(Sealed::read(&sealed).unwrap().decode::<Vec<u128>>().unwrap(), many);
    }

    #[test]
    fn a_newer_header_or_codec_is_named() {
        assert!(Sealed::read(b"gristmill 2 json 1\n{}").unwrap_err().contains("version 2"));
        assert!(Sealed::read(b"gristmill 1 cbor 1\n{}").unwrap_err().contains("cbor"));
    }

    proptest! {
        #[test]
        fn a_value_survives(value in any::<(u64, String, Vec<i32>)>(), schema in any::<u32>(), json in any::<bool>()) {
            let codec = if json { Codec::Json } else { Codec::Bincode };
            let sealed = seal(codec, schema, &value).unwrap();
            let read = Sealed::read(&sealed).unwrap();
            prop_assert_eq!(read.schema, schema);
            prop_assert_eq!(read.decode::<(u64, String, Vec<i32>)>().unwrap(), value);
        }

        #[test]
        fn any_bytes_are_an_error_and_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            if let Ok(read) = Sealed::read(&bytes) {
                let _ = read.decode::<String>();
            }
        }

        #[test]
        fn a_broken_value_is_an_error_and_no_panic(
            value in any::<(u64, String)>(), at in any::<proptest::sample::Index>(), byte in any::<u8>(), cut in any::<bool>()
        ) {
            let mut sealed = seal(Codec::Bincode, 1, &value).unwrap().to_vec();
            let at = at.index(sealed.len());
            if cut { sealed.truncate(at) } else { sealed[at] = byte }
            if let Ok(read) = Sealed::read(&sealed) {
                let _ = read.decode::<(u64, String)>();
            }
        }
    }
}
