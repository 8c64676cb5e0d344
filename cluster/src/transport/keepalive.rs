//! Ends connections that look open and are not: a middlebox forgot them, or a host went without a word. Only bytes that
//! arrive are life; whoever hears nothing asks, and whoever gets no answer is given up.

use std::sync::Arc;

use gristmill_grains::chaos::{self, Bug};
use tokio::time::sleep;

use super::error::LinkError;
use super::network::Shared;
use super::wire::Message;

/// Asks with this number are this module's; their answers are told to nobody.
pub(crate) const KEEPALIVE: u64 = u64::MAX;

/// Rounds without a byte, the first of which asks.
const ROUNDS: u32 = 5;

/// Looks at every open connection, until the network stops or nobody has it any more.
pub(crate) async fn watch(network: Arc<Shared>) {
    let period = network.options.limits.keepalive;
    loop {
        tokio::select! {
            biased;
            () = network.stop.cancelled() => return,
            () = sleep(period) => {}
        }
        if chaos::planted(Bug::KeepaliveOff) {
            continue;
        }
        // Rounds are counted, not time: if this process stood still, what the peer has sent meanwhile is read first.
        let Some(receiver) = network.context.receiver.upgrade() else { return network.cut() };
        let asks = receiver.may_flush();
        let links: Vec<_> = network.links.lock().all.values().filter(|link| link.is_open()).cloned().collect();
        for link in links {
            match link.silent_rounds(asks) {
                0 => {}
                ROUNDS.. => link.end(LinkError::Silent),
                _ => drop(link.try_send(Message::Probe { number: KEEPALIVE })), // full: then it is asked in the next round
            }
        }
    }
}
