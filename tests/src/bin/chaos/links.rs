//! What goes wrong with connections.

use std::fmt;
use std::time::Duration;

use crate::proxy::{End, Trouble, Ways};

/// What is wrong, and where: these ways, and how to tell it.
#[derive(Clone, Debug)]
pub(crate) struct Links {
    /// The ways.
    pub(crate) ways: Ways,
    told: String,
}

impl fmt::Display for Links {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.told)
    }
}

/// One of a kind, among so many silos.
pub(crate) fn one(kind: &str, silos: usize, rng: &mut fastrand::Rng) -> Links {
    let trouble = match kind {
        "link-delay" => Trouble::Delay(Duration::from_millis(rng.u64(20..1_500))),
        "link-throttle" => Trouble::Throttle(rng.u64(500..30_000)),
        "link-stall" => Trouble::Stall,
        "link-swallow" => Trouble::Swallow,
        "link-cut" => Trouble::Cut,
        "link-half-close" => Trouble::HalfClose,
        "link-truncate" => Trouble::Truncate,
        "link-duplicate" => Trouble::Duplicate,
        _ => Trouble::Garble,
    };
    let silo = rng.usize(..silos);
    let others: Vec<_> = (0..silos).filter(|other| *other != silo).map(End::Silo).collect();
    // A command that comes twice runs twice, and one that is changed is another: Redis' protocol has no means against that.
    let may_meet_redis = !matches!(trouble, Trouble::Duplicate | Trouble::Garble);
    let (ends, told) = match rng.u8(..6) {
        0 | 1 if !others.is_empty() => {
            let other = others[rng.usize(..others.len())];
            (vec![other], other.to_string())
        }
        2 | 3 if may_meet_redis => (vec![End::Redis], End::Redis.to_string()),
        4 => (vec![End::Client], End::Client.to_string()),
        5 if may_meet_redis => ([&others[..], &[End::Redis, End::Client]].concat(), "everybody".to_owned()),
        _ if others.is_empty() => (vec![End::Client], End::Client.to_string()),
        _ => (others, "all other silos".to_owned()),
    };
    let (there, back) = [(true, true), (true, false), (false, true)][rng.usize(..3)];
    let me = End::Silo(silo);
    let mut ways = Ways::new();
    for end in ends {
        ways.extend(there.then_some(((me, end), trouble)));
        ways.extend(back.then_some(((end, me), trouble)));
    }
    let arrow = match (there, back) {
        (true, true) => "<->",
        (true, false) => "->",
        _ => "<-",
    };
    Links { ways, told: format!("{me} {arrow} {told}: {trouble:?}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::KINDS;

    #[test]
    fn what_redis_is_sent_is_never_changed_or_doubled() {
        let mut rng = fastrand::Rng::with_seed(1);
        for kind in KINDS.iter().filter(|kind| kind.starts_with("link-")).cycle().take(10_000) {
            for ((from, to), trouble) in one(kind, 3, &mut rng).ways {
                let changes = matches!(trouble, Trouble::Duplicate | Trouble::Garble);
                assert!(!changes || from != End::Redis && to != End::Redis, "{from} {to} {trouble:?}");
            }
        }
    }
}
