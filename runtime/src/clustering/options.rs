//! How a silo takes part in a cluster.

use std::collections::BTreeMap;
use std::time::Duration;

use gristmill_cluster::transport::Secret;

/// How a silo takes part in a cluster. See [`SiloBuilder::cluster`](crate::SiloBuilder::cluster).
#[derive(Clone, Debug)]
pub struct ClusterOptions {
    /// Names the cluster: silos of another name refuse each other's connections. Default `gristmill`.
    pub cluster: String,
    /// Where it listens for silos and clients, `host:port`; port 0 takes a free one. Default `127.0.0.1:0`.
    pub listen: String,
    /// Where the others reach it, if not where it listens. Default: where it listens.
    pub advertise: Option<String>,
    /// What all silos of the cluster know, and nobody else. Without one, a silo does not listen where other hosts reach it,
    /// unless [`allow_insecure`](Self::allow_insecure) is set.
    pub secret: Option<Secret>,
    /// Listens where other hosts reach it though there is no secret. Default no.
    pub allow_insecure: bool,
    /// The silo's name, for people. Default: its address.
    pub name: Option<String>,
    /// What placement may ask for.
    pub labels: BTreeMap<String, String>,
    /// Ends the process when the others have declared this silo dead: its grains are theirs by then. Default yes. If not,
    /// the silo serves no more, and [`Silo::must_stop`](crate::Silo::must_stop) tells.
    pub exit_when_dead: bool,
    /// Between two beats, by which the others see that this silo lives. All silos say the same. Default 1 s.
    pub beat: Duration,
    /// A silo that neither beats nor answers for so long is voted out. At least 2 beats. Default 3 s.
    pub silence: Duration,
    /// How long a silo may speak after the last beat that was acknowledged; it does not end the silo. At least 3 beats. Default
    /// 8 s.
    pub lease: Duration,
}

impl ClusterOptions {
    /// # Errors
    /// Names the options that contradict each other.
    pub(crate) fn validate(&self) -> Result<(), String> {
        let Self { beat, silence, lease, .. } = self;
        if *beat < Duration::from_millis(50) {
            return Err(format!("beat is {beat:?}; it is at least 50 ms"));
        }
        if *silence < *beat * 2 {
            return Err(format!(
                "silence ({silence:?}) is under two beats ({beat:?} each): healthy silos would be voted out"
            ));
        }
        if *lease < *beat * 3 {
            return Err(format!(
                "lease ({lease:?}) is under three beats ({beat:?} each): the silo would fall silent between them"
            ));
        }
        Ok(())
    }
}

impl Default for ClusterOptions {
    fn default() -> Self {
        Self {
            cluster: "gristmill".to_owned(),
            listen: "127.0.0.1:0".to_owned(),
            advertise: None,
            secret: None,
            allow_insecure: false,
            name: None,
            labels: BTreeMap::new(),
            exit_when_dead: true,
            beat: Duration::from_secs(1),
            silence: Duration::from_secs(3),
            lease: Duration::from_secs(8),
        }
    }
}
