//! Gristmill side by side with its peers and with the limits.
//!
//! Every figure is one of a run in which the contenders take turns, round after round, on the same machine: compare them
//! with each other, not with another machine's. The medians of the rounds are shown, the losers' too.

mod args;
mod budget;
mod child;
mod contenders;
mod counting;
mod durable;
mod failover;
mod latency;
mod local;
mod machine;
mod matches;
mod memory;
mod nowhere;
mod remote;
mod report;
mod rounds;

use std::process::ExitCode;

use gristmill::prelude::BoxError;

use crate::args::{Args, Name};

fn main() -> ExitCode {
    let given: Vec<_> = std::env::args().skip(1).collect();
    if let [work, name, times] = given.as_slice()
        && work == "work"
    {
        budget::work(name, times.parse().unwrap_or(0));
        return ExitCode::SUCCESS;
    }
    if let [host, what, more @ ..] = given.as_slice()
        && host == child::HOST
    {
        return child::host(what, more);
    }
    let args = match Args::parse(std::env::args().skip(1)) {
        Ok(args) => args,
        Err(wrong) => {
            eprintln!("{wrong}\n\n{}", args::USAGE);
            return ExitCode::from(2);
        }
    };
    let report = report::Report::new(args.json);
    report.head(&machine::describe(args.quick));
    match args.name {
        Name::Local => local::run(&args, &report),
        Name::Budget => return budget::run(&report),
        Name::Latency => latency::run(&args, &report),
        Name::Match => matches::run(&args, &report),
        Name::Durable => durable::run(&args, &report),
        Name::Memory => memory::run(&args, &report),
        Name::Remote => return ended(remote::run(&args, &report)),
        Name::Failover => return ended(failover::run(&args, &report)),
    }
    ExitCode::SUCCESS
}

/// Says what is wrong.
fn ended(result: Result<(), BoxError>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(wrong) => {
            eprintln!("{wrong}");
            ExitCode::FAILURE
        }
    }
}
