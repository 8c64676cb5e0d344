//! Deadlines without a timer per call: activations with something to time out are looked at every 100 ms.
//!
//! So a default deadline is kept to 100 ms, and costs nothing on the path of a call that ends at once. While no
//! activation is listed, nothing runs.

use std::sync::{Arc, Weak};
use std::time::Duration;

use gristmill_grains::chaos::{self, Bug};
use gristmill_grains::sync::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::activation::turn::guarded;
use crate::graph::WaitGraph;

pub(crate) const PERIOD: Duration = Duration::from_millis(100);

/// Something with deadlines.
pub(crate) trait Swept: Send + Sync {
    /// Ends what is overdue; says whether to look again.
    fn sweep(self: Arc<Self>, now: Instant) -> bool;
}

/// Bounded: an activation is listed at most once.
#[derive(Default)]
pub(crate) struct Sweeper {
    listed: Mutex<Vec<Weak<dyn Swept>>>,
    wake: Notify,
}

impl Sweeper {
    pub(crate) fn add(&self, swept: Weak<dyn Swept>) {
        let mut listed = self.listed.lock();
        listed.push(swept);
        if listed.len() == 1 {
            self.wake.notify_one();
        }
    }

    pub(crate) async fn run(&self, graph: &WaitGraph) {
        loop {
            if self.listed.lock().is_empty() {
                self.wake.notified().await;
            }
            tokio::time::sleep(PERIOD).await;
            let now = Instant::now();
            let listed = std::mem::take(&mut *self.listed.lock());
            let mut again: Vec<Weak<dyn Swept>> = Vec::new();
            for swept in listed {
                let Some(activation) = swept.upgrade() else { continue };
                if chaos::planted(Bug::EndsForgotten) {
                    again.push(swept);
                    continue;
                }
                // Wakers and user values may panic in there; the others' deadlines must not suffer.
                match guarded(|| activation.sweep(now)) {
                    Ok(false) => {}
                    Ok(true) => again.push(swept),
                    Err(panic) => {
                        tracing::error!(panic, "ending an overdue call panicked");
                        again.push(swept);
                    }
                }
            }
            self.listed.lock().append(&mut again);
            graph.purge();
        }
    }
}
