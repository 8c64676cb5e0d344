//! A player takes damage until a game hears of its death: two grains, durable state, no server.

use gristmill::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct PlayerState {
    game: String,
    damage: u32,
    deaths: u32,
}

#[grain_interface]
trait Player {
    async fn join(&mut self, game: String);
    /// Is the player still alive?
    async fn take_damage(&mut self, amount: u32, source: String) -> bool;
    async fn get_state(&self) -> PlayerState;
}

#[derive(Grain)]
#[grain(implements(Player))]
struct PlayerGrain {
    ctx: GrainContext<Self>,
    #[state] // loaded before the first call, written with every turn that changed it
    player: Persistent<PlayerState>,
}

impl Player for PlayerGrain {
    async fn join(&mut self, game: String) {
        *self.player = PlayerState { game, ..PlayerState::default() };
    }

    async fn take_damage(&mut self, amount: u32, source: String) -> bool {
        let player = &mut *self.player;
        player.damage += amount;
        if player.damage < 100 {
            return true;
        }
        (player.damage, player.deaths) = (0, player.deaths + 1);
        let game: GameRef = self.ctx.grain(&player.game);
        // One-way: it leaves when this death is durable, and so does the answer below.
        game.on_player_death(self.ctx.key().to_owned(), player.deaths, source).send();
        false
    }

    async fn get_state(&self) -> PlayerState {
        self.player.clone()
    }
}

#[grain_interface]
trait Game {
    async fn on_player_death(&mut self, player: String, deaths: u32, killer: String);
    async fn get_news(&self) -> Vec<String>;
}

#[derive(Grain)]
#[grain(implements(Game))]
struct GameGrain {
    #[state]
    news: Persistent<Vec<String>>,
}

impl Game for GameGrain {
    async fn on_player_death(&mut self, player: String, deaths: u32, killer: String) {
        self.news.push(format!("{killer} killed {player} (death {deaths})"));
    }

    async fn get_news(&self) -> Vec<String> {
        self.news.clone()
    }
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let silo = Silo::builder().grain::<PlayerGrain>().grain::<GameGrain>().start().await?;
    let alice: PlayerRef = silo.grain("alice");
    alice.join("arena".to_owned()).await?;
    while alice.take_damage(30, "bob".to_owned()).await? {
        println!("alice: {:?}", alice.get_state().await?);
    }
    let game: GameRef = silo.grain("arena");
    // The game heard of the death no later than we did: one-way calls and answers leave a turn in order.
    println!("arena: {:?}", game.get_news().await?);
    let _ = silo.stop().await;
    Ok(())
}
