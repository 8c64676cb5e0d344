//! The broker of a grain: the silo that decides where it is activated, once for all who ask.

use std::collections::BTreeMap;
use std::time::Duration;

use gristmill_cluster::{Answer, Ask, DirectoryError, Incarnation, Location, Standing, Status};
use gristmill_grains::chaos;
use gristmill_grains::sync::Mutex;
use gristmill_grains::{Cause, Fault, GrainId};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::node::Node;

/// How often a decision is begun anew, as the grain was claimed by others or a silo did not take it.
const TRIES: usize = 8;

/// Without a directory, so many silos are asked whether they have the grain, and each has so long to answer.
const MAX_ASKED: usize = 32;
const ASKED: Duration = Duration::from_millis(250);

/// Decisions under way, and who else waits for each.
#[derive(Default)]
pub(crate) struct Broker(Mutex<BTreeMap<GrainId, Vec<oneshot::Sender<Answer>>>>);

impl Node {
    /// Where the grain is. Activates it if it is nowhere, or not where `stale` says.
    pub(super) async fn locate(&self, grain: &GrainId, stale: Option<Location>, from: Incarnation) -> Answer {
        let waits = {
            let mut deciding = self.broker.0.lock();
            match deciding.get_mut(grain) {
                Some(waiting) => {
                    let (sender, answer) = oneshot::channel();
                    waiting.push(sender);
                    Some(answer)
                }
                None => {
                    deciding.insert(grain.clone(), Vec::new());
                    None
                }
            }
        };
        if let Some(answer) = waits {
            return answer.await.unwrap_or(Answer::No);
        }
        let mut deciding = Deciding { node: self, grain, answer: Answer::No };
        deciding.answer = self.decide(grain, stale, from).await;
        deciding.answer.clone()
    }

    async fn decide(&self, grain: &GrainId, stale: Option<Location>, from: Incarnation) -> Answer {
        let Ok(mut one_of_some) = self.deciding.acquire().await else { return Answer::No };
        let mut refused: Vec<Incarnation> = Vec::new();
        for _ in 0..TRIES {
            let looked_up = match chaos::point("the directory does not answer") {
                true => Err(DirectoryError::Unavailable("not this time".to_owned())),
                false => self.directory().lookup(grain).await,
            };
            let row = match looked_up {
                Ok(row) => row,
                Err(error) => {
                    chaos::reach("the silos were asked for want of a directory");
                    tracing::warn!(%grain, %error, "the directory does not say where the grain is; asking the silos");
                    return self.ask_around(grain).await;
                }
            };
            let view = self.view();
            let owner = row.filter(|row| !view.is_dead(row.owner, row.join));
            let silo = match owner {
                // Its silo is to look: it may have lost the activation, and its release may have been lost.
                Some(row) if Some(row) == stale && !refused.contains(&row.owner) => {
                    chaos::reach("an owner was asked to look for its activation");
                    Some(row.owner)
                }
                Some(row) if view.standing(row.owner, row.join) == Standing::Later => return Answer::No,
                Some(row) => return Answer::At(row),
                None => {
                    if let Some(row) = row {
                        chaos::reach("the row of a dead silo was replaced");
                        if self.core().is_some_and(|core| core.is_strict(grain)) {
                            // The others need not wait for their turn meanwhile.
                            drop(one_of_some);
                            self.outlast(row.owner).await;
                            let Ok(again) = self.deciding.acquire().await else { return Answer::No };
                            one_of_some = again;
                        }
                    }
                    let hosts = view.active().filter(|member| {
                        member.info.types.contains(grain.grain_type().as_str())
                            && !refused.contains(&member.incarnation)
                    });
                    self.place(grain, from, &hosts.collect::<Vec<_>>()).await
                }
            };
            let Some(silo) = silo else { return Answer::No };
            let answer = match silo == self.me() {
                true => Some(self.activate(grain, row).await),
                false => self.ask(silo, Ask::Activate { grain: grain.clone(), expect: row }).await,
            };
            match answer {
                Some(Answer::Held(_)) => chaos::reach("a grain was claimed by another meanwhile"),
                Some(Answer::No) | None => refused.push(silo),
                Some(answer) => return answer,
            }
        }
        drop(one_of_some);
        let reason = "others kept claiming it".to_owned();
        Answer::Failed(Fault::not_executed(Cause::SiloUnavailable { reason }).of(grain))
    }
}

impl Node {
    /// Without a directory: which silo owns the grain? None is made its owner now.
    async fn ask_around(&self, grain: &GrainId) -> Answer {
        if let at @ Answer::At(_) = self.owns(grain) {
            return at;
        }
        let view = self.view();
        let hosts = view.members.values().filter(|member| {
            let up = matches!(member.status, Status::Active | Status::Leaving) && member.incarnation != self.me();
            up && member.info.types.contains(grain.grain_type().as_str())
        });
        for silo in hosts.map(|member| member.incarnation).take(MAX_ASKED) {
            let answer = timeout(ASKED, self.ask(silo, Ask::Owns { grain: grain.clone() })).await;
            if let Ok(Some(at @ Answer::At(_))) = answer {
                return at;
            }
        }
        Answer::No
    }

    /// Does an activation here own the grain?
    pub(super) fn owns(&self, grain: &GrainId) -> Answer {
        self.core().and_then(|core| core.location(grain)).map_or(Answer::No, Answer::At)
    }
}

/// A decision under way. Dropped, it answers all who wait.
struct Deciding<'a> {
    node: &'a Node,
    grain: &'a GrainId,
    answer: Answer,
}

impl Drop for Deciding<'_> {
    fn drop(&mut self) {
        let waiting = self.node.broker.0.lock().remove(self.grain);
        for waits in waiting.into_iter().flatten() {
            drop(waits.send(self.answer.clone())); // who asked may have gone
        }
    }
}
