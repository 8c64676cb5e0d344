//! `arena`: see `arena --help`.

use std::process::ExitCode;

use arena::args::{Args, ClusterArgs, Command, Game};
use arena::cluster::{bots, redis, run, silo};
use arena::play::{self, Outcome};
use arena::{out, report};
use clap::Parser;
use serde_json::Value;
use tokio::sync::oneshot;
use tracing::Level;

/// The exit status of a run that was interrupted.
const INTERRUPTED: u8 = 130;

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_max_level(Level::WARN).init();
    match &args.command {
        None => one_silo(&args).await,
        Some(Command::Cluster(args)) => on_a_cluster(args).await,
        Some(Command::ClusterSilo(args)) => part(silo::run(args, told_to_stop()).await),
        Some(Command::ClusterBots(args)) => part(bots::run(args, told_to_stop()).await),
        Some(Command::Guard { program }) => part(redis::guard(program).await.map_err(Into::into)),
    }
}

async fn one_silo(args: &Args) -> ExitCode {
    let (code, last) = match play::run(args, told_to_stop()).await {
        Ok(Outcome::Done(run)) => {
            report::closing(&run);
            (verdict(run.checks.ok()), report::to_json(args, &run))
        }
        Ok(Outcome::Interrupted) => {
            out::error_line(format_args!("interrupted; the next run on this storage goes on"));
            (INTERRUPTED, report::failed_json("interrupted"))
        }
        Err(failure) => failed(&failure),
    };
    ended(&args.game, code, &last)
}

async fn on_a_cluster(args: &ClusterArgs) -> ExitCode {
    let (code, last) = match run::run(args, told_to_stop()).await {
        Ok(Some(done)) => {
            run::closing(&done);
            (verdict(done.checks.ok()), run::to_json(args, &done))
        }
        Ok(None) => {
            out::error_line(format_args!("interrupted"));
            (INTERRUPTED, report::failed_json("interrupted"))
        }
        Err(failure) => failed(&*failure),
    };
    ended(&args.game, code, &last)
}

fn verdict(holds: bool) -> u8 {
    if holds { 0 } else { 1 }
}

fn failed(failure: &dyn std::error::Error) -> (u8, Value) {
    out::error_line(format_args!("arena: {failure}"));
    (1, report::failed_json(&failure.to_string()))
}

fn ended(game: &Game, code: u8, last: &Value) -> ExitCode {
    if game.json {
        out::line(format_args!("{last}"));
    }
    ExitCode::from(code)
}

/// How a process ends that is part of a run.
fn part(ended: Result<bool, Box<dyn std::error::Error>>) -> ExitCode {
    match ended {
        Ok(well) => ExitCode::from(verdict(well)),
        Err(failure) => ExitCode::from(failed(&*failure).0),
    }
}

/// Ends at the first Ctrl-C or SIGTERM. One that comes when nobody listens, as the run stops already, ends the program.
fn told_to_stop() -> impl Future<Output = ()> {
    let (tell, told) = oneshot::channel();
    tokio::runtime::Handle::current().spawn(async move {
        let mut signals = Signals::listen();
        signals.next().await;
        if tell.send(()).is_ok() {
            signals.next().await;
        }
        out::error_line(format_args!("stopped at once; the next run on this storage goes on"));
        std::process::exit(INTERRUPTED.into());
    });
    async {
        if told.await.is_err() {
            std::future::pending().await
        }
    }
}

/// The signals that end a run.
#[cfg(unix)]
struct Signals(Vec<tokio::signal::unix::Signal>);

#[cfg(unix)]
impl Signals {
    fn listen() -> Self {
        use tokio::signal::unix::{SignalKind, signal};
        // One that cannot be listened to ends the program, as ever.
        Self(
            [SignalKind::interrupt(), SignalKind::terminate()]
                .into_iter()
                .filter_map(|kind| signal(kind).ok())
                .collect(),
        )
    }

    /// Waits for one.
    async fn next(&mut self) {
        std::future::poll_fn(|cx| {
            let came = self.0.iter_mut().any(|signal| signal.poll_recv(cx).is_ready());
            if came { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
        })
        .await;
    }
}

/// The signals that end a run.
#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn listen() -> Self {
        Self
    }

    /// Waits for one.
    async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending().await
        }
    }
}
