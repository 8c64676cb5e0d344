//! The silo's own long-lived services, as a ractor supervision tree.
//!
//! A service is an endless future. One that ends or panics is started again after a second; the others go on (ractor's
//! default would stop them all). Actors have no names: ractor's registry is one for the whole process.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use gristmill_grains::BoxFuture;
use ractor::{Actor, ActorProcessingErr, ActorRef, SpawnErr, SupervisionEvent};
use tokio::task::JoinHandle;

pub(crate) const RESTART_DELAY: Duration = Duration::from_secs(1);

/// A service: its name in the log, and how to start it.
#[derive(Clone)]
pub(crate) struct Service {
    pub(crate) name: String,
    pub(crate) start: Arc<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>,
}

impl Service {
    pub(crate) fn new<F>(name: impl Into<String>, start: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self { name: name.into(), start: Arc::new(move || Box::pin(start())) }
    }
}

struct Run;

struct Worker;

impl Actor for Worker {
    type Msg = Run;
    type State = Service;
    type Arguments = Service;

    async fn pre_start(&self, myself: ActorRef<Run>, service: Service) -> Result<Service, ActorProcessingErr> {
        myself.cast(Run)?;
        Ok(service)
    }

    async fn handle(&self, _: ActorRef<Run>, _: Run, service: &mut Service) -> Result<(), ActorProcessingErr> {
        (service.start)().await;
        Err(format!("service {} ended", service.name).into())
    }
}

enum Supervise {
    Start(usize),
}

struct Supervisor;

struct Tree {
    services: Vec<Service>,
    /// By service: its actor now.
    running: Vec<Option<ActorRef<Run>>>,
}

impl Actor for Supervisor {
    type Msg = Supervise;
    type State = Tree;
    type Arguments = Vec<Service>;

    async fn pre_start(&self, myself: ActorRef<Supervise>, services: Vec<Service>) -> Result<Tree, ActorProcessingErr> {
        for number in 0..services.len() {
            myself.cast(Supervise::Start(number))?;
        }
        Ok(Tree { running: vec![None; services.len()], services })
    }

    async fn handle(
        &self,
        myself: ActorRef<Supervise>,
        Supervise::Start(number): Supervise,
        tree: &mut Tree,
    ) -> Result<(), ActorProcessingErr> {
        let service = tree.services[number].clone();
        match Actor::spawn_linked(None, Worker, service, myself.get_cell()).await {
            Ok((actor, _)) => tree.running[number] = Some(actor),
            Err(error) => {
                tracing::error!(service = tree.services[number].name, %error, "a service did not start; trying again");
                myself.send_after(RESTART_DELAY, move || Supervise::Start(number));
            }
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<Supervise>,
        event: SupervisionEvent,
        tree: &mut Tree,
    ) -> Result<(), ActorProcessingErr> {
        let (actor, why) = match event {
            SupervisionEvent::ActorFailed(actor, error) => (actor, error.to_string()),
            SupervisionEvent::ActorTerminated(actor, _, why) => (actor, why.unwrap_or_default()),
            _ => return Ok(()),
        };
        let ended =
            tree.running.iter().position(|running| running.as_ref().is_some_and(|r| r.get_id() == actor.get_id()));
        if let Some(number) = ended {
            tree.running[number] = None;
            tracing::error!(service = tree.services[number].name, why, "a service ended; it is started again");
            myself.send_after(RESTART_DELAY, move || Supervise::Start(number));
        }
        Ok(())
    }

    async fn post_stop(&self, _: ActorRef<Supervise>, tree: &mut Tree) -> Result<(), ActorProcessingErr> {
        // In a fixed order; ractor's own way walks a map of random order.
        for actor in tree.running.drain(..).flatten() {
            actor.kill();
        }
        Ok(())
    }
}

/// The running tree.
pub(crate) struct Services {
    supervisor: ActorRef<Supervise>,
    ended: JoinHandle<()>,
}

impl Services {
    pub(crate) async fn start(services: Vec<Service>) -> Result<Self, SpawnErr> {
        let (supervisor, ended) = Actor::spawn(None, Supervisor, services).await?;
        Ok(Self { supervisor, ended })
    }

    /// Ends them all, without waiting.
    pub(crate) fn kill(self) {
        self.supervisor.stop(None);
    }

    /// Ends them all.
    pub(crate) async fn stop(self) {
        self.supervisor.stop(None);
        let _ = self.ended.await; // it was cancelled with its runtime: ended as well
    }
}
