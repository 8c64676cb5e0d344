//! `arena`: see `arena --help`.

use std::process::ExitCode;

use arena::args::Args;
use arena::play::{self, Outcome};
use arena::{out, report};
use clap::Parser;
use tokio::sync::oneshot;
use tracing::Level;

/// The exit status of a run that was interrupted.
const INTERRUPTED: u8 = 130;

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
            out::error_line(format_args!("interrupted; the next run on this storage goes on"));
            (INTERRUPTED, report::failed_json("interrupted"))
        }
        Err(failure) => {
            out::error_line(format_args!("arena: {failure}"));
            (1, report::failed_json(&failure.to_string()))
        }
    };
    if args.json {
        out::line(format_args!("{last}"));
    }
    ExitCode::from(code)
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
