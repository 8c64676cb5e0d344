//! What must hold of a quiet world, whatever failed before.

use std::collections::{BTreeMap, BTreeSet};

use crate::audit::Audit;
use crate::expected::Expected;
use crate::grains::match_record::{MatchReport, MatchSetup};
use crate::grains::names::Region;
use crate::grains::profile::Profile;
use crate::rules::rating::INITIAL_RATING;
use crate::rules::{MatchState, Phase, PlayerId, Results, accounts, invariants};

/// How many of many are named.
const SHOWN: usize = 5;

/// The checks, by name: every one with what was found wrong.
#[derive(Clone, Debug, Default)]
pub struct Checks(pub BTreeMap<&'static str, Vec<String>>);

impl Checks {
    /// Makes a check, unless there is one of that name, and notes what is wrong, if anything.
    pub fn hold(&mut self, name: &'static str, holds: bool, found: impl FnOnce() -> String) {
        let check = self.0.entry(name).or_default();
        if !holds {
            check.push(found());
        }
    }

    /// Whether everything holds.
    pub fn ok(&self) -> bool {
        self.0.values().all(Vec::is_empty)
    }
}

/// Every death that a player counted is in its match's log, and the profiles have the kills and deaths of the logs.
pub const KILLS: &str = "kills_equal_deaths_by_players";
/// Items made = items lying, carried and used up; items carried at the end = items brought home.
pub const ITEMS: &str = "items_conserved";
/// Every score is what the players say who died, and what the player was paid for.
pub const SCORES: &str = "scores_match_kill_log";
/// The other rules of the game.
pub const RULES: &str = "rules_kept";
/// Every player has the rewards of the matches they finished: each once, and no other.
pub const REWARDS: &str = "rewards_exactly_once";
/// What ratings one wins another loses.
pub const RATINGS: &str = "ratings_sum_to_zero";
/// No ticket is in two matches, or twice in one.
pub const TICKETS: &str = "no_ticket_twice";
/// Every player's line in a leaderboard is what that player was paid there.
pub const BOARD: &str = "leaderboard_counts_every_match_once";
/// Every match that was made is over and paid, and the lobby knows.
pub const FINISHED: &str = "every_match_finished";
/// As many matches were played as were asked for, and every bot was in one.
pub const PLAYED: &str = "every_match_asked_for_played";
/// A silo that loads everything from storage says the same.
pub const STORED: &str = "stored_equals_reported";

/// Checks a quiet world.
pub fn check(audit: &Audit) -> Checks {
    let mut checks = Checks::default();
    let mut tickets = BTreeSet::new();
    let mut expected = Expected::default();
    for (id, report) in &audit.matches {
        let closed = report.journal.closed && !audit.lobby.open.contains_key(id);
        checks.hold(FINISHED, closed, || format!("{id}: {:?}", report.journal));
        let Some((setup, fight)) = parts(report) else {
            checks.hold(FINISHED, false, || format!("{id} was never begun"));
            continue;
        };
        for ticket in &setup.players {
            let new = tickets.insert((ticket.player.clone(), ticket.number));
            checks.hold(TICKETS, new, || format!("{id}: {ticket:?} is in another match, too"));
        }
        check_match(audit, fight, &mut checks);
        if fight.phase == Phase::Finished {
            let results = fight.results();
            expected.add(setup, &results);
            check_paid(audit, setup, &results, &mut checks);
        }
    }
    let (closed, made) = (audit.lobby.finished, audit.matches.len() as u64);
    checks.hold(FINISHED, closed == made, || format!("the lobby saw {closed} of {made} matches end"));
    for (player, state) in &audit.players {
        let earned = expected.players.remove(player).unwrap_or_default();
        check_player(player, &state.profile, &earned, &mut checks);
    }
    let strangers = &expected.players;
    checks.hold(REWARDS, strangers.is_empty(), || format!("players the lobby does not know: {:?}", strangers.keys()));
    check_totals(audit, &mut checks);
    check_boards(audit, &expected, &mut checks);
    checks
}

fn parts(report: &MatchReport) -> Option<(&MatchSetup, &MatchState)> {
    Some((report.journal.setup.as_ref()?, report.fight.as_ref()?))
}

/// The rules' own invariants, with those players whose last match it was.
fn check_match(audit: &Audit, fight: &MatchState, checks: &mut Checks) {
    let last = audit.players.iter().filter(|(_, state)| state.profile.last_match.as_ref() == Some(&fight.id));
    let combatants = last.map(|(player, state)| (player.clone(), state.combatant.clone())).collect();
    let settled = if fight.phase == Phase::Finished { accounts::check(fight, &combatants) } else { Ok(()) };
    let found = [invariants::check(fight, &combatants), settled];
    // Named even when nothing is wrong.
    [KILLS, ITEMS, SCORES, RULES].into_iter().for_each(|name| checks.hold(name, true, String::new));
    for violation in found.into_iter().filter_map(Result::err).flatten() {
        let name = match violation.rule {
            accounts::DEATHS => KILLS,
            "no item exists twice" | "made = lying + carried + used up" => ITEMS,
            accounts::SCORES => SCORES,
            _ => RULES,
        };
        checks.hold(name, false, || format!("{}: {violation}", fight.id));
    }
}

/// The last prize of every player whose last match it was, against the match's results.
fn check_paid(audit: &Audit, setup: &MatchSetup, results: &Results, checks: &mut Checks) {
    for player in setup.players.iter().map(|ticket| &ticket.player) {
        let paid = audit.players.get(player).and_then(|state| state.profile.last_prize.as_ref());
        let Some(paid) = paid.filter(|paid| paid.match_id == results.match_id) else { continue };
        let due = setup.prize(results, player);
        checks.hold(SCORES, *paid == due, || format!("{player}: was paid {paid:?}, due {due:?}"));
    }
}

fn check_player(player: &PlayerId, has: &Profile, earned: &Profile, checks: &mut Checks) {
    let rewards = |p: &Profile| (p.finished, p.left, p.won, p.xp, p.coins, p.rating);
    checks.hold(REWARDS, rewards(has) == rewards(earned), || {
        let (has, earned) = (rewards(has), rewards(earned));
        format!("{player}: has (finished, left, won, xp, coins, rating) {has:?}, earned {earned:?}")
    });
    checks.hold(ITEMS, has.inventory == earned.inventory, || {
        format!("{player}: has {:?}, brought home {:?}", has.inventory, earned.inventory)
    });
    checks.hold(KILLS, (has.kills, has.deaths) == (earned.kills, earned.deaths), || {
        format!("{player}: {} kills and {} deaths, in matches {earned:?}", has.kills, has.deaths)
    });
    checks.hold(FINISHED, has.current_match().is_none(), || format!("{player}: {:?}", has.activity));
}

fn check_totals(audit: &Audit, checks: &mut Checks) {
    let players = || audit.players.values().map(|state| &state.profile);
    let moved: i64 = players().map(|p| i64::from(p.rating - INITIAL_RATING)).sum();
    checks.hold(RATINGS, moved == 0, || format!("all together moved by {moved}"));
}

/// Every line of every leaderboard.
fn check_boards(audit: &Audit, expected: &Expected, checks: &mut Checks) {
    for (region, lines) in Region::ALL.into_iter().zip(&audit.boards) {
        let has: BTreeMap<_, _> = lines.iter().map(|line| (line.player.clone(), line.standing.clone())).collect();
        let paid = expected.boards.get(&region).cloned().unwrap_or_default();
        let differing: Vec<_> = has.keys().chain(paid.keys()).filter(|p| has.get(*p) != paid.get(*p)).collect();
        let doubled = lines.len() - has.len();
        checks.hold(BOARD, differing.is_empty() && doubled == 0, || {
            let shown = differing.iter().take(SHOWN).map(|p| (p, has.get(*p), paid.get(*p)));
            format!("{region}: {doubled} lines too many; (player, has, was paid) {:?}", Vec::from_iter(shown))
        });
    }
}

/// Checks a run against what was asked for (nothing, if it only finished what others began) and the bots that missed it.
pub fn check_played(asked: Option<u64>, played: u64, missed: &[String], checks: &mut Checks) {
    let asked = asked.unwrap_or(played);
    checks.hold(PLAYED, played == asked, || format!("{played} matches of {asked}"));
    checks.hold(PLAYED, missed.is_empty(), || {
        let shown = &missed[..missed.len().min(SHOWN)];
        format!("{} bots had no match or did not see its end: {shown:?}", missed.len())
    });
}

/// Compares what a silo said with what a fresh one reads from storage.
pub fn compare(reported: &Audit, stored: &Audit, checks: &mut Checks) {
    checks.hold(STORED, reported.lobby == stored.lobby, || "the lobby differs".to_owned());
    checks.hold(STORED, reported.queues == stored.queues, || "a queue differs".to_owned());
    checks.hold(STORED, reported.boards == stored.boards, || "a leaderboard differs".to_owned());
    checks.hold(STORED, reported.chat == stored.chat, || "the chat differs".to_owned());
    let differing = |a: &MatchReport, b: Option<&MatchReport>| Some(a) != b;
    for (id, report) in reported.matches.iter().filter(|(id, r)| differing(r, stored.matches.get(*id))) {
        checks.hold(STORED, false, || format!("{id}: reported {report:?}, stored {:?}", stored.matches.get(id)));
    }
    for (id, state) in reported.players.iter().filter(|(id, s)| stored.players.get(*id) != Some(*s)) {
        checks.hold(STORED, false, || format!("{id}: reported {state:?}, stored {:?}", stored.players.get(id)));
    }
}
