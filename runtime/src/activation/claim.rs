//! Claiming a grain from the cluster's directory, and giving way to who has it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use gristmill_cluster::{Answer, Claim, Directory, DirectoryError, Incarnation, Location};
use gristmill_grains::call::deadline_after;
use gristmill_grains::{Cause, Fault, Grain};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Activation;
use super::mailbox::Phase;

/// Back-off of a directory that does not answer.
const CLAIM_RETRY: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// A claim under way.
#[derive(Default)]
pub(crate) struct Claiming {
    /// The row that it may replace.
    expect: Option<Location>,
    /// Must it let in the calls of the router's lane before all others?
    behind_lane: bool,
    /// Who else wants to know.
    waiting: Vec<oneshot::Sender<Answer>>,
}

impl Claiming {
    /// A claim that may replace this row, of an activation that others were already called for.
    pub(crate) fn behind_lane(expect: Option<Location>) -> Self {
        Self { expect, behind_lane: true, waiting: Vec::new() }
    }
}

impl<G: Grain> Activation<G> {
    /// Before it begins: how it claims.
    pub(crate) fn claim_as(&self, claiming: Claiming) {
        let mut inner = self.inner.lock();
        inner.behind_lane = claiming.behind_lane;
        inner.claiming = Some(Box::new(claiming));
    }

    /// Everybody may be let in.
    pub(crate) fn let_all_in(&self) {
        self.inner.lock().behind_lane = false;
    }

    pub(crate) fn lets_all_in(&self) -> bool {
        let open = {
            let inner = self.inner.lock();
            !inner.behind_lane && inner.phase != Phase::Dead
        };
        open && self.failed_and_over().is_none()
    }

    /// Who owns the grain, once that is known.
    pub(crate) async fn claimed(self: Arc<Self>) -> Answer {
        let answer = {
            let mut inner = self.inner.lock();
            match inner.phase {
                Phase::Dead => return Answer::No,
                Phase::Failed => return inner.lost.clone().map_or(Answer::No, Answer::Failed),
                _ if inner.epoch != 0 => return self.location(inner.epoch).map_or(Answer::No, Answer::At),
                _ => {}
            }
            let (sender, answer) = oneshot::channel();
            inner.claiming.get_or_insert_default().waiting.push(sender);
            answer
        };
        drop(self);
        answer.await.unwrap_or(Answer::No)
    }

    /// Where the directory has it, if it owns its grain and goes on.
    pub(crate) fn owned_as(&self) -> Option<Location> {
        let epoch = {
            let inner = self.inner.lock();
            if inner.phase == Phase::Active { inner.epoch } else { 0 }
        };
        self.location(epoch).filter(|_| epoch != 0)
    }

    fn location(&self, epoch: u64) -> Option<Location> {
        let node = self.host.core.node.as_ref()?;
        Some(Location { owner: node.me(), join: node.join(), activation: self.id, epoch })
    }

    /// Claims the grain from the cluster; gives its epoch. [`Cause::Moved`]: another activation owns it.
    pub(super) async fn claim(self: &Arc<Self>) -> Result<u64, Fault> {
        let Some(node) = &self.host.core.node else { unreachable!("only a silo of a cluster claims from it") };
        let id = self.grain_id();
        let mut expect = self.inner.lock().claiming.get_or_insert_default().expect;
        if self.host.options.strict
            && let Some(row) = expect
        {
            node.outlast(row.owner).await;
        }
        let deadline = deadline_after(self.host.core.options.activation_timeout);
        let mut retry = CLAIM_RETRY.0;
        loop {
            match node.claim(&id, self.id, expect).await {
                Ok(Ok(location)) => {
                    self.inner.lock().epoch = location.epoch;
                    self.answer_claims(&Answer::At(location));
                    node.router().arrived(&id, location);
                    return Ok(location.epoch);
                }
                // A row of this silo whose activation it does not have: that one's release was lost, or is on its way.
                Ok(Err(row)) if row.owner == node.me() && expect != Some(row) => expect = Some(row),
                Ok(Err(row)) => {
                    self.answer_claims(&Answer::Held(row));
                    return Err(Fault::not_executed(Cause::Moved));
                }
                Err(error) if Instant::now() + retry >= deadline => {
                    let reason = error.to_string();
                    return Err(Fault::not_executed(Cause::ActivationFailed { reason }).of(&id));
                }
                Err(_) => {
                    tokio::time::sleep(retry).await;
                    retry = (retry * 2).min(CLAIM_RETRY.1);
                }
            }
        }
    }

    /// Without a cluster: the silo itself is who decides.
    pub(super) async fn claim_local(&self, directory: &Arc<dyn Directory>) -> Result<u64, DirectoryError> {
        let (owner, activation) = (Incarnation::from_u128(0), self.id);
        let claim = Claim { owner, join: 0, activation, expect: None, floor: 0 };
        let (Ok(location) | Err(location)) = directory.claim(&self.grain_id(), claim).await?;
        Ok(location.epoch)
    }

    /// The directory gave it a later epoch.
    pub(super) fn raised(&self, epoch: u64) {
        if self.host.core.is_clustered() {
            self.inner.lock().epoch = epoch;
        }
    }

    /// Tells all who wait for the claim.
    pub(super) fn answer_claims(&self, answer: &Answer) {
        let claiming = self.inner.lock().claiming.take();
        for waits in claiming.into_iter().flat_map(|claiming| claiming.waiting) {
            drop(waits.send(answer.clone())); // who asked may have gone
        }
    }

    /// Leaves the catalog for another silo's activation, which the calls that wait here go to.
    pub(super) fn give_way(self: &Arc<Self>) {
        let Some(node) = &self.host.core.node else { return };
        let id = self.grain_id();
        // From here on later calls of this silo wait behind those that are left.
        node.router().hold(&id);
        let mut queue = Vec::new();
        self.host.replace(self, |_| {
            let mut inner = self.inner.lock();
            inner.phase = Phase::Dead;
            inner.writer = 0;
            let reason = "another silo has the grain".to_owned();
            let over = || Fault::not_executed(Cause::ActivationLost { reason }).of(&id);
            inner.lost.get_or_insert_with(over);
            self.mute.store(true, Ordering::Release);
            queue.extend(std::mem::take(&mut inner.slow().queue));
            None
        });
        let calls = queue.into_iter().filter_map(|job| job.forward(self)).collect();
        node.router().leave(&id, calls);
        self.host.core.deactivated.notify_waiters();
    }
}
