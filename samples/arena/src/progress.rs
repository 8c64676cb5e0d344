//! One line on a terminal that tells how far it is; nothing when piped.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use gristmill::prelude::*;
use tokio::task::AbortHandle;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::grains::lobby::{LOBBY, LobbyRef};

/// How often the line is written.
const EVERY: Duration = Duration::from_millis(250);

/// A line that is kept up to date until this is dropped.
#[derive(Debug)]
pub struct Progress(Option<(JoinSet<()>, AbortHandle)>);

impl Progress {
    /// Starts, if standard error is a terminal.
    pub fn start(silo: Silo) -> Self {
        if !std::io::stderr().is_terminal() {
            return Self(None);
        }
        let mut task = JoinSet::new();
        let handle = task.spawn(show(silo));
        Self(Some((task, handle)))
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some((_, task)) = self.0.take() {
            task.abort();
            write("");
        }
    }
}

async fn show(silo: Silo) {
    let (began, lobby) = (Instant::now(), silo.grain::<LobbyRef>(LOBBY));
    let (mut calls, mut commits) = (0, 0);
    loop {
        tokio::time::sleep(EVERY).await;
        let Ok(matches) = lobby.overview().await else { continue };
        let metrics = silo.metrics();
        let per_second = |now: u64, then: u64| (now - then) as f64 / EVERY.as_secs_f64();
        let line = format!(
            "{:4.0} s   {} matches open   {:6.0} calls/s   {:5.0} commits/s",
            began.elapsed().as_secs_f64(),
            matches.open.len(),
            per_second(metrics.calls(), calls),
            per_second(metrics.commits(), commits),
        );
        (calls, commits) = (metrics.calls(), metrics.commits());
        write(&line);
    }
}

/// Replaces the line; a terminal that does not take it need not.
fn write(line: &str) {
    let mut terminal = std::io::stderr().lock();
    let _ = write!(terminal, "\r\x1b[2K{line}").and_then(|()| terminal.flush());
}
