//! Values that travel with a call, from caller to callee and on, never back.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The key under which a W3C trace context travels.
pub const TRACEPARENT: &str = "traceparent";

/// Values that travel with a call and with the calls it makes. Cheap to clone; a callee's changes never flow back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestContext(Option<Arc<BTreeMap<String, String>>>);

impl RequestContext {
    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.as_ref()?.get(key).map(String::as_str)
    }

    /// This context and one value more (or another one under the same key).
    #[must_use]
    pub fn with(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        Arc::make_mut(self.0.get_or_insert_default()).insert(key.into(), value.into());
        self
    }

    /// This context and every value of `other`, which win.
    #[must_use]
    pub(crate) fn merged(self, other: &RequestContext) -> Self {
        match (self.0, &other.0) {
            (mine, None) => Self(mine),
            (None, Some(theirs)) => Self(Some(theirs.clone())),
            (Some(mut mine), Some(theirs)) => {
                Arc::make_mut(&mut mine).extend(theirs.iter().map(|(k, v)| (k.clone(), v.clone())));
                Self(Some(mine))
            }
        }
    }

    /// Is nothing in it?
    pub fn is_empty(&self) -> bool {
        self.0.as_ref().is_none_or(|map| map.is_empty())
    }

    /// Every key and value, sorted by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().flat_map(|map| map.iter()).map(|(k, v)| (k.as_str(), v.as_str()))
    }

    /// The trace context of the request, if it carries a well-formed one: (trace id, parent span id, flags), by the W3C
    /// Trace Context recommendation, version 00. A malformed one counts as absent.
    pub fn traceparent(&self) -> Option<(u128, u64, u8)> {
        let mut parts = self.get(TRACEPARENT)?.split('-');
        let hex = |part: Option<&str>, len: usize| {
            let part = part.filter(|p| p.len() == len && p.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))?;
            u128::from_str_radix(part, 16).ok()
        };
        let (version, trace) = (hex(parts.next(), 2)?, hex(parts.next(), 32)?);
        let (span, flags) = (hex(parts.next(), 16)?, hex(parts.next(), 2)?);
        let well_formed = version == 0 && trace != 0 && span != 0 && parts.next().is_none();
        well_formed.then_some((trace, span as u64, flags as u8))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_malformed_traceparent_counts_as_absent() {
        let of = |text: &str| RequestContext::default().with(TRACEPARENT, text).traceparent();
        assert_eq!(of("00-0000000000000000000000000000000a-000000000000000b-01"), Some((10, 11, 1)));
        for bad in [
            "",
            "00",
            "00-0-0-0",
            "00-00000000000000000000000000000000-000000000000000b-01",
            "00-0000000000000000000000000000000A-000000000000000b-01",
            "00-0000000000000000000000000000000a-000000000000000b-01-x",
            "ff-0000000000000000000000000000000a-000000000000000b-01",
            "00-+000000000000000000000000000000a-000000000000000b-01",
        ] {
            assert_eq!(of(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn merging_lets_the_newer_values_win_and_leaves_the_original_alone() {
        let a = RequestContext::default().with("x", "1").with("y", "1");
        let merged = a.clone().merged(&RequestContext::default().with("y", "2"));
        assert_eq!(merged.iter().collect::<Vec<_>>(), [("x", "1"), ("y", "2")]);
        assert_eq!(a.get("y"), Some("1"));
    }
}
