//! What makes a message from a match to a player safe to lose, repeat or delay.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::names::{MatchId, Tick};

/// The envelope of every message from a match to a player.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// The match that sends it.
    pub match_id: MatchId,
    /// The match's activation epoch: rises whenever the match is restored on another silo.
    pub epoch: u64,
    /// A count of the messages to this player in this epoch, from 1.
    pub seq: u32,
    /// Which life it is meant for: 1 until the first logged death, then 2, and so on.
    pub life: u32,
    /// When it was sent.
    pub tick: Tick,
}

/// Why a player takes no notice of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// The player is not in that match.
    NotHere,
    /// A newer activation of the match has spoken already.
    OldEpoch,
    /// Meant for a life that has ended; the match may not know of that death yet, so report it again.
    OldLife,
    /// Meant for a life that has not begun: the match claims a death the player never died.
    FutureLife,
    /// Seen before.
    Duplicate,
    /// The player is dead.
    Dead,
    /// The buff acts on what the match owns, not the player.
    ActsInMatch,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotHere => "the player is not in that match",
            Self::OldEpoch => "sent by an activation of the match that was replaced",
            Self::OldLife => "meant for a life that has ended",
            Self::FutureLife => "meant for a life that has not begun",
            Self::Duplicate => "seen before",
            Self::Dead => "the player is dead",
            Self::ActsInMatch => "the match keeps buffs of this kind",
        })
    }
}

impl std::error::Error for Refusal {}

/// Remembers which numbers were seen, in constant space.
///
/// The sliding window of IPsec's anti-replay check (RFC 4303, appendix A2): a bit for each of the last 64 numbers. A
/// number that fell out of the window counts as seen, so a message can be lost to a long delay but never applied
/// twice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HitWindow {
    highest: u32,
    seen: u64,
}

impl HitWindow {
    /// Marks a number, counted from 1, as seen; whether it was new.
    pub fn admit(&mut self, seq: u32) -> bool {
        if seq > self.highest {
            self.seen = self.seen.checked_shl(seq - self.highest).unwrap_or(0) | 1;
            self.highest = seq;
            return true;
        }
        let Some(bit) = 1u64.checked_shl(self.highest - seq) else { return false };
        let new = seq > 0 && self.seen & bit == 0;
        self.seen |= bit;
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    proptest::proptest! {
        #[test]
        fn no_number_is_admitted_twice(seqs in proptest::collection::vec(0u32..200, 0..400)) {
            let (mut window, mut admitted) = (HitWindow::default(), BTreeSet::new());
            for seq in seqs {
                let highest = admitted.last().copied().unwrap_or(0);
                let is_new = window.admit(seq);
                let expected = seq > 0 && seq + 64 > highest && !admitted.contains(&seq);
                proptest::prop_assert_eq!(is_new, expected, "seq {} after {}", seq, highest);
                if is_new {
                    admitted.insert(seq);
                }
            }
        }
    }
}
