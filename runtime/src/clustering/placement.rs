//! On which silo a grain is activated.

use std::time::Duration;

use gristmill_cluster::placement::{by_hash, by_label, prefer_local};
use gristmill_cluster::{Answer, Ask, Incarnation, Member};
use gristmill_grains::{GrainId, Placement};
use tokio::time::timeout;

use super::node::Node;

/// How long a silo has to say how loaded it is; one that does not counts as most loaded.
const ANSWER: Duration = Duration::from_millis(250);

impl Node {
    /// Chooses among `hosts`, as the grain's type says.
    pub(super) async fn place(&self, grain: &GrainId, from: Incarnation, hosts: &[&Member]) -> Option<Incarnation> {
        let core = self.core()?;
        match core.placement_of(grain) {
            Placement::PreferLocal => prefer_local(grain, from, hosts),
            Placement::Random => core.choose(hosts.len()).map(|at| hosts[at].incarnation),
            Placement::LeastLoaded => {
                let one = core.choose(hosts.len())?;
                let Some(other) = core.choose(hosts.len() - 1) else { return Some(hosts[one].incarnation) };
                let other = if other >= one { other + 1 } else { other };
                let (one, other) = (hosts[one].incarnation, hosts[other].incarnation);
                let (load, other_load) = tokio::join!(biased; self.load_of(one), self.load_of(other));
                Some(if other_load < load { other } else { one })
            }
            Placement::Label { name, value } => by_label(grain, &name, &value, hosts),
            Placement::Custom(name) => {
                let chosen = core.placements.get(&*name)?.choose(grain, from, hosts);
                chosen.filter(|silo| hosts.iter().any(|host| host.incarnation == *silo))
            }
            _ => by_hash(grain, hosts),
        }
    }

    async fn load_of(&self, silo: Incarnation) -> u64 {
        let answer = match silo == self.me() {
            true => Some(self.load()),
            false => timeout(ANSWER, self.ask(silo, Ask::Load)).await.unwrap_or_default(),
        };
        match answer {
            Some(Answer::Load(load)) => load,
            _ => u64::MAX,
        }
    }

    /// How many activations there are here.
    pub(super) fn load(&self) -> Answer {
        let live = self.core().map(|core| core.hosts().iter().map(|host| host.live() as u64).sum());
        live.map_or(Answer::No, Answer::Load)
    }
}
