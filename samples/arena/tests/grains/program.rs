//! The program as a child of a test.

use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

/// How long the program may take for anything.
const PATIENCE: Duration = Duration::from_secs(120);

/// A run of the program. It ends with the test, also when the test is killed: the kernel sees to that.
pub(crate) struct Program {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Program {
    pub(crate) fn start(args: &[&str]) -> Self {
        let mut command = Command::new("setpriv"); // of util-linux
        command.args(["--pdeathsig", "KILL", env!("CARGO_BIN_EXE_arena")]).args(args);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// Its next line; none at the end.
    pub(crate) async fn line(&mut self) -> Option<String> {
        timeout(PATIENCE, self.lines.next_line()).await.expect("the program prints nothing").unwrap()
    }

    /// Kills it as `kill -9` does.
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// Sends a signal by its name.
    pub(crate) async fn signal(&self, name: &str) {
        let id = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &id]).status().await.unwrap().success());
    }

    /// Whether it has ended within that time, and with which exit status.
    pub(crate) async fn ended(&mut self, within: Duration) -> Option<Option<i32>> {
        timeout(within, self.child.wait()).await.ok().map(|status| status.unwrap().code())
    }

    /// Closes its standard output, and waits for its end.
    pub(crate) async fn finish_unread(self) -> Option<i32> {
        let Self { mut child, lines } = self;
        drop(lines);
        timeout(PATIENCE, child.wait()).await.expect("the program does not end").unwrap().code()
    }

    /// Waits for its end; its exit status, and the last line.
    pub(crate) async fn finish(mut self) -> (Option<i32>, Value) {
        let mut printed = Vec::new();
        while let Some(line) = self.line().await {
            printed.push(line);
        }
        let status = self.ended(PATIENCE).await.expect("the program does not end");
        let last = printed.last().map(String::as_str).unwrap_or_default();
        let verdict =
            serde_json::from_str(last).unwrap_or_else(|_| panic!("no JSON at the end:\n{}", printed.join("\n")));
        (status, verdict)
    }
}
