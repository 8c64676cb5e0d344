//! Questions to other silos, and their answers.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use gristmill_cluster::{Answer, Ask, Incarnation, Talk};
use gristmill_grains::sync::Mutex;
use tokio::sync::oneshot;

use super::node::{Node, talk};
use super::site::Site;
use super::wires::Correlation;

/// How long a question may take, beyond the time of an activation.
const GRACE: Duration = Duration::from_secs(2);

/// The questions that are not answered yet.
#[derive(Default)]
pub(super) struct Asks {
    open: Mutex<BTreeMap<Correlation, (Incarnation, oneshot::Sender<Answer>)>>,
    last: AtomicU64,
}

impl Asks {
    fn begin(&self, silo: Incarnation) -> Asking<'_> {
        let correlation = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let (sender, answer) = oneshot::channel();
        self.open.lock().insert(correlation, (silo, sender));
        Asking { asks: self, correlation, answer }
    }

    /// A silo has answered.
    pub(super) fn answered(&self, from: Incarnation, correlation: Correlation, answer: Answer) {
        let mut open = self.open.lock();
        // Whoever was not asked cannot answer.
        if open.get(&correlation).is_some_and(|(silo, _)| *silo == from)
            && let Some((_, sender)) = open.remove(&correlation)
        {
            drop(sender.send(answer)); // who asked may have gone
        }
    }

    /// Is this silo to answer something?
    pub(super) fn any_at(&self, silo: Incarnation) -> bool {
        self.open.lock().values().any(|(asked, _)| *asked == silo)
    }

    /// It answers no more.
    pub(super) fn gone(&self, silo: Incarnation) {
        self.open.lock().retain(|_, (asked, _)| *asked != silo);
    }
}

/// A question, until it is answered or given up.
struct Asking<'a> {
    asks: &'a Asks,
    correlation: Correlation,
    answer: oneshot::Receiver<Answer>,
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.asks.open.lock().remove(&self.correlation);
    }
}

impl Node {
    /// Asks another silo; `None` when it does not answer. Dropped, the question is given up.
    pub(super) async fn ask(&self, silo: Incarnation, ask: Ask) -> Option<Answer> {
        let limit = self.core()?.options.activation_timeout + GRACE;
        let mut asking = self.asks.begin(silo);
        self.tell(silo, talk(asking.correlation, &Talk::Ask(ask))).ok()?;
        tokio::time::timeout(limit, &mut asking.answer).await.ok()?.ok()
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_forgotten_when_it_is_answered_or_given_up() {
        let (asks, silo, other) = (Asks::default(), Incarnation::from_u128(1), Incarnation::from_u128(2));
        drop(asks.begin(silo));
        assert!(!asks.any_at(silo), "given up");
        let mut asking = asks.begin(silo);
        asks.answered(other, asking.correlation, Answer::No);
        assert!(asks.any_at(silo), "by somebody else");
        asks.answered(silo, asking.correlation, Answer::Load(7));
        assert!(!asks.any_at(silo), "answered");
        assert!(matches!(asking.answer.try_recv(), Ok(Answer::Load(7))));
        let mut asking = asks.begin(silo);
        asks.gone(silo);
        assert!(!asks.any_at(silo) && asking.answer.try_recv().is_err(), "there is nobody who could answer");
    }
}
