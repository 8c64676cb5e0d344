//! What a run prints: what it begins with, the scoreboard, the verdict, and the JSON line.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::args::{Args, Game, StorageChoice};
use crate::audit::Audit;
use crate::checks::Checks;
use crate::grains::leaderboard::{Ranked, rank};
use crate::grains::match_record::MatchReport;
use crate::out::println;
use crate::play::Run;
use crate::rules::{MatchId, MatchState};

/// How many lines of a table are shown.
const LINES: usize = 10;
/// How many matches are shown.
const MATCHES: usize = 8;
/// How much of what is wrong is told.
const FAULTS: usize = 20;

/// Says what a run begins with.
pub fn opening(game: &Game, resumed: Option<usize>, players: usize) {
    if let Some(resumed) = resumed {
        println!("resumed {resumed} matches, {players} players");
    } else {
        let Game { matches, seconds, tick_hz, seed, .. } = game;
        println!("matches: {matches}, players: {players}, {seconds} s at {tick_hz} Hz, seed {seed}");
    }
}

/// Prints how a run went.
pub fn closing(run: &Run) {
    world(&run.audit, &run.earlier);
    let seconds = run.elapsed.as_secs_f64();
    let (calls, commits) = (run.metrics.calls(), run.metrics.commits());
    println!("\n{} matches, {} players, {seconds:.1} s", run.matches, run.players);
    println!("{:.0} calls/s, {:.0} commits/s", calls as f64 / seconds, commits as f64 / seconds);
    if let Some(ticks) = run.metrics.grain("match").and_then(|grain| grain.ticks) {
        println!(
            "{} ticks, {} skipped, late by p50 {:?}, p99 {:?}, max {:?}",
            ticks.ticks, ticks.skipped, ticks.p50, ticks.p99, ticks.max
        );
    }
    verdict(&run.audit, &run.checks);
}

/// Prints the matches and the leaderboard.
pub fn world(audit: &Audit, earlier: &BTreeSet<MatchId>) {
    let matches = in_order(&audit.matches, earlier);
    matches.iter().take(MATCHES).for_each(|(epoch, fight)| print_match(*epoch, fight));
    if matches.len() > MATCHES {
        println!("\nand {} more", matches.len() - MATCHES);
    }
    println!("\nleaderboard");
    let lines = audit.boards.iter().flatten().map(|line| (line.player.clone(), line.standing.clone()));
    for Ranked { rank, player, standing } in rank(lines.collect()).into_iter().take(LINES) {
        println!(
            "{rank:4}  {player:16} {:6} points {:4} won {:5} kills",
            standing.points, standing.won, standing.kills
        );
    }
}

/// Prints what was checked.
pub fn verdict(audit: &Audit, checks: &Checks) {
    println!("\nchecked {} matches, {} players", audit.matches.len(), audit.players.len());
    for (name, wrong) in &checks.0 {
        println!("{}  {name}", if wrong.is_empty() { "holds " } else { "BROKEN" });
        wrong.iter().take(FAULTS).for_each(|fault| println!("        {fault}"));
    }
}

/// The matches that were fought, with their epochs: first those that are not from earlier runs, and of these the latest
/// of each queue first.
fn in_order<'a>(
    matches: &'a BTreeMap<MatchId, MatchReport>,
    earlier: &BTreeSet<MatchId>,
) -> Vec<(u64, &'a MatchState)> {
    let mut fought: Vec<_> = matches.values().filter_map(|report| Some((report, report.fight.as_ref()?))).collect();
    let number = |report: &MatchReport| report.journal.setup.as_ref().map(|setup| setup.number);
    fought.sort_by_key(|(report, fight)| (earlier.contains(&fight.id), Reverse(number(report))));
    fought.into_iter().map(|(report, fight)| (report.journal.epoch, fight)).collect()
}

