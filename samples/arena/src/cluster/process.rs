//! The processes of a run.

use std::fmt::Display;
use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

/// How long a process may take to start, and to end once it was told to.
const PATIENCE: Duration = Duration::from_secs(60);
/// What a process prints when it does what it is for.
pub const READY: &str = "ready";

/// This program again, as a process of its own. It ends in order when its standard input ends, as it does with this process;
/// dropped, it is killed.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Lines<BufReader<ChildStdout>>,
}

/// Why a process is not there.
#[derive(Debug)]
pub struct ProcessError {
    name: String,
    why: String,
}

impl Display for ProcessError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.name, self.why)
    }
}

impl std::error::Error for ProcessError {}

impl ProcessError {
    pub(crate) fn new(name: &str, why: String) -> Self {
        Self { name: name.to_owned(), why }
    }
}

impl Process {
    /// Starts `arena` with these arguments, in a process group of its own: Ctrl-C is for this process, which ends the others.
    ///
    /// # Errors
    /// It does not start.
    pub fn start(name: &str, args: &[String]) -> Result<Self, ProcessError> {
        let wrong = |error: io::Error| ProcessError { name: name.to_owned(), why: error.to_string() };
        let mut command = Command::new(std::env::current_exe().map_err(wrong)?);
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        #[cfg(unix)]
        command.process_group(0);
        let mut child = command.spawn().map_err(wrong)?;
        let stdin = child.stdin.take();
        let Some(stdout) = child.stdout.take() else { return Err(wrong(io::ErrorKind::BrokenPipe.into())) };
        Ok(Self { name: name.to_owned(), child, stdin, lines: BufReader::new(stdout).lines() })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Waits until it says that it is ready.
    ///
    /// # Errors
    /// It ends, or takes too long.
    pub async fn ready(&mut self) -> Result<(), ProcessError> {
        let ready = async {
            while let Some(line) = self.line().await {
                if line == READY {
                    return true;
                }
            }
            false
        };
        match timeout(PATIENCE, ready).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(self.error("it ended before it was ready")),
            Err(_) => Err(self.error("it is not ready in time")),
        }
    }

    /// Its next line; none at its end.
    pub async fn line(&mut self) -> Option<String> {
        self.lines.next_line().await.ok().flatten()
    }

    /// Has it ended, and how?
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// It cannot be waited for.
    pub async fn end(&mut self) -> Result<ExitStatus, ProcessError> {
        let ended = self.child.wait().await;
        ended.map_err(|error| self.error(error))
    }

    /// Tells it to end in order, and waits until it has.
    ///
    /// # Errors
    /// It does not.
    pub async fn leave(&mut self) -> Result<ExitStatus, ProcessError> {
        self.stdin = None;
        self.end_in_time().await
    }

    /// Waits for its end, for a while.
    ///
    /// # Errors
    /// It does not end.
    pub async fn end_in_time(&mut self) -> Result<ExitStatus, ProcessError> {
        match timeout(PATIENCE, self.end()).await {
            Ok(ended) => ended,
            Err(_) => Err(self.error("it does not end")),
        }
    }

    /// Ends it at once, as a crash does.
    pub async fn kill(&mut self) {
        let _ = self.child.kill().await; // or it has ended
    }

    /// Sends it a signal, by its name.
    ///
    /// # Errors
    /// There are no signals here, or it has ended.
    pub async fn signal(&self, signal: &str) -> Result<(), ProcessError> {
        let Some(id) = self.child.id() else { return Err(self.error("it has ended")) };
        let sent = Command::new("kill").args([&format!("-{signal}"), &id.to_string()]).status().await;
        match sent {
            Ok(status) if status.success() => Ok(()),
            _ => Err(self.error(format!("it cannot be sent SIG{signal}"))),
        }
    }

    fn error(&self, why: impl Display) -> ProcessError {
        ProcessError { name: self.name.clone(), why: why.to_string() }
    }
}

/// An address at this host that nobody listens at now.
///
/// # Errors
/// There is none.
pub fn free_address() -> io::Result<String> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}

/// Ends when standard input does: this process's parent has gone, or wants it to end.
pub async fn told_to_end() {
    let (tell, told) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink()); // however it ends
        tell.send(())
    });
    let _ = told.await; // it cannot be dropped unsent
}
