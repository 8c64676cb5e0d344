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
#[command(name = "arena")]
pub struct Args {
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
    /// Where state lives: memory, embedded, embedded:PATH, or redis://HOST:PORT.
    #[arg(long, default_value = "embedded", value_name = "STORAGE")]
    pub storage: StorageChoice,
    /// Print one JSON object as the last line.
    #[arg(long)]
    pub json: bool,
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

impl Args {
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
