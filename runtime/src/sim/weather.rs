//! What is always a little wrong, and what is wrong between two hosts.

use std::time::Duration;

/// What goes wrong now and then, by itself. Probabilities are of each packet or command.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Weather {
    /// A packet takes 5 ms, and up to so long more. Default 5 ms.
    pub jitter: Duration,
    /// How likely it takes much longer. Default 0.
    pub late: f64,
    /// How much longer at most. Default 1 s.
    pub lateness: Duration,
    /// How likely Redis answers late: after its clients have given up, maybe. Default 0.
    pub slow_redis: f64,
    /// How likely a connection to Redis breaks before the command is there, or after. Default 0.
    pub broken_redis: f64,
    /// How likely a fault point in the code is taken. Default 0.
    pub points: f64,
}

impl Default for Weather {
    fn default() -> Self {
        Self {
            jitter: Duration::from_millis(5),
            late: 0.0,
            lateness: Duration::from_secs(1),
            slow_redis: 0.0,
            broken_redis: 0.0,
            points: 0.0,
        }
    }
}

impl Weather {
    /// A bad day: everything is late and breaks now and then.
    pub fn bad() -> Self {
        Self {
            jitter: Duration::from_millis(20),
            late: 0.002,
            slow_redis: 0.001,
            broken_redis: 0.002,
            points: 0.01,
            ..Self::default()
        }
    }
}

/// What is wrong in one direction between two hosts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Path {
    /// Nothing arrives until it is healed; then everything does, as TCP sends it again.
    pub blocked: bool,
    /// Nothing arrives, and what was sent never will: connections stay half open.
    pub lost: bool,
    /// Everything takes so much longer.
    pub slower: Duration,
    /// No more gets through: a slow reader.
    pub bytes_a_second: Option<u64>,
    /// Some of the bytes that arrive are not what was sent.
    pub corrupt: bool,
}
