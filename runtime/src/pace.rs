//! Keeps what is started for many grains at once from starting all at the same moment.

use std::time::Duration;

/// Items that start together, and the pause after them: at most 20,000 a second.
const BATCH: u32 = 200;
const PAUSE: Duration = Duration::from_millis(10);

#[derive(Default)]
pub(crate) struct Pace(u32);

impl Pace {
    /// After each item.
    pub(crate) async fn step(&mut self) {
        self.0 += 1;
        if self.0 == BATCH {
            self.0 = 0;
            tokio::time::sleep(PAUSE).await;
        }
    }
}
