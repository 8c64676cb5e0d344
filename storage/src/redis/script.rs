//! The scripts, and one call of one.

use std::sync::LazyLock;

use gristmill_grains::GrainId;
use gristmill_grains::chaos::{self, Bug};
use gristmill_grains::storage::{Commit, FENCE_RETENTION, Fence};
use redis::Cmd;

use super::key;

/// A script's text, and the hash that a server knows it by.
struct Script {
    text: &'static str,
    hash: String,
}

impl Script {
    fn new(text: &'static str) -> Self {
        Self { text, hash: redis::Script::new(text).get_hash().to_owned() }
    }
}

macro_rules! script {
    ($file:literal) => {
        LazyLock::new(|| {
            Script::new(concat!(include_str!("scripts/head.lua"), include_str!(concat!("scripts/", $file))))
        })
    };
}

static OPEN: LazyLock<Script> = script!("open.lua");
static COMMIT: LazyLock<Script> = script!("commit.lua");
static BEGIN_RUN: LazyLock<Script> = script!("begin_run.lua");
static RUN: LazyLock<Script> = script!("run.lua");

/// How a script is named to the server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum By {
    /// By its hash: the server has it, mostly.
    Hash,
    /// By its text, which the server then keeps.
    Text,
}

/// A call of a script on one key.
pub(super) struct Call<'a> {
    script: &'static Script,
    pub(super) key: String,
    args: Args<'a>,
}

enum Args<'a> {
    Open(Fence),
    Commit(&'a Commit),
    BeginRun(u64),
    Run,
}

impl<'a> Call<'a> {
    pub(super) fn open(prefix: &str, grain: &GrainId, fence: Fence) -> Self {
        Self { script: &OPEN, key: key::of_grain(prefix, grain), args: Args::Open(fence) }
    }

    pub(super) fn commit(prefix: &str, commit: &'a Commit) -> Self {
        Self { script: &COMMIT, key: key::of_grain(prefix, &commit.grain), args: Args::Commit(commit) }
    }

    pub(super) fn begin_run(prefix: &str, floor: u64) -> Self {
        Self { script: &BEGIN_RUN, key: key::of_run(prefix), args: Args::BeginRun(floor) }
    }

    pub(super) fn run(prefix: &str) -> Self {
        Self { script: &RUN, key: key::of_run(prefix), args: Args::Run }
    }

    /// Does only a server that takes writes accept it?
    pub(super) fn writes(&self) -> bool {
        matches!(self.args, Args::Commit(_) | Args::BeginRun(_))
    }

    /// The script with the bug that is planted in it, if one is.
    fn planted(&self) -> Option<String> {
        let plants = [
            (Bug::FenceNotChecked, "if stored ~= ARGV[2] then"),
            (Bug::VersionNotChecked, "if found ~= ARGV[i + 1] then"),
            (Bug::OpenNotChecked, "if tonumber(ARGV[2]) <= epoch then"),
            (Bug::WriteIdForgotten, "if redis.call('HGET', KEYS[1], 'w') == ARGV[3] then"),
        ];
        let planted = plants.into_iter().find(|(bug, check)| chaos::planted(*bug) && self.script.text.contains(check));
        planted.map(|(_, check)| self.script.text.replace(check, "if false then"))
    }

    /// The command; with `probe`, its answer names the process that gave it.
    pub(super) fn command(&self, by: By, probe: bool) -> Cmd {
        let mut command = match by {
            _ if self.planted().is_some() => redis::cmd("EVAL").arg(self.planted().unwrap_or_default()).to_owned(),
            By::Hash => redis::cmd("EVALSHA").arg(&self.script.hash).to_owned(),
            By::Text => redis::cmd("EVAL").arg(self.script.text).to_owned(),
        };
        command.arg(1).arg(&self.key).arg(if probe { "1" } else { "0" });
        let retention = FENCE_RETENTION.as_millis() as u64;
        match self.args {
            Args::Open(Fence { epoch, activation }) => {
                command.arg(epoch).arg(activation.to_string()).arg(retention);
            }
            Args::Commit(commit) => {
                let write = format!("{}:{}", commit.fence.activation, commit.write.0);
                command.arg(commit.fence.to_string()).arg(write).arg(retention);
                for record in &commit.records {
                    command.arg(&record.name).arg(record.expect).arg(record.version);
                    command
                        .arg(if record.body.is_some() { "1" } else { "0" })
                        .arg(record.body.as_deref().unwrap_or(&[]));
                }
            }
            Args::BeginRun(floor) => {
                command.arg(floor);
            }
            Args::Run => {}
        }
        command
    }
}
