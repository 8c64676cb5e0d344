//! Runs simulated clusters: many seeds, or one again.

use std::process::ExitCode;

use clap::Parser;
use gristmill::sim::Bug;
use gristmill_sim::report::{Many, Report, many, tell};
use gristmill_sim::run::{Settings, run};

/// Simulates clusters with everything that goes wrong, and checks what their callers saw.
///
/// Exit status: 0 if everything holds, 1 if not.
#[derive(Parser)]
struct Args {
    /// So many seeds.
    #[arg(long, default_value_t = 1_000, value_name = "N")]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0, value_name = "X")]
    from: u64,
    /// Runs side by side.
    #[arg(long, default_value_t = 2, value_name = "N")]
    jobs: usize,
    /// Runs this one seed twice, and compares.
    #[arg(long, value_name = "X")]
    seed: Option<u64>,
    /// With --seed: writes everything that happened there, and what happened the second time, if it differs, to FILE.again.
    #[arg(long, value_name = "FILE", requires = "seed")]
    trace: Option<std::path::PathBuf>,
    /// Only this workload.
    #[arg(long, value_name = "NAME")]
    workload: Option<String>,
    /// With this bug planted: it is to be found.
    #[arg(long, value_name = "NAME", value_parser = bug)]
    bug: Option<Bug>,
    /// Plants each bug in turn, and tells how many seeds it takes to find it.
    #[arg(long)]
    bugs: bool,
}

fn bug(name: &str) -> Result<Bug, String> {
    let named = Bug::ALL.into_iter().find(|bug| format!("{bug:?}") == name);
    named.ok_or_else(|| format!("one of {:?}", Bug::ALL))
}

fn told(report: &Report) {
    let a_minute = report.ran as f64 / report.took.as_secs_f64() * 60.0;
    let Report { ran, took, lasted, counts, failures, .. } = report;
    println!(
        "{ran} seeds in {took:.0?}, {a_minute:.0} a minute; {lasted:.0?} of virtual time; {counts:?}; {} failed",
        failures.len()
    );
}

fn main() -> ExitCode {
    let args = Args::parse();
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "off".into());
    tracing_subscriber::fmt().with_env_filter(filter).without_time().with_writer(std::io::stderr).init();
    if args.bugs {
        return bugs(&args);
    }
    if let Some(seed) = args.seed {
        return again(&args, seed);
    }
    let runs = Many {
        from: args.from,
        seeds: args.seeds,
        jobs: args.jobs,
        bug: args.bug,
        only: args.workload.clone(),
        first: args.bug.is_some(),
    };
    let report = many(&runs, |report| {
        if report.ran.is_multiple_of(1_000) {
            told(report);
        }
    });
    told(&report);
    for (name, count) in &report.coverage {
        println!("{count:>12}  {name}");
    }
    for (seed, broken) in report.failures.iter().take(20) {
        println!("seed {seed}: {}", broken.first().and_then(|broken| broken.lines().next()).unwrap_or_default());
    }
    let Some(seed) = report.failures.keys().next() else { return ExitCode::SUCCESS };
    let settings = Settings { bug: args.bug, only: args.workload, ..Settings::of(*seed) };
    let ran = run(&settings);
    println!("{}", tell(&settings, ran));
    ExitCode::FAILURE
}

/// Runs a seed again.
fn again(args: &Args, seed: u64) -> ExitCode {
    let settings = Settings { bug: args.bug, only: args.workload.clone(), trace: true, ..Settings::of(seed) };
    let (ran, other) = (run(&settings), run(&settings));
    println!("{}", ran.story);
    println!("{:?}; {} events, digest {:016x}", ran.counts, ran.digest.1, ran.digest.0);
    let same = ran.trace == other.trace;
    println!("run twice: {}", if same { "the same, byte for byte" } else { "NOT the same" });
    for (trace, ending) in [(&ran.trace, ""), (&other.trace, ".again")].into_iter().take(if same { 1 } else { 2 }) {
        let Some(path) = &args.trace else { break };
        let path = format!("{}{ending}", path.display());
        if let Err(error) = std::fs::write(&path, trace) {
            println!("{path}: {error}");
        }
    }
    if ran.broken.is_empty() {
        println!("everything holds");
        return if same { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    println!("{}", tell(&settings, ran));
    ExitCode::FAILURE
}

/// Plants each bug.
fn bugs(args: &Args) -> ExitCode {
    let mut missed = 0;
    for bug in Bug::ALL {
        let runs = Many {
            from: args.from,
            seeds: args.seeds,
            jobs: args.jobs,
            bug: Some(bug),
            only: args.workload.clone(),
            first: true,
        };
        let report = many(&runs, |_| {});
        match report.failures.first_key_value() {
            Some((seed, broken)) => {
                let first = broken.first().and_then(|broken| broken.lines().next()).unwrap_or_default();
                println!("{bug:?}: found after {} seeds, by seed {seed}: {first}", report.ran);
            }
            None => {
                missed += 1;
                println!("{bug:?}: NOT found in {} seeds", report.ran);
            }
        }
    }
    if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
