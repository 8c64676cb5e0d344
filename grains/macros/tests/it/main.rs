//! What the macros expand to, compiled and run.
#![deny(warnings, missing_docs, clippy::pedantic)]

/// An interface and its grain.
pub mod player {
    use gristmill_grains::state::Persistent;
    use gristmill_grains::{Grain, GrainContext, grain_interface};
    use serde::{Deserialize, Serialize};

    /// A state.
    #[derive(Clone, Default, Serialize, Deserialize)]
    pub struct PlayerState {
        /// Health.
        pub health: u32,
    }

    /// An alias.
    pub type PlayerResult<T> = Result<T, String>;

    /// A player.
    #[grain_interface(crate = gristmill_grains)]
    pub trait Player {
        /// Hurts.
        async fn take_damage(&mut self, amount: u32, source: String) -> bool;
        /// The state.
        async fn get_state(&self) -> PlayerState;
        /// Nothing.
        async fn rest(&mut self);
        /// A result.
        async fn buy(&mut self, item: Option<String>) -> Result<u32, String>;
        /// An alias.
        #[method(id = "sell-it")]
        async fn sell(&self, r#type: Vec<u8>) -> PlayerResult<bool>;
    }

    /// A grain.
    #[derive(Grain)]
    #[grain(implements(Player), crate = gristmill_grains)]
    pub struct PlayerGrain {
        ctx: GrainContext<Self>,
        #[state(storage = "gameStore")]
        player: Persistent<PlayerState>,
        hits: u32,
    }

    impl Player for PlayerGrain {
        async fn take_damage(&mut self, amount: u32, source: String) -> bool {
            let _ = (self.ctx.clone(), source);
            self.hits += 1;
            self.player.health = self.player.health.saturating_sub(amount);
            self.player.health > 0
        }
        async fn get_state(&self) -> PlayerState {
            self.player.clone()
        }
        async fn rest(&mut self) {
            self.player.commit().await.ok();
        }
        async fn buy(&mut self, item: Option<String>) -> Result<u32, String> {
            item.map(|_| 1).ok_or_else(String::new)
        }
        async fn sell(&self, r#type: Vec<u8>) -> PlayerResult<bool> {
            Ok(r#type.is_empty())
        }
    }
}
