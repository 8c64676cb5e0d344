//! A child process that cannot outlive the test.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::LazyLock;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

/// How long a server may take to say that it is ready.
const PATIENCE: Duration = Duration::from_secs(20);

type Order = (Command, Sender<std::io::Result<Child>>);

/// Starts the children. The kernel sends a child its parent-death signal when the *thread* that started it ends, and
/// test threads end with their test; this one ends with the process.
static SPAWNER: LazyLock<Sender<Order>> = LazyLock::new(|| {
    let (orders, queue) = mpsc::channel::<Order>();
    std::thread::spawn(move || {
        for (mut command, reply) in queue {
            let _ = reply.send(command.spawn());
        }
    });
    orders
});

/// A running child; killed and reaped when dropped.
#[derive(Debug)]
pub(crate) struct Guarded(Child);

impl Guarded {
    /// Starts `program`, and waits until it prints a line with `ready`. Otherwise the error is what it printed.
    pub(crate) fn start(program: &str, args: &[String], ready: &'static str) -> Result<Self, String> {
        let mut command = Command::new("setpriv");
        // The signal is asked for after the fork: a parent that has died until then is noticed by the shell.
        command.args(["--pdeathsig", "KILL", "sh", "-c", "[ \"$PPID\" = \"$0\" ] && exec \"$@\""]);
        command.arg(std::process::id().to_string()).arg(program).args(args);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let (reply, spawned) = mpsc::channel();
        SPAWNER.send((command, reply)).expect("the spawner lives as long as the process");
        let spawned = spawned.recv().expect("the spawner answers");
        let mut child = spawned.map_err(|error| format!("setpriv (util-linux) does not start: {error}"))?;
        let stdout = child.stdout.take().expect("stdout is piped");
        let guarded = Self(child);
        match watch(stdout, ready).recv_timeout(PATIENCE) {
            Ok(Ok(())) => Ok(guarded),
            Ok(Err(printed)) => Err(printed),
            Err(_) => Err(format!("not ready after {PATIENCE:?}")),
        }
    }

    /// Kills it at once (SIGKILL), and waits for its end.
    pub(crate) fn kill9(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }

    /// Sends a signal by its name.
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").args([&format!("-{name}"), &self.0.id().to_string()]).status();
        assert!(status.is_ok_and(|status| status.success()), "kill -{name}");
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.kill9();
    }
}

/// Tells when a line with `ready` comes, or all that was printed if none does. Reads on until the end, so that the
/// child never stands before a full pipe.
fn watch(stdout: ChildStdout, ready: &'static str) -> Receiver<Result<(), String>> {
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
        let mut printed = String::new();
        for line in lines.by_ref() {
            printed.push_str(&line);
            printed.push('\n');
            if line.contains(ready) {
                let _ = tell.send(Ok(()));
                return lines.for_each(drop);
            }
        }
        let _ = tell.send(Err(printed));
    });
    told
}
