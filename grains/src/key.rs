//! Keys of grains: strings, `i64`, UUIDs, and pairs or triples of these.

use std::fmt::{self, Debug, Display};
use std::hash::Hash;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

/// The longest canonical text of a key, in bytes.
pub const MAX_KEY_LEN: usize = 1024;

/// A type whose values can name a grain.
///
/// Its *canonical text* identifies the grain in the directory, in storage and in logs, so it must be the same for equal
/// keys, different for different ones, and never change.
pub trait GrainKey: Clone + Eq + Hash + Debug + Display + Send + Sync + 'static {
    /// The canonical text.
    fn to_text(&self) -> Arc<str>;

    /// The key of this canonical text.
    fn from_text(text: &str) -> Result<Self, InvalidKey>;

    /// Refuses keys that name nothing: empty or blank strings, and texts over [`MAX_KEY_LEN`].
    fn validate(&self) -> Result<(), InvalidKey> {
        Ok(())
    }
}

/// A key that cannot name a grain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid grain key: {0}")]
pub struct InvalidKey(pub String);

/// A string key. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StrKey(Arc<str>);

impl StrKey {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::ops::Deref for StrKey {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl From<&str> for StrKey {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl From<String> for StrKey {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl From<Arc<str>> for StrKey {
    fn from(text: Arc<str>) -> Self {
        Self(text)
    }
}

impl From<&String> for StrKey {
    fn from(text: &String) -> Self {
        Self(text.as_str().into())
    }
}

impl From<&StrKey> for StrKey {
    fn from(key: &StrKey) -> Self {
        key.clone()
    }
}

impl Display for StrKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Debug for StrKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Debug::fmt(&self.0, f)
    }
}

impl Serialize for StrKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for StrKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::from)
    }
}

impl GrainKey for StrKey {
    fn to_text(&self) -> Arc<str> {
        self.0.clone()
    }

    fn from_text(text: &str) -> Result<Self, InvalidKey> {
        Ok(Self(text.into()))
    }

    fn validate(&self) -> Result<(), InvalidKey> {
        if self.0.len() > MAX_KEY_LEN {
            Err(InvalidKey(format!("{} bytes, the limit is {MAX_KEY_LEN}", self.0.len())))
        } else if self.0.chars().all(char::is_whitespace) {
            Err(InvalidKey("it is empty or blank".to_owned()))
        } else {
            Ok(())
        }
    }
}

impl GrainKey for i64 {
    fn to_text(&self) -> Arc<str> {
        self.to_string().into()
    }

    fn from_text(text: &str) -> Result<Self, InvalidKey> {
        text.parse().map_err(|_| InvalidKey(format!("{text:?} is not an i64")))
    }
}

impl GrainKey for Uuid {
    fn to_text(&self) -> Arc<str> {
        self.to_string().into()
    }

    fn from_text(text: &str) -> Result<Self, InvalidKey> {
        text.parse().map_err(|_| InvalidKey(format!("{text:?} is not a UUID")))
    }
}

/// A compound key: a pair. `Compound::from(("eu", 7))` names `eu+7`.
///
/// Triples nest: `Compound<StrKey, Compound<StrKey, i64>>`. The parts are joined by `+`; a `+` or `%` within a part is
/// written `%2B` or `%25`, so different keys have different texts.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Compound<A, B>(pub A, pub B);

impl<A, B, X: Into<A>, Y: Into<B>> From<(X, Y)> for Compound<A, B> {
    fn from((a, b): (X, Y)) -> Self {
        Self(a.into(), b.into())
    }
}

impl<A: GrainKey, B: GrainKey> Display for Compound<A, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_text())
    }
}

impl<A: Debug, B: Debug> Debug for Compound<A, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({:?}, {:?})", self.0, self.1)
    }
}

impl<A: GrainKey, B: GrainKey> GrainKey for Compound<A, B> {
    fn to_text(&self) -> Arc<str> {
        format!("{}+{}", escape(&self.0.to_text()), escape(&self.1.to_text())).into()
    }

    fn from_text(text: &str) -> Result<Self, InvalidKey> {
        let (a, b) = text.split_once('+').ok_or_else(|| InvalidKey(format!("{text:?} is not a pair")))?;
        Ok(Self(A::from_text(&unescape(a)?)?, B::from_text(&unescape(b)?)?))
    }

    fn validate(&self) -> Result<(), InvalidKey> {
        self.0.validate()?;
        self.1.validate()?;
        match self.to_text().len() {
            len if len > MAX_KEY_LEN => Err(InvalidKey(format!("{len} bytes, the limit is {MAX_KEY_LEN}"))),
            _ => Ok(()),
        }
    }
}

fn escape(part: &str) -> String {
    part.replace('%', "%25").replace('+', "%2B")
}

fn unescape(part: &str) -> Result<String, InvalidKey> {
    let mut out = String::with_capacity(part.len());
    let mut rest = part;
    while let Some(at) = rest.find(['%', '+']) {
        out.push_str(&rest[..at]);
        out.push(match rest.get(at..at + 3) {
            Some("%25") => '%',
            Some("%2B") => '+',
            _ => return Err(InvalidKey(format!("{part:?} is not the part of a compound key"))),
        });
        rest = &rest[at + 3..];
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Triple = Compound<StrKey, Compound<StrKey, i64>>;

    proptest! {
        #[test]
        fn a_compound_key_survives_its_text(a in ".{1,20}", b in "[%+a]{1,9}", c in any::<i64>()) {
            let key = Triple::from((a, (b, c)));
            prop_assert_eq!(Triple::from_text(&key.to_text()).unwrap(), key);
        }

        #[test]
        fn different_compound_keys_have_different_texts(
            a in ("[%+2B5ab]{1,6}", "[%+2B5ab]{1,6}"), b in ("[%+2B5ab]{1,6}", "[%+2B5ab]{1,6}")
        ) {
            let (x, y) = (Compound::<StrKey, StrKey>::from(a), Compound::<StrKey, StrKey>::from(b));
            prop_assert_eq!(x == y, x.to_text() == y.to_text());
        }

        #[test]
        fn reading_a_compound_key_never_panics(text in ".{0,40}") {
            let _ = Triple::from_text(&text);
        }
    }

    #[test]
    fn empty_blank_and_overlong_keys_are_refused() {
        for bad in ["", " ", "\t\n"] {
            assert!(StrKey::from(bad).validate().is_err());
            assert!(Compound::<StrKey, i64>::from((bad, 1)).validate().is_err());
        }
        assert!(StrKey::from("x".repeat(MAX_KEY_LEN + 1)).validate().is_err());
        assert!(StrKey::from("x".repeat(MAX_KEY_LEN)).validate().is_ok());
    }
}
