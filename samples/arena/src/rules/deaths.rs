//! Deaths: reported by players, numbered, logged once.

use super::events::{DamageKind, Event, Kill, Respawn};
use super::fighter::Body;
use super::match_state::{MatchState, Phase};

/// What the match makes of a reported death.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeathOutcome {
    /// Logged now: tell the clients.
    Logged(Vec<Event>),
    /// Logged before. When the player already lives again, the message to tell them so once more.
    Known(Option<Respawn>),
    /// Earlier deaths are unknown: report from this number on.
    Missing(u32),
    /// The match is over or not begun, or the player is not in it: the death does not count.
    Ignored,
}

impl MatchState {
    /// Logs that `player` died for the `death_no`th time in this match, by `source` if that is a player.
    ///
    /// Safe to call any number of times and in any order. A first report takes the fighter out, lets its items fall
    /// and sets its respawn; the credit goes to `source` unless that is the player itself or nobody in the match.
    pub fn on_player_death(
        &mut self,
        player: &str,
        death_no: u32,
        source: Option<&str>,
        kind: DamageKind,
    ) -> DeathOutcome {
        let Some(victim) = self.seat(player).filter(|_| self.phase == Phase::Running) else {
            return DeathOutcome::Ignored;
        };
        let known = self.fighters[victim.index()].deaths;
        if death_no <= known {
            return DeathOutcome::Known(self.respawn_message(victim));
        }
        if death_no > known + 1 {
            return DeathOutcome::Missing(known + 1);
        }
        if self.fighters[victim.index()].body == Body::Gone {
            return DeathOutcome::Ignored;
        }
        let killer = source.and_then(|s| self.seat(s)).filter(|k| *k != victim);
        let kill = Kill { tick: self.tick, victim, death_no, killer, kind };
        self.kills.push(kill);
        let mut events = vec![Event::Died(kill)];
        self.drop_bag(victim, &mut events);
        let fighter = &mut self.fighters[victim.index()];
        fighter.deaths = death_no;
        fighter.body = Body::Dead { respawn_at: self.tick.saturating_add(self.config.respawn) };
        fighter.buffs.clear();
        DeathOutcome::Logged(events)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::MatchConfig;

    fn duel() -> MatchState {
        let mut state = MatchState::new("m", 1, MatchConfig::default());
        state.join("alice".into()).unwrap();
        state.join("bob".into()).unwrap();
        state.start().unwrap();
        state
    }

    fn died(state: &mut MatchState, no: u32, by: Option<&str>) -> DeathOutcome {
        state.on_player_death("alice", no, by, DamageKind::Kinetic)
    }

    #[test]
    fn a_death_counts_once_however_often_it_is_reported() {
        let mut state = duel();
        assert!(matches!(died(&mut state, 1, Some("bob")), DeathOutcome::Logged(_)));
        assert_eq!(died(&mut state, 1, Some("bob")), DeathOutcome::Known(None));
        assert_eq!(state.kills.len(), 1);
        assert_eq!(died(&mut state, 3, None), DeathOutcome::Missing(2));
    }

    #[test]
    fn dying_by_ones_own_hand_or_the_arena_credits_nobody() {
        let mut state = duel();
        died(&mut state, 1, Some("alice"));
        died(&mut state, 2, None);
        died(&mut state, 3, Some("a stranger"));
        assert!(state.kills.iter().all(|k| k.killer.is_none()));
        assert_eq!(state.results().of("alice").map(|r| r.score()), Some(-3));
    }

    #[test]
    fn a_player_who_missed_the_respawn_is_told_again() {
        let mut state = duel();
        died(&mut state, 1, Some("bob"));
        while !state.fighters[0].is_alive() {
            state.step(&[]);
        }
        let DeathOutcome::Known(Some(respawn)) = died(&mut state, 1, Some("bob")) else { panic!() };
        assert_eq!(respawn.stamp.life, 2);
    }
}
