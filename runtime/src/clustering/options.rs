//! How a silo takes part in a cluster.

use std::collections::BTreeMap;

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
    /// Shards of the directory; all silos say the same number. Default 1,024.
    pub shards: u64,
    /// Ends the process when the others have declared this silo dead: its grains are theirs by then. Default yes. If not,
    /// the silo serves no more, and [`Silo::must_stop`](crate::Silo::must_stop) tells.
    pub exit_when_dead: bool,
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
            shards: 1_024,
            exit_when_dead: true,
        }
    }
}
