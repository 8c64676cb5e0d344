//! Ports that nobody else is given.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

/// Below the range from which systems give ports to outgoing connections, and so that a cluster's bus port, 10,000
/// above, is below it too.
const FIRST: u16 = 10_000;
const COUNT: u16 = 12_000;

/// A port that is free now, as is its bus port. Somebody may still take it first: then try the next.
///
/// # Panics
///
/// If none is free.
pub fn candidate() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Processes start apart from each other, so that test binaries that run at once seldom meet.
    let start = (std::process::id() % u32::from(COUNT)) as u16;
    for _ in 0..COUNT {
        let port = FIRST + (start.wrapping_mul(37) % COUNT + NEXT.fetch_add(1, Ordering::Relaxed) % COUNT) % COUNT;
        if [port, port + 10_000].into_iter().all(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()) {
            return port;
        }
    }
    panic!("no free port from {FIRST} to {}", FIRST + COUNT);
}
