//! Nonces, from a seed.

use std::io;

use gristmill_cluster::transport::Entropy;
use gristmill_grains::sync::Mutex;

pub(super) struct SeededEntropy(Mutex<fastrand::Rng>);

impl SeededEntropy {
    pub(super) fn new(seed: u64) -> Self {
        Self(Mutex::new(fastrand::Rng::with_seed(seed ^ 0x6e6f_6e63_6573)))
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, out: &mut [u8]) -> io::Result<()> {
        self.0.lock().fill(out);
        Ok(())
    }
}
