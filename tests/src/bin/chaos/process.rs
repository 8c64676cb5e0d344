//! Child processes that cannot outlive this one.

use std::fs::File;
use std::io;
use std::process::Stdio;
use std::sync::mpsc;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

type Order = (Command, oneshot::Sender<io::Result<Child>>);

/// Starts children. The kernel sends a child its parent-death signal when the *thread* that started it ends; this one ends
/// with the process.
#[derive(Clone)]
pub(crate) struct Spawner(mpsc::Sender<Order>);

impl Spawner {
    /// Starts the thread.
    pub(crate) fn new() -> Self {
        let (orders, queue) = mpsc::channel::<Order>();
        let runtime = Handle::current();
        std::thread::spawn(move || {
            let _entered = runtime.enter();
            for (mut command, reply) in queue {
                let _ = reply.send(command.spawn()); // who asked may be gone, and the child with it
            }
        });
        Self(orders)
    }

    /// Starts this program again with these arguments. Its standard output is piped, its errors go to the log.
    pub(crate) async fn start(&self, arguments: &[String], log: File) -> io::Result<Child> {
        let mut command = Command::new("setpriv");
        // The signal is asked for after the fork: a parent that has died until then is noticed by the shell.
        command.args(["--pdeathsig", "KILL", "sh", "-c", "[ \"$PPID\" = \"$0\" ] && exec \"$@\""]);
        command.arg(std::process::id().to_string()).arg(std::env::current_exe()?).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).kill_on_drop(true);
        let (reply, started) = oneshot::channel();
        let gone = || io::Error::other("nobody starts processes");
        self.0.send((command, reply)).map_err(|_| gone())?;
        started.await.map_err(|_| gone())?
    }
}

/// Sends a signal; to a process that has ended, nothing.
pub(crate) fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}
