//! Keys: one for each grain, so that every script has one slot.

use std::fmt::Write;

use gristmill_grains::GrainId;
use gristmill_grains::storage::StorageError;

/// Refuses a prefix whose keys could be another prefix's.
pub(super) fn check_prefix(prefix: &str) -> Result<(), StorageError> {
    if prefix.contains('/') || prefix.starts_with(':') || prefix.ends_with(':') {
        let detail = format!("the prefix {prefix:?} may contain no / and neither begin nor end with : - set another");
        return Err(StorageError::Misconfigured { detail });
    }
    Ok(())
}

/// `<prefix>:<type>/<key>`.
///
/// Braces are escaped, since Redis Cluster would hash only what stands between them, and whoever may name a grain could
/// put all of his into one slot. The type's slashes and colons are, so that the first slash ends it, and the last colon before
/// that the prefix. Escaped as in a URL.
pub(super) fn of_grain(prefix: &str, grain: &GrainId) -> String {
    let mut key = String::with_capacity(prefix.len() + grain.grain_type().as_str().len() + grain.key().len() + 2);
    key.push_str(prefix);
    key.push(':');
    escape(&mut key, grain.grain_type().as_str(), &['%', '{', '}', '/', ':']);
    key.push('/');
    escape(&mut key, grain.key(), &['%', '{', '}']);
    key
}

/// The run counter's key; without a slash, so no grain has it.
pub(super) fn of_run(prefix: &str) -> String {
    format!("{prefix}:run")
}

fn escape(key: &mut String, text: &str, special: &[char]) {
    for char in text.chars() {
        if special.contains(&char) {
            // Writing to a String cannot fail.
            let _ = write!(key, "%{:02X}", u32::from(char));
        } else {
            key.push(char);
        }
    }
}

/// The slot of Redis Cluster: CRC-16/XMODEM of the key, or of its hash tag (which only a prefix can have), modulo
/// 16,384.
pub(super) fn slot(key: &str) -> u16 {
    let tag = key.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map(|(tag, _)| tag);
    let hashed = tag.filter(|tag| !tag.is_empty()).unwrap_or(key);
    let byte = |crc: u16, byte: u8| {
        (0..8).fold(crc ^ (u16::from(byte) << 8), |crc, _| (crc << 1) ^ if crc & 0x8000 == 0 { 0 } else { 0x1021 })
    };
    hashed.bytes().fold(0, byte) % 16_384
}

#[cfg(test)]
mod tests {
    use gristmill_grains::GrainType;

    use super::*;

    #[test]
    fn plain_names_stay_readable_and_odd_ones_apart() {
        let key = |grain_type, key: &str| of_grain("gm", &GrainId::new(GrainType::from_wire(grain_type), key));
        assert_eq!(key("player", "alice"), "gm:player/alice");
        assert_eq!(key("player", "{a}/b%"), "gm:player/%7Ba%7D/b%25");
        assert_ne!(key("a", "b/c"), key("a/b", "c"));
        assert_ne!(key("a%2Fb", "c"), key("a/b", "c"));
    }

    #[test]
    fn prefixes_cannot_make_each_others_keys() {
        for refused in ["gm/x", "gm:x/y", ":gm", "gm:", ":"] {
            assert!(matches!(check_prefix(refused), Err(StorageError::Misconfigured { .. })), "{refused}");
        }
        assert_eq!(["gm", "gm:x", "{gm}"].map(check_prefix), [Ok(()), Ok(()), Ok(())]);
        let key = |prefix, grain_type| of_grain(prefix, &GrainId::new(GrainType::from_wire(grain_type), "k"));
        assert_ne!(key("gm", "x:y"), key("gm:x", "y"));
        assert_eq!(key("gm", "x:y"), "gm:x%3Ay/k");
    }

    #[test]
    fn slots_are_redis_slots() {
        assert_eq!(slot("123456789"), 0x31C3);
        assert_eq!(slot("foo"), 12_182);
        assert_eq!(slot("{foo}:player/alice"), slot("foo"));
        assert_eq!(slot("{}foo"), slot("{}foo"));
        assert_ne!(slot("{}foo"), slot("foo"));
    }
}
