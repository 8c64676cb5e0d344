//! `arena`: see `arena --help`.

use std::process::ExitCode;

use arena::args::Args;
use arena::play::{self, Outcome};
use arena::report;
use clap::Parser;
use tracing::Level;

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_max_level(Level::WARN).init();
    let (code, last) = match play::run(&args, told_to_stop()).await {
        Ok(Outcome::Done(run)) => {
            report::closing(&run);
            (if run.checks.ok() { 0 } else { 1 }, report::to_json(&args, &run))
        }
        Ok(Outcome::Interrupted) => {
            eprintln!("interrupted; the next run on this storage goes on");
            (130, report::failed_json("interrupted"))
        }
        Err(failure) => {
            let reason = failure.to_string();
            eprintln!("arena: {reason}");
            (1, report::failed_json(&reason))
        }
    };
    if args.json {
        println!("{last}");
    }
    ExitCode::from(code)
}

/// Ends at Ctrl-C or SIGTERM.
async fn told_to_stop() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let terminated = async {
            match signal(SignalKind::terminate()) {
                Ok(mut signal) => drop(signal.recv().await),
                Err(_) => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            () = terminated => {}
        }
    }
    #[cfg(not(unix))]
    let _ = tokio::signal::ctrl_c().await;
}
