//! What a run prints: what it begins with, the scoreboard, the verdict, and the JSON line.

use serde_json::{Value, json};

use crate::args::{Args, StorageChoice};
use crate::grains::leaderboard::{Ranked, rank};
use crate::grains::match_record::MatchReport;
use crate::play::{Failure, Run};

/// How many lines of a table are shown.
const LINES: usize = 10;
/// How many matches are shown.
const MATCHES: usize = 8;
/// How much of what is wrong is told.
const FAULTS: usize = 20;

/// Says what a run begins with.
pub fn opening(args: &Args, resumed: usize, players: usize) {
    if resumed > 0 {
        println!("resumed {resumed} matches, {players} players");
    } else {
        let Args { matches, seconds, tick_hz, seed, .. } = args;
        println!("matches: {matches}, players: {players}, {seconds} s at {tick_hz} Hz, seed {seed}");
    }
}

/// Prints how a run went.
pub fn closing(run: &Run) {
    let open = run.audit.matches.values().rev();
    for report in open.take(MATCHES) {
        print_match(report);
    }
    println!("\nleaderboard");
    let lines = run.audit.boards.iter().flatten().map(|line| (line.player.clone(), line.standing.clone()));
    for Ranked { rank, player, standing } in rank(lines.collect()).into_iter().take(LINES) {
        println!(
            "{rank:4}  {player:16} {:6} points {:4} won {:5} kills",
            standing.points, standing.won, standing.kills
        );
    }
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
    println!("\nchecked {} matches, {} players", run.audit.matches.len(), run.audit.players.len());
    for (name, wrong) in &run.checks.0 {
        println!("{}  {name}", if wrong.is_empty() { "holds " } else { "BROKEN" });
        wrong.iter().take(FAULTS).for_each(|fault| println!("        {fault}"));
    }
}

fn print_match(report: &MatchReport) {
    let Some(fight) = &report.fight else { return };
    println!("\n{} ({} ticks, epoch {})", fight.id, fight.tick, report.journal.epoch);
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
    let checks: serde_json::Map<String, Value> =
        run.checks.0.iter().map(|(name, wrong)| ((*name).to_owned(), wrong.is_empty().into())).collect();
    let seconds = run.elapsed.as_secs_f64();
    let per_second = |n: u64| (n as f64 / seconds).round();
    let (calls, commits) = (run.metrics.calls(), run.metrics.commits());
    let ticks = run.metrics.grain("match").and_then(|grain| grain.ticks);
    let jitter = ticks.map(|t| json!({"p50": t.p50.as_micros(), "p99": t.p99.as_micros(), "max": t.max.as_micros()}));
    let problems: Vec<&String> = run.checks.0.values().flatten().take(FAULTS).collect();
    json!({
        "ok": run.checks.ok(),
        "checks": checks,
        "problems": problems,
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
        "tick_hz": args.tick_hz,
        "seed": args.seed,
    })
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

/// Says why a run came to no verdict.
pub fn explain(failure: &Failure) -> String {
    match failure {
        Failure::Storage(error) => format!("the storage cannot be used: {error}"),
        Failure::Start(error) => format!("the silo did not start: {error}"),
        Failure::Call(error) => format!("a grain did not answer: {error}"),
        Failure::Late(lobby) => {
            format!("the matches did not end in time; still open: {:?}", lobby.open.keys().collect::<Vec<_>>())
        }
    }
}
