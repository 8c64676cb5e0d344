//! The sample's match: players who look for one, fight, and are paid.

use std::sync::Arc;
use std::time::Duration;

use arena::audit::Audit;
use arena::cast::{Actor, Ended};
use arena::checks;
use arena::grains::lobby::{LOBBY, LobbyRef};
use arena::grains::names::QUEUES;
use arena::grains::settings::Settings;
use arena::play::quiet_now;
use arena::rules::PlayerId;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use gristmill::{Client, SiloBuilder};
use parking_lot::Mutex;
use tokio::time::sleep;

use super::{Caller, Stale, Workload, surely};
use crate::history::Counts;

/// How often it is looked whether all is over.
const LOOK: Duration = Duration::from_millis(100);

/// Short matches of two, at the slowest rate there is: so that many fit.
fn settings() -> Settings {
    Settings { seats: 2, tick_hz: 10, seconds: 4, seed: 1, patience: Duration::from_secs(2) }
}

/// Each caller plays one match. In the end everything adds up, as the sample checks it.
#[derive(Default)]
pub struct Arena {
    round: usize,
    counts: Arc<Mutex<Counts>>,
    finally: Arc<Mutex<Option<Audit>>>,
}

impl Arena {
    /// The players of a round have names of their own.
    pub fn of(round: usize) -> Self {
        Self { round, ..Self::default() }
    }
}

impl Workload for Arena {
    fn name(&self) -> &'static str {
        "arena"
    }

    fn describe(&self, silo: SiloBuilder) -> SiloBuilder {
        arena::host::grains(silo, Arc::new(settings()))
    }

    fn play(&self, caller: Caller) -> BoxFuture<'static, ()> {
        let (counts, round) = (self.counts.clone(), self.round);
        async move {
            let mut rng = caller.rng(7);
            let player = PlayerId::from(format!("player-{round}-{}", caller.number));
            sleep(Duration::from_millis(rng.u64(..4_000))).await;
            let lobby: LobbyRef = caller.client.grain(LOBBY);
            surely(|| lobby.welcome(vec![player.clone()])).await;
            let wish = Some(QUEUES[0].clone());
            let (calls, patience, seed) = (caller.client.clone(), Duration::from_secs(15), rng.u64(..));
            let ended = Actor { calls, player, seed, wish, patience }.play().await;
            counts.lock().done += u64::from(ended == Ended::Done);
        }
        .boxed()
    }

    fn audit(&self, client: Client) -> BoxFuture<'static, ()> {
        let finally = self.finally.clone();
        async move {
            let lobby: LobbyRef = client.grain(LOBBY);
            while surely(|| quiet_now(&client, &lobby)).await.is_none() {
                sleep(LOOK).await;
            }
            *finally.lock() = Some(surely(|| Audit::take(&client)).await);
        }
        .boxed()
    }

    fn check(&self, _: &Stale) -> Vec<String> {
        let checks = self.finally.lock().as_ref().map(checks::check).unwrap_or_default();
        let broken = checks.0.into_iter().filter(|(_, found)| !found.is_empty());
        broken.map(|(name, found)| format!("the arena: {name}: {}", found.join("; "))).collect()
    }

    /// Matches that were played to their end, by player.
    fn counts(&self) -> Counts {
        *self.counts.lock()
    }

    fn failed(&self) -> String {
        String::new()
    }
}
