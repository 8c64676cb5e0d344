//! A Redis Cluster.

use std::time::Duration;

use crate::{RedisOptions, RedisServer};

const SLOTS: usize = 16_384;

/// Looks at the nodes until they agree: this often, and so many times (20 s).
const LOOK: Duration = Duration::from_millis(20);
const LOOKS: usize = 1_000;

/// Masters that share the slots; no replicas; without one of them, the others go on. Dropping it kills them all.
#[derive(Debug)]
pub struct RedisCluster {
    nodes: Vec<RedisServer>,
}

impl RedisCluster {
    /// Starts so many masters with default options, and waits until each of them serves.
    ///
    /// # Panics
    ///
    /// If `redis-server` is not installed, or they do not come together.
    pub fn start(masters: usize) -> Self {
        Self::start_with(masters, &RedisOptions::default())
    }

    /// As [`start`](Self::start), each node with these options.
    ///
    /// # Panics
    ///
    /// As [`start`](Self::start).
    pub fn start_with(masters: usize, options: &RedisOptions) -> Self {
        let mut options = RedisOptions { cluster: true, ..options.clone() };
        let more = ["--cluster-node-timeout", "2000", "--cluster-require-full-coverage", "no"];
        options.more.extend(more.map(str::to_owned));
        let nodes: Vec<_> = (0..masters).map(|_| RedisServer::start(options.clone())).collect();
        for (index, node) in nodes.iter().enumerate() {
            let first = index * SLOTS / masters;
            let last = (index + 1) * SLOTS / masters - 1;
            assert_eq!(node.cli(&["CLUSTER", "ADDSLOTSRANGE", &first.to_string(), &last.to_string()]), "OK");
            assert_eq!(node.cli(&["CLUSTER", "SET-CONFIG-EPOCH", &(index + 1).to_string()]), "OK");
        }
        for node in &nodes[1..] {
            assert_eq!(nodes[0].cli(&["CLUSTER", "MEET", "127.0.0.1", &node.port().to_string()]), "OK");
        }
        let cluster = Self { nodes };
        cluster.wait_until_it_serves();
        cluster
    }

    /// The addresses of all nodes.
    pub fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(RedisServer::url).collect()
    }

    /// A node, in the order of the slots they got at the start.
    pub fn node(&mut self, index: usize) -> &mut RedisServer {
        &mut self.nodes[index]
    }

    /// Moves a slot, with its keys, from the node that has it to node `to`.
    ///
    /// # Panics
    ///
    /// If a node refuses.
    pub fn move_slot(&self, slot: u16, to: usize) {
        let slot = slot.to_string();
        let id = |node: &RedisServer| node.cli(&["CLUSTER", "MYID"]);
        let target = &self.nodes[to];
        let has = |node: &&RedisServer| node.cli(&["CLUSTER", "COUNTKEYSINSLOT", &slot]) != "0";
        let source = self.nodes.iter().find(has).expect("a node has keys in the slot");
        let (from_id, to_id) = (id(source), id(target));
        assert_eq!(target.cli(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &from_id]), "OK");
        assert_eq!(source.cli(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &to_id]), "OK");
        let keys = source.cli(&["CLUSTER", "GETKEYSINSLOT", &slot, "1000"]);
        for key in keys.lines() {
            let port = target.port().to_string();
            assert_eq!(source.cli(&["MIGRATE", "127.0.0.1", &port, key, "0", "5000"]), "OK");
        }
        for node in [target, source] {
            assert_eq!(node.cli(&["CLUSTER", "SETSLOT", &slot, "NODE", &to_id]), "OK");
        }
    }

    /// Waits until every node sees the whole cluster served.
    ///
    /// # Panics
    ///
    /// If that takes longer than 20 s.
    pub fn wait_until_it_serves(&self) {
        let all_nodes = format!("cluster_known_nodes:{}", self.nodes.len());
        let all_slots = format!("cluster_slots_ok:{SLOTS}");
        let serves = |node: &RedisServer| {
            let info = node.cli(&["CLUSTER", "INFO"]);
            ["cluster_state:ok", &all_nodes, &all_slots].iter().all(|line| info.contains(line))
        };
        for _ in 0..LOOKS {
            if self.nodes.iter().all(serves) {
                return;
            }
            #[allow(clippy::disallowed_methods, reason = "a cluster tells nobody when it is ready")]
            std::thread::sleep(LOOK);
        }
        panic!("the cluster is not ready: {}", self.nodes[0].cli(&["CLUSTER", "INFO"]));
    }
}
