//! What a silo or a client has of the machine it runs on.

use std::sync::Arc;

use gristmill_cluster::transport::{Entropy, Net, OsEntropy, TcpNet};

/// The machine; in a simulation, a simulated one.
#[derive(Clone)]
pub(crate) struct Machine {
    pub(crate) net: Arc<dyn Net>,
    pub(crate) entropy: Arc<dyn Entropy>,
    /// Transport and agent have a thread of their own.
    pub(crate) control_thread: bool,
}

impl Default for Machine {
    fn default() -> Self {
        Self { net: Arc::new(TcpNet), entropy: Arc::new(OsEntropy), control_thread: true }
    }
}
