//! Child processes of a benchmark: this program again, with a job of its own. They cannot outlive it.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

use gristmill::prelude::BoxError;
use tokio::runtime::Runtime;

use crate::machine::{self, WORKERS};
use crate::{failover, remote};

/// The word before a child's job.
pub(crate) const HOST: &str = "host";
/// How long a child may take to start, or to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// The threads of a silo, and of what it is compared with.
pub(crate) fn runtime() -> std::io::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build()
}

/// Does a child's job until its standard input ends.
pub(crate) fn host(what: &str, more: &[String]) -> ExitCode {
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new()); // however it ends
        std::process::exit(0);
    });
    let job = async {
        match (what, more) {
            ("bare", []) => remote::bare::serve().await,
            ("echo", [url]) => remote::grain::host(url).await,
            ("places", [url]) => failover::grain::host(url).await,
            _ => Err(format!("what is {what:?}?").into()),
        }
    };
    match runtime().map_err(BoxError::from).and_then(|runtime| runtime.block_on(job)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(wrong) => {
            eprintln!("{HOST} {what}: {wrong}");
            ExitCode::FAILURE
        }
    }
}

/// Tells the parent.
pub(crate) fn say(line: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

/// A running child; killed when dropped, also when it is paused.
pub(crate) struct Process {
    child: Child,
    lines: Receiver<String>,
}

impl Process {
    /// Starts a child with this job.
    ///
    /// Only from the main thread: the kernel kills a child when the thread that started it ends.
    pub(crate) fn start(job: &[&str]) -> Result<Self, BoxError> {
        let mut command = Command::new("setpriv");
        // The signal is asked for after the fork: a parent that has died until then is noticed by the shell.
        command.args(["--pdeathsig", "KILL", "sh", "-c", "[ \"$PPID\" = \"$0\" ] && exec \"$@\""]);
        command.arg(std::process::id().to_string()).arg(std::env::current_exe()?).arg(HOST).args(job);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(|error| format!("setpriv (util-linux) does not start: {error}"))?;
        let stdout = child.stdout.take();
        let (send, lines) = mpsc::channel();
        let process = Self { child, lines };
        let stdout = stdout.ok_or("the child has no standard output")?;
        std::thread::spawn(move || read(stdout, &send));
        Ok(process)
    }

    /// Its number.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// What follows this word in the next line that it says.
    pub(crate) fn says(&self, word: &str) -> Result<String, BoxError> {
        let line = self.lines.recv_timeout(PATIENCE).map_err(|_| format!("a child did not say {word:?}"))?;
        let rest = line.strip_prefix(word).ok_or_else(|| format!("a child said {line:?} and not {word:?}"))?;
        Ok(rest.trim().to_owned())
    }

    /// Sends a signal by its name.
    pub(crate) fn signal(&self, name: &str) -> Result<(), BoxError> {
        let status = Command::new("kill").args([&format!("-{name}"), &self.id().to_string()]).status()?;
        if status.success() { Ok(()) } else { Err(format!("kill -{name}: {status}").into()) }
    }

    /// Waits until it has ended.
    pub(crate) fn ends(&mut self) -> Result<(), BoxError> {
        let since = Instant::now();
        while since.elapsed() < PATIENCE {
            if let Some(status) = self.child.try_wait()? {
                return if status.success() { Ok(()) } else { Err(format!("a child ended with {status}").into()) };
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Err(format!("a child did not end within {PATIENCE:?}").into())
    }

    /// CPU time that it has taken.
    pub(crate) fn cpu_time(&self) -> Duration {
        machine::cpu_time_of(&self.id().to_string())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill(); // or it has ended
        let _ = self.child.wait();
    }
}

/// Reads to the end, so that the child never stands before a full pipe.
fn read(stdout: impl Read, lines: &Sender<String>) {
    for line in BufReader::new(stdout).lines().map_while(Result::ok) {
        let _ = lines.send(line); // nobody may wait for it any more
    }
}
