//! A chest that one player may loot, and a test that it stays so whatever crashes.

use gristmill::prelude::*;

/// What is in a chest.
pub const GOLD: u32 = 100;

/// A chest.
#[grain_interface]
pub trait Chest {
    /// What the player gets. Asking again gives the same: who does not know whether a call ran may repeat it.
    async fn loot(&mut self, player: String) -> u32;
}

/// A chest that remembers who looted it.
#[derive(Grain)]
#[grain(implements(Chest))]
pub struct ChestGrain {
    #[state]
    looted_by: Persistent<Option<String>>,
}

impl Chest for ChestGrain {
    async fn loot(&mut self, player: String) -> u32 {
        if self.looted_by.is_none() {
            *self.looted_by = Some(player.clone());
        }
        if self.looted_by.as_ref() == Some(&player) { GOLD } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use gristmill::Client;
    use gristmill::sim::Sim;

    use super::*;

    async fn loot(client: Client, player: &str) -> u32 {
        let chest: ChestRef = client.grain("cellar");
        loop {
            match chest.loot(player.to_owned()).await {
                Ok(gold) => return gold,
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await, // a silo crashed: again
            }
        }
    }

    #[test]
    fn one_player_gets_the_gold_whatever_crashes() {
        for seed in 0..20 {
            let mut sim = Sim::new(seed).silos(3, |silo| silo.grain::<ChestGrain>());
            let players = ["ann", "bob"].map(|name| sim.client(move |client| loot(client, name)));
            for silo in 0..3 {
                sim.run_for(Duration::from_millis(30));
                sim.crash(silo);
                sim.run_for(Duration::from_secs(3));
                sim.start(silo);
            }
            let gold: u32 = players.into_iter().map(|player| sim.result(player)).sum();
            assert_eq!(gold, GOLD, "seed {seed}:\n{}", sim.story());
            sim.check();
        }
    }
}
