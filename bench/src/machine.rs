//! What the figures were measured on.

use std::fs;
use std::process::Command;
use std::time::Duration;

use crate::counting;

/// Machine, commit and settings, in a line each.
pub(crate) fn describe(quick: bool) -> Vec<String> {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("unknown");
    let cpu = cpu.trim_start_matches([' ', '\t', ':']);
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let memory = memory.lines().next().and_then(|line| line.split_whitespace().nth(1)).unwrap_or("0");
    let gigabytes = memory.parse::<u64>().unwrap_or(0) / (1024 * 1024);
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    vec![
        format!("machine: {cpu}, {cores} cores, {gigabytes} GB, load {}", load.split(' ').next().unwrap_or("?")),
        format!("commit: {}", git(&["describe", "--always", "--dirty"])),
        format!("settings: release, {}, {WORKERS} worker threads, {}", counting::NAME, pace(quick)),
    ]
}

/// Threads of each contender's runtime.
pub(crate) const WORKERS: usize = 2;

fn pace(quick: bool) -> &'static str {
    if quick { "--quick: not for figures" } else { "medians of rounds by turns" }
}

fn git(arguments: &[&str]) -> String {
    let output = Command::new("git").args(arguments).output();
    let text = output.ok().filter(|output| output.status.success()).map(|output| output.stdout);
    text.map_or_else(|| "unknown".to_owned(), |text| String::from_utf8_lossy(&text).trim().to_owned())
}

/// Resident bytes of this process.
pub(crate) fn resident() -> u64 {
    const PAGE: u64 = 4096;
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * PAGE
}

/// CPU time of this process so far, of all its threads; to 10 ms.
pub(crate) fn cpu_time() -> Duration {
    cpu_time_of("self")
}

/// The same of another process, by its number; zero when it has ended.
pub(crate) fn cpu_time_of(process: &str) -> Duration {
    const TICKS_PER_SECOND: u64 = 100;
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // After the name, which may hold spaces: state is field 3, user and system time are 14 and 15.
    let fields: Vec<_> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |field: usize| fields.get(field - 3).and_then(|ticks| ticks.parse::<u64>().ok()).unwrap_or(0);
    Duration::from_millis((ticks(14) + ticks(15)) * 1_000 / TICKS_PER_SECOND)
}
