//! Taking part in a cluster, from the first connection to the last.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use gristmill_cluster::transport::{Network, Options};
use gristmill_cluster::{Directory, Incarnation, MemberInfo, Membership};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::agent::{self, Agent};
use super::machine::Machine;
use super::network::NetWires;
use super::node::Node;
use super::options::ClusterOptions;
use crate::core::Core;

/// Calls from other silos are begun by so many tasks.
const DISPATCHERS: usize = 8;

/// What a silo of a cluster is described with.
#[derive(Clone)]
pub(crate) struct Setup {
    pub(crate) rows: Arc<dyn Membership>,
    pub(crate) directory: Arc<dyn Directory>,
    pub(crate) options: ClusterOptions,
}

/// A silo's part in its cluster. Dropped, it is cut off without a word.
pub(crate) struct Taking {
    agent: Arc<Agent>,
    thread: ControlThread,
}

/// Joins; the silo hosts nothing yet.
pub(crate) async fn join(
    setup: &Setup,
    machine: &Machine,
    me: Incarnation,
    types: BTreeSet<String>,
    patience: Duration,
) -> Result<(Arc<Node>, Taking), String> {
    let Setup { rows, directory, options } = setup;
    options.validate()?;
    let thread = ControlThread::start(machine).map_err(|error| format!("its control thread did not start: {error}"))?;
    let wires = NetWires::new(options.lease);
    let mut network = Options::silo(options.cluster.clone(), me, options.listen.clone());
    network = network.allow_insecure(options.allow_insecure).entropy(machine.entropy.clone());
    if let Some(address) = &options.advertise {
        network = network.advertise(address.clone());
    }
    if let Some(secret) = &options.secret {
        network = network.secret(secret.clone());
    }
    let (handle, receiver) = (Handle::current(), wires.clone());
    let starting = handle.clone().spawn(Network::start(network, machine.net.clone(), handle, receiver));
    let network = starting.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
    wires.set_network(network.clone());
    let address = network.address();
    let name = options.name.clone().unwrap_or_else(|| address.clone());
    let info = MemberInfo { address, name, types, labels: options.labels.clone() };
    let (kept, own, shards, beat) = (rows.clone(), info.clone(), directory.shards(), options.beat);
    let joining = thread.handle.spawn(async move {
        let rows = kept.apart().await?.unwrap_or(kept);
        let (join, view) = agent::join(&*rows, me, &own, shards, beat, patience).await?;
        Ok::<_, agent::JoinError>((rows, join, view))
    });
    let joined = joining.await.map_err(|error| error.to_string())?;
    let (rows, join, view) = joined.map_err(|error| error.to_string())?;
    network.set_join(join);
    let node = Node::new(me, join, wires.clone(), directory.clone(), view, options.lease, DISPATCHERS);
    wires.set_node(&node);
    let agent = Agent::new(me, info, rows, wires, node.clone(), options);
    Ok((node, Taking { agent, thread }))
}

impl Taking {
    /// Hosts grains from now on.
    pub(crate) async fn activate(&self, core: &Arc<Core>) -> Result<(), String> {
        self.agent.attach(core);
        drop(self.thread.handle.spawn(self.agent.clone().run()));
        let agent = self.agent.clone();
        let active = self.thread.handle.spawn(async move { agent.activate().await });
        active.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
    }

    /// No more grains come here.
    pub(crate) async fn leave(&self) {
        let agent = self.agent.clone();
        drop(self.thread.handle.spawn(async move { agent.leave().await }).await); // it logs what is wrong
    }

    /// Is out of the cluster.
    pub(crate) async fn end(self) {
        let agent = self.agent.clone();
        drop(self.thread.handle.spawn(async move { agent.end().await }).await); // it logs what is wrong
    }
}

impl Drop for Taking {
    fn drop(&mut self) {
        self.agent.cut();
    }
}

/// A thread for the agent and the transport, so that grains that compute hold up neither beats nor frames.
struct ControlThread {
    handle: Handle,
    /// Dropped, it ends the thread; in a simulation there is none.
    _over: Option<oneshot::Sender<()>>,
}

impl ControlThread {
    fn start(machine: &Machine) -> std::io::Result<Self> {
        if !machine.control_thread {
            return Ok(Self { handle: Handle::current(), _over: None });
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (sender, over) = oneshot::channel::<()>();
        std::thread::Builder::new().name("gristmill-control".to_owned()).spawn(move || {
            runtime.block_on(async move { drop(over.await) });
            runtime.shutdown_background();
        })?;
        Ok(Self { handle, _over: Some(sender) })
    }
}
