//! The command line.

use std::path::PathBuf;
use std::str::FromStr;

use clap::Parser;
use gristmill::storage::RedisStorage;

use crate::grains::settings::Settings;

/// Where the default run keeps its world.
const DEFAULT_FILE: &str = "arena.redb";

/// Plays matches with bots on one silo, then checks that nothing was lost, doubled or made up.
///
/// The world lives in its storage. A run on a storage that holds unfinished matches (after a crash, or Ctrl-C) finishes
/// those; otherwise it plays new ones, with the same players. Either way it checks every match the storage holds.
///
/// Exit status: 0 if everything holds, 1 if not, 2 for wrong arguments, 130 if interrupted.
#[derive(Clone, Debug, Parser)]
#[command(name = "arena", args_conflicts_with_subcommands = true)]
pub struct Args {
    /// What is played.
    #[command(flatten)]
    pub game: Game,
    /// Where state lives: memory, embedded, embedded:PATH, or redis://HOST:PORT.
    #[arg(long, default_value = "embedded", value_name = "STORAGE")]
    pub storage: StorageChoice,
    /// Something else than a run on one silo.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What is played.
#[derive(Clone, Debug, clap::Args)]
pub struct Game {
    /// Matches to play.
    #[arg(long, default_value_t = 4, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub matches: u32,
    /// Players of each match.
    #[arg(long, default_value_t = 8, value_name = "M", value_parser = clap::value_parser!(u8).range(2..=16))]
    pub players: u8,
    /// How long a match lasts.
    #[arg(long, default_value_t = 20, value_name = "S", value_parser = clap::value_parser!(u32).range(1..=3_600))]
    pub seconds: u32,
    /// Steps of a match per second.
    #[arg(long, default_value_t = 30, value_name = "H", value_parser = clap::value_parser!(u32).range(10..=60))]
    pub tick_hz: u32,
    /// What the bots' and the matches' chance begins with.
    #[arg(long, default_value_t = 1, value_name = "X")]
    pub seed: u64,
    /// Print one JSON object as the last line.
    #[arg(long)]
    pub json: bool,
}

/// Something else than a run on one silo.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Command {
    /// Plays on a cluster of silo processes, with the bots in a process of their own, and checks the same.
    Cluster(ClusterArgs),
    /// One silo of a cluster.
    #[command(hide = true)]
    ClusterSilo(SiloArgs),
    /// The bots of a cluster.
    #[command(hide = true)]
    ClusterBots(BotsArgs),
    /// Runs a program, and ends it when standard input ends.
    #[command(hide = true)]
    Guard {
        /// The program and its arguments.
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        program: Vec<String>,
    },
}

/// A run on a cluster.
#[derive(Clone, Debug, clap::Args)]
pub struct ClusterArgs {
    /// What is played.
    #[command(flatten)]
    pub game: Game,
    /// Silo processes.
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=16))]
    pub silos: u8,
    /// The Redis that keeps state, membership and directory. Default: one is started, and is gone with the run.
    #[arg(long, value_name = "URL")]
    pub redis: Option<String>,
    /// Every so many seconds, kill a silo at once (SIGKILL) and start it anew.
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u32).range(1..))]
    pub kill_every: Option<u32>,
    /// Every so many seconds, stop a silo for ten seconds (SIGSTOP), let it go on, and start it anew when it has ended.
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u32).range(1..))]
    pub pause_every: Option<u32>,
    /// Restart each silo in turn (SIGTERM), over and over. Then no call of the bots may fail.
    #[arg(long, value_name = "HOW")]
    pub restart: Option<Restart>,
}

/// How silos are restarted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Restart {
    /// One after the other, in order.
    Rolling,
}

/// One silo of a cluster.
#[derive(Clone, Debug, clap::Args)]
pub struct SiloArgs {
    /// What is played.
    #[command(flatten)]
    pub game: Game,
    /// Where the cluster is kept.
    #[arg(long)]
    pub redis: String,
    /// Its name.
    #[arg(long)]
    pub name: String,
    /// Where it listens.
    #[arg(long)]
    pub listen: String,
}

/// The bots of a cluster.
#[derive(Clone, Debug, clap::Args)]
pub struct BotsArgs {
    /// What is played.
    #[command(flatten)]
    pub game: Game,
    /// Some of the silos.
    #[arg(long, required = true)]
    pub gateway: Vec<String>,
    /// Where it writes what it found.
    #[arg(long)]
    pub audit: PathBuf,
}

/// Where state lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StorageChoice {
    /// In this process.
    Memory,
    /// In a file.
    Embedded(PathBuf),
    /// On a Redis server.
    Redis(String),
}

impl FromStr for StorageChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "memory" => Ok(Self::Memory),
            "embedded" => Ok(Self::Embedded(DEFAULT_FILE.into())),
            _ => match text.split_once(':') {
                Some(("embedded", path)) if !path.is_empty() => Ok(Self::Embedded(path.into())),
                Some(("redis" | "rediss", _)) => match RedisStorage::check_url(text) {
                    Ok(()) => Ok(Self::Redis(text.to_owned())),
                    Err(error) => Err(error.to_string()),
                },
                _ => Err("expected memory, embedded, embedded:PATH or redis://HOST:PORT".to_owned()),
            },
        }
    }
}

impl Game {
    /// What the grains need to know.
    pub fn settings(&self) -> Settings {
        Settings {
            seats: self.players,
            tick_hz: self.tick_hz,
            seconds: self.seconds,
            seed: self.seed,
            ..Settings::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn storages_are_named_as_documented() {
        assert_eq!("memory".parse(), Ok(StorageChoice::Memory));
        assert_eq!("embedded".parse(), Ok(StorageChoice::Embedded(DEFAULT_FILE.into())));
        assert_eq!("embedded:/a:b".parse(), Ok(StorageChoice::Embedded("/a:b".into())));
        assert_eq!("redis://h:1".parse(), Ok(StorageChoice::Redis("redis://h:1".into())));
        for wrong in ["", "embedded:", "postgres://h", "mem", "redis:", "redis://", "redis://h:port", "redis://h/db"] {
            assert!(wrong.parse::<StorageChoice>().is_err(), "{wrong}");
        }
    }
}
