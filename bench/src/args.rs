//! The command line.

use std::time::Duration;

pub(crate) const USAGE: &str = "\
usage: cargo run --release -p gristmill-bench -- NAME [--json] [--quick] [--only TEXT]

  local     calls within one silo, beside ractor, kameo and a channel written by hand
  memory    what an idle grain takes, and how fast grains are activated
  durable   acknowledged turns on a Redis that it starts, and on redb
  match     how many of the sample's matches one silo sustains
  latency   of a local call, at parts of the capacity, open-loop
  remote    calls between two processes, beside a bare echo
  failover  how soon grains answer again after a silo was killed, paused or stopped
  budget    instructions a call takes, and fails if they are over budget; needs valgrind

  --json    one line of JSON a scenario
  --quick   short rounds: to see that it works, not for figures
  --only    only scenarios with TEXT in their name
  --alone   only Gristmill, to be profiled";

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Name {
    Local,
    Memory,
    Durable,
    Latency,
    Match,
    Remote,
    Failover,
    Budget,
}

#[derive(Clone, Debug)]
pub(crate) struct Args {
    pub(crate) name: Name,
    pub(crate) json: bool,
    pub(crate) quick: bool,
    pub(crate) only: Option<String>,
    pub(crate) alone: bool,
}

impl Args {
    pub(crate) fn parse(given: impl Iterator<Item = String>) -> Result<Self, String> {
        let (mut name, mut json, mut quick, mut only, mut alone) = (None, false, false, None, false);
        let mut given = given;
        while let Some(argument) = given.next() {
            match argument.as_str() {
                "--json" => json = true,
                "--quick" => quick = true,
                "--alone" => alone = true,
                "--only" => only = Some(given.next().ok_or("--only needs a text")?),
                "local" => name = Some(Name::Local),
                "match" => name = Some(Name::Match),
                "latency" => name = Some(Name::Latency),
                "remote" => name = Some(Name::Remote),
                "failover" => name = Some(Name::Failover),
                "budget" => name = Some(Name::Budget),
                "durable" => name = Some(Name::Durable),
                "memory" => name = Some(Name::Memory),
                other => return Err(format!("what is {other:?}?")),
            }
        }
        Ok(Self { name: name.ok_or("what shall be measured?")?, json, quick, only, alone })
    }

    pub(crate) fn wants(&self, scenario: &str) -> bool {
        self.only.as_ref().is_none_or(|text| scenario.contains(text.as_str()))
    }

    /// How often the contenders take turns.
    pub(crate) fn rounds(&self) -> usize {
        if self.quick { 3 } else { 9 }
    }

    /// How long one contender's part of a round takes, about.
    pub(crate) fn round(&self) -> Duration {
        Duration::from_millis(if self.quick { 50 } else { 400 })
    }
}
