//! A worker process, and what its lines must add up to.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use gristmill_tests::{LEDGERS, WRITERS};

const PATIENCE: Duration = Duration::from_secs(30);

/// A running worker; killed when dropped.
pub(crate) struct Worker {
    child: Child,
    lines: Receiver<String>,
}

impl Worker {
    pub(crate) fn start(run: u32, storage: [&str; 2]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_worker"));
        command.arg(run.to_string()).args(storage).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("the worker starts");
        let stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
        let (send, lines) = mpsc::channel();
        // Ends with the worker. A last line that the kill has cut is no acknowledgement: it has no end.
        std::thread::spawn(move || read_lines(stdout, &send));
        Self { child, lines }
    }

    /// The next line.
    pub(crate) fn line(&self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("the worker says something")
    }

    /// SIGKILL; gives what it had said before.
    pub(crate) fn kill9(mut self) -> Vec<String> {
        self.child.kill().expect("the worker runs");
        self.child.wait().expect("the worker is reaped");
        self.lines.iter().collect()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill(); // or it has ended
        let _ = self.child.wait();
    }
}

fn read_lines(mut stdout: impl BufRead, send: &mpsc::Sender<String>) {
    let mut line = String::new();
    while stdout.read_line(&mut line).is_ok_and(|read| read > 0) {
        if let Some(whole) = line.strip_suffix('\n')
            && send.send(whole.to_owned()).is_err()
        {
            return;
        }
        line.clear();
    }
}

/// What was acknowledged so far.
#[derive(Default)]
pub(crate) struct Acknowledged {
    /// By ledger, run and writer: how many entries.
    entries: BTreeMap<(usize, u32, usize), usize>,
    /// By ledger: the highest count, and the number of the runs since the start.
    counts: BTreeMap<usize, u64>,
    runs: u32,
    pub(crate) total: usize,
}

impl Acknowledged {
    /// Takes a line of the worker in.
    pub(crate) fn take(&mut self, line: &str) {
        let words: Vec<_> = line.split(' ').collect();
        match words[..] {
            ["ack", ledger, entry] => {
                let (run, writer, n) = parse(entry);
                let acknowledged = self.entries.entry((number(ledger), run, writer)).or_default();
                assert_eq!(n, *acknowledged, "a writer waits for each answer");
                *acknowledged += 1;
                self.total += 1;
            }
            ["count", ledger, count] => {
                let (ledger, count) = (number(ledger), count.parse().expect("a count"));
                let highest = self.counts.insert(ledger, count).unwrap_or(0);
                assert!(count > highest, "ledger {ledger} counted {count} after {highest}");
                self.total += 1;
            }
            _ => panic!("the worker says {line:?}"),
        }
    }

    /// Asserts that what a worker found stored is every acknowledged write, in order, exactly once, and of those that
    /// were not acknowledged at most the one that each writer was waiting for.
    pub(crate) fn check(&mut self, worker: &Worker) {
        for ledger in 0..LEDGERS {
            let line = worker.line();
            let words: Vec<_> = line.split(' ').collect();
            let ["stored", of, count, entries] = words[..] else { panic!("the worker says {line:?}") };
            assert_eq!(number(of), ledger);
            let mut found: BTreeMap<(u32, usize), usize> = BTreeMap::new();
            for entry in entries.split(',').filter(|entry| !entry.is_empty()) {
                let (run, writer, n) = parse(entry);
                let next = found.entry((run, writer)).or_default();
                assert_eq!(n, *next, "{entry} of ledger {ledger}: in order, once each");
                *next += 1;
            }
            for run in 0..self.runs {
                for writer in 0..WRITERS {
                    let stored = found.remove(&(run, writer)).unwrap_or(0);
                    let acknowledged = self.entries.get(&(ledger, run, writer)).copied().unwrap_or(0);
                    let fits = stored == acknowledged || stored == acknowledged + 1;
                    assert!(
                        fits,
                        "ledger {ledger}, run {run}, writer {writer}: {acknowledged} answered, {stored} stored"
                    );
                    // The one that was not answered is settled: it must stay as it was found.
                    self.entries.insert((ledger, run, writer), stored);
                }
            }
            assert!(found.is_empty(), "writes of nobody: {found:?}");
            let (count, highest): (u64, _) = (count.parse().expect("a count"), self.counts.entry(ledger).or_default());
            assert!(count == *highest || count == *highest + 1, "ledger {ledger}: {highest} answered, {count} stored");
            *highest = count;
        }
        assert_eq!(worker.line(), "ready");
        self.runs += 1;
    }
}

fn parse(entry: &str) -> (u32, usize, usize) {
    let parts: Vec<_> = entry.split('.').collect();
    let [run, writer, n] = parts[..] else { panic!("{entry:?} is no entry") };
    (run.parse().expect("a run"), number(writer), number(n))
}

fn number(text: &str) -> usize {
    text.parse().expect("a number")
}