fn print_match(epoch: u64, fight: &MatchState) {
    println!("\n{} ({} ticks, epoch {epoch})", fight.id, fight.tick);
    for player in fight.results().players {
        let tally = player.tally;
        let left = if player.left { "left" } else { "" };
        println!(
            "{:4}  {:16} {:4} points {:4} kills {:4} deaths {left}",
            player.place,
            player.player,
            player.score(),
            tally.kills,
            tally.deaths
        );
    }
}

/// The last line under `--json`.
pub fn to_json(args: &Args, run: &Run) -> Value {
    let seconds = run.elapsed.as_secs_f64();
    let per_second = |n: u64| (n as f64 / seconds).round();
    let (calls, commits) = (run.metrics.calls(), run.metrics.commits());
    let ticks = run.metrics.grain("match").and_then(|grain| grain.ticks);
    let jitter = ticks.map(|t| json!({"p50": t.p50.as_micros(), "p99": t.p99.as_micros(), "max": t.max.as_micros()}));
    json!({
        "ok": run.checks.ok(),
        "checks": checks_json(&run.checks),
        "problems": problems(&run.checks),
        "resumed": run.resumed,
        "matches": run.matches,
        "matches_checked": run.audit.matches.len(),
        "players": run.players,
        "seconds": (seconds * 10.0).round() / 10.0,
        "calls": calls,
        "calls_per_second": per_second(calls),
        "commits": commits,
        "commits_per_second": per_second(commits),
        "ticks": ticks.map_or(0, |t| t.ticks),
        "ticks_skipped": ticks.map_or(0, |t| t.skipped),
        "tick_jitter_us": jitter,
        "storage": kind(&args.storage),
        "tick_hz": args.game.tick_hz,
        "seed": args.game.seed,
    })
}

/// Each check by its name, and whether it holds.
pub fn checks_json(checks: &Checks) -> Value {
    checks.0.iter().map(|(name, wrong)| ((*name).to_owned(), Value::from(wrong.is_empty()))).collect()
}

/// What is wrong: the first of it.
pub fn problems(checks: &Checks) -> Vec<&String> {
    checks.0.values().flatten().take(FAULTS).collect()
}

fn kind(storage: &StorageChoice) -> &'static str {
    match storage {
        StorageChoice::Memory => "memory",
        StorageChoice::Embedded(_) => "embedded",
        StorageChoice::Redis(_) => "redis",
    }
}

/// The last line under `--json` of a run without a verdict.
pub fn failed_json(reason: &str) -> Value {
    json!({"ok": false, "checks": {}, "error": reason})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grains::match_record::{Journal, MatchSetup};
    use crate::grains::names::QUEUES;
    use crate::rules::MatchConfig;

    #[test]
    fn this_runs_matches_come_first_the_latest_before_the_others() {
        let report = |queue: usize, number| {
            let (queue, config) = (QUEUES[queue].clone(), MatchConfig::default());
            let setup = MatchSetup { queue, number, seed: 1, config, players: Vec::new() };
            let fight = Some(MatchState::new(setup.id(), 1, setup.config.clone()));
            (setup.id(), MatchReport { journal: Journal { setup: Some(setup), ..Journal::default() }, fight })
        };
        let mut matches: BTreeMap<_, _> = (1..=10).map(|number| report(0, number)).chain([report(1, 1)]).collect();
        let earlier: BTreeSet<_> = [3, 10].map(|number| report(0, number).0).into();
        let shown = in_order(&matches, &earlier);
        let ids: Vec<&str> = shown.iter().map(|(_, fight)| &*fight.id).collect();
        let expected = [9, 8, 7, 6, 5, 4, 2].map(|number| format!("pillars.eu.{number}"));
        let last = ["pillars.eu.1", "pit.eu.1", "pillars.eu.10", "pillars.eu.3"];
        assert_eq!(ids, [expected.each_ref().map(String::as_str).as_slice(), &last].concat());
        matches.values_mut().for_each(|report| report.fight = None);
        assert!(in_order(&matches, &earlier).is_empty(), "none began");
    }
}
