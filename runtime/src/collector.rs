//! Ends idle activations, and the least recently used ones when memory runs short.

use std::sync::atomic::Ordering;
use std::time::Duration;

use gristmill_grains::GrainOptions;

use crate::core::Core;

/// How often it looks: a fraction of the shortest idle time, within reason. It looks at every activation, so no more
/// often than is of use; a memory budget wants it more often.
fn period<'a>(types: impl Iterator<Item = &'a GrainOptions>, budget: bool) -> Duration {
    let shortest = types.filter_map(|options| options.idle).min().unwrap_or(Duration::MAX);
    (shortest / 8).clamp(Duration::from_millis(20), Duration::from_secs(if budget { 5 } else { 60 }))
}

pub(crate) async fn run(core: &Core) {
    let hosts = core.hosts();
    let period = period(hosts.iter().map(|host| host.options()), core.options.memory_budget.is_some());
    loop {
        tokio::time::sleep(period).await;
        let now = core.clock.fetch_add(1, Ordering::Relaxed) + 1;
        let mut bytes = 0;
        for host in &hosts {
            // One round more: the last call may have been at any time within its round.
            let ticks = host.options().idle.map(|idle| (idle.as_secs_f64() / period.as_secs_f64()).ceil() as u32 + 1);
            bytes += host.collect(now, ticks);
            tokio::task::yield_now().await;
        }
        if let Some(budget) = core.options.memory_budget.filter(|budget| bytes > *budget) {
            let mut used = Vec::new();
            hosts.iter().for_each(|host| host.idle_since(&mut used));
            if used.is_empty() {
                continue;
            }
            used.sort_unstable();
            // Enough of the oldest to get back under the budget, taking all for equally large.
            let live: usize = hosts.iter().map(|host| host.live()).sum();
            let surplus = (bytes - budget).div_ceil((bytes / live.max(1)).max(1));
            let before = used[surplus.min(used.len()) - 1].saturating_add(1);
            let ended = hosts.iter().fold(0, |ended, host| ended + host.evict(before, surplus - ended));
            tracing::info!(bytes, budget, ended, "over the memory budget: ended the least recently used activations");
        }
    }
}
