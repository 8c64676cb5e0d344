//! Which numbers were seen, in as little space as their disorder allows.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// A set of numbers from 1 that sooner or later all come, nearly in order.
///
/// It keeps a watermark, and the few numbers beyond it that came early: here as many as there are open matches in a
/// queue. That is how a grain can refuse to count a match twice for ever, without remembering every match.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// All numbers up to this one were seen.
    upto: u64,
    /// And these.
    beyond: BTreeSet<u64>,
}

impl Seen {
    /// Marks a number as seen; whether it was new.
    pub fn admit(&mut self, number: u64) -> bool {
        if number <= self.upto || !self.beyond.insert(number) {
            return false;
        }
        while self.beyond.remove(&(self.upto + 1)) {
            self.upto += 1;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn each_number_is_admitted_once(numbers in proptest::collection::vec(1u64..30, 0..100)) {
            let (mut seen, mut model) = (Seen::default(), BTreeSet::new());
            for number in numbers {
                proptest::prop_assert_eq!(seen.admit(number), model.insert(number));
            }
            proptest::prop_assert!(seen.beyond.iter().all(|n| *n > seen.upto + 1));
        }
    }
}
