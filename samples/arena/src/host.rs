//! The silo of the arena, and the storage under it.

use std::sync::Arc;

use gristmill::grains::StorageError;
use gristmill::storage::redis::RedisOptions;
use gristmill::storage::{EmbeddedStorage, GrainStorage, MemoryStorage, RedisStorage};
use gristmill::{Silo, SiloBuilder, StartError};

use crate::args::StorageChoice;
use crate::grains::chat::ChatGrain;
use crate::grains::leaderboard::LeaderboardGrain;
use crate::grains::lobby::LobbyGrain;
use crate::grains::match_grain::MatchGrain;
use crate::grains::matchmaker::MatchmakerGrain;
use crate::grains::player::PlayerGrain;
use crate::grains::settings::Settings;

/// Opens a storage.
///
/// # Errors
/// When the file or the server cannot be used.
pub async fn open(choice: &StorageChoice) -> Result<Arc<dyn GrainStorage>, StorageError> {
    Ok(match choice {
        StorageChoice::Memory => Arc::new(MemoryStorage::new()),
        StorageChoice::Embedded(path) => Arc::new(EmbeddedStorage::open(path).await?),
        StorageChoice::Redis(url) => {
            let options = RedisOptions { prefix: "arena".to_owned(), ..RedisOptions::default() };
            Arc::new(RedisStorage::connect_with(url, options).await?)
        }
    })
}

/// Starts a silo that hosts the arena. Matches and queues that were under way go on by themselves.
///
/// # Errors
/// When the storage does not answer.
pub async fn start(storage: Arc<dyn GrainStorage>, settings: Arc<Settings>) -> Result<Silo, StartError> {
    describe(storage, settings).start().await
}

/// A silo that hosts the arena.
pub fn describe(storage: Arc<dyn GrainStorage>, settings: Arc<Settings>) -> SiloBuilder {
    grains(Silo::builder().shared_storage("default", storage), settings)
}

/// A silo with the arena's grains.
pub fn grains(silo: SiloBuilder, settings: Arc<Settings>) -> SiloBuilder {
    silo.service::<Settings>(settings)
        .grain::<PlayerGrain>()
        .grain::<MatchGrain>()
        .grain::<MatchmakerGrain>()
        .grain::<LobbyGrain>()
        .grain::<LeaderboardGrain>()
        .grain::<ChatGrain>()
}
