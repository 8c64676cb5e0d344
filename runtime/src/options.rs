//! Options of a silo.

use std::time::Duration;

use gristmill_grains::DEFAULT_TIMEOUT;

/// How a silo works. Every field has a default.
#[derive(Clone, Debug)]
pub struct SiloOptions {
    /// The deadline of calls that state none, kept to 100 ms. Default 30 s.
    pub call_timeout: Duration,
    /// How long loading a grain's state and `on_activate` may take, and `on_deactivate`. Default 30 s.
    pub activation_timeout: Duration,
    /// A turn that runs for longer is reported, with the chain of turns that wait for it. Default 10 s.
    pub stuck_after: Duration,
    /// How long a stopping silo waits for turns to end and commits to settle. Default 30 s.
    pub drain_timeout: Duration,
    /// Bytes of activations, by estimate, above which the least recently used idle ones are ended. Default none.
    pub memory_budget: Option<usize>,
    /// Workers a key of the types that say `stateless_workers` without a number. Default: the machine's cores.
    pub cores: usize,
    /// The seed of the silo's ids and other random choices: a replay of a simulation sets it. Default: from the
    /// operating system.
    pub seed: Option<u64>,
}

impl Default for SiloOptions {
    fn default() -> Self {
        Self {
            call_timeout: DEFAULT_TIMEOUT,
            activation_timeout: Duration::from_secs(30),
            stuck_after: Duration::from_secs(10),
            drain_timeout: Duration::from_secs(30),
            memory_budget: None,
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            seed: None,
        }
    }
}

impl SiloOptions {
    /// # Errors
    /// Names the option that cannot be.
    pub(crate) fn validate(&self) -> Result<(), String> {
        for (name, value) in [
            ("call_timeout", self.call_timeout),
            ("activation_timeout", self.activation_timeout),
            ("stuck_after", self.stuck_after),
        ] {
            if value.is_zero() {
                return Err(format!("{name} is zero"));
            }
        }
        if self.cores == 0 {
            return Err("cores is zero".to_owned());
        }
        Ok(())
    }
}
