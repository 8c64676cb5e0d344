//! What players counted themselves, against what their match logged: two records that no code derives from each other.

use std::collections::BTreeMap;

use super::combatant::{Combatant, Death};
use super::config::MAX_SEATS;
use super::events::Kill;
use super::invariants::Violation;
use super::match_state::MatchState;
use super::names::{PlayerId, Seat};
use super::results::tally;

/// How many more deaths a player may count than the match logged: the one that came when the match was over, or that
/// player out of it.
const AFTER_THE_END: u32 = 1;

/// The rule that a death is logged.
pub const DEATHS: &str = "every death is logged, but for one after the end";
/// The rule that a score is what the players say who died of it.
pub const SCORES: &str = "scores are what the players' own deaths say";

/// Checks a finished match against those of its players whose last match it was.
///
/// # Errors
/// Every violation found.
pub fn check(state: &MatchState, players: &BTreeMap<PlayerId, Combatant>) -> Result<(), Vec<Violation>> {
    let mut found = Vec::new();
    let mut broken = |rule, found_instead| found.push(Violation { tick: state.tick, rule, found: found_instead });
    let (mut told, mut heard) = (Vec::new(), [false; MAX_SEATS]);
    for fighter in &state.fighters {
        let (Some(own), Some(seat)) = (players.get(&fighter.id), state.seat(&fighter.id)) else { continue };
        heard[seat.index()] = true;
        let (counted, logged) = (own.deaths(), fighter.deaths);
        // Nobody begins a life before the match has logged the end of the last.
        let unlogged = counted.checked_sub(logged);
        if unlogged.is_none_or(|unlogged| unlogged > AFTER_THE_END) || unlogged == Some(AFTER_THE_END) && own.is_alive()
        {
            let alive = if own.is_alive() { "alive" } else { "dead" };
            broken(DEATHS, format!("{}: counts {counted} and is {alive}, the match logged {logged}", fighter.id));
        }
        let deaths = own.deaths_after(0).iter().take(logged as usize);
        told.extend(deaths.map(|death| as_told(state, seat, death)));
    }
    let logged: Vec<Kill> =
        state.kills.iter().filter(|kill| heard.get(kill.victim.index()) == Some(&true)).copied().collect();
    for (fighter, (log, own)) in state.fighters.iter().zip(tally(&logged).into_iter().zip(tally(&told))) {
        if log != own {
            broken(SCORES, format!("{}: {own:?} by the players, {log:?} in the log", fighter.id));
        }
    }
    if found.is_empty() { Ok(()) } else { Err(found) }
}

/// A death as its victim tells it, in the words of the log.
fn as_told(state: &MatchState, victim: Seat, death: &Death) -> Kill {
    let killer = death.source.as_deref().and_then(|source| state.seat(source)).filter(|killer| *killer != victim);
    Kill { tick: 0, victim, death_no: death.no, killer, kind: death.kind }
}
