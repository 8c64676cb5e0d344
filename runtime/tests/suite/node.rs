//! A grain that does what a script says.

use std::sync::Arc;
use std::time::Duration;

use gristmill::grains::BoxFuture;
use gristmill::prelude::*;
use serde::{Deserialize, Serialize};

use crate::support::Probe;

/// One step of a script.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Do {
    /// Writes into the log.
    Note(String),
    /// Waits for a latch.
    Pass(String),
    Sleep(Duration),
    /// Never ends.
    Hang,
    /// Notes `text` when the rest of the script is over, however it ends.
    Guard(String),
    /// Lets others run once.
    Yield,
    /// Appends to the list (in write turns).
    Push(u64),
    /// `commit()`.
    Commit,
    Abort,
    Panic,
    /// Ends with an error of the application's.
    Fail(String),
    /// Runs a script on another node and waits; its failure becomes this turn's.
    Read(String, Vec<Do>),
    Write(String, Vec<Do>),
    /// As `Write`, with a deadline; a failure is only noted.
    WriteWithin(Duration, String, Vec<Do>),
    /// As `Read` and `Write`; a failure is only noted.
    TryRead(String, Vec<Do>),
    TryWrite(String, Vec<Do>),
    /// One-way.
    Send(String, Vec<Do>),
    /// Writes to another node out of spawned work.
    SpawnWrite(String, Vec<Do>),
    /// A read of another node, given up after this time.
    DropAfter(Duration, String, Vec<Do>),
    Deactivate,
}

pub(crate) fn note(text: &str) -> Do {
    Do::Note(text.to_owned())
}

pub(crate) fn pass(latch: &str) -> Do {
    Do::Pass(latch.to_owned())
}

/// Notes `text`, waits at the latch `text`.
pub(crate) fn halt(text: &str) -> [Do; 2] {
    [note(text), pass(text)]
}

#[grain_interface]
pub(crate) trait Node {
    async fn write(&mut self, script: Vec<Do>) -> Result<Vec<u64>, String>;
    async fn read(&self, script: Vec<Do>) -> Result<Vec<u64>, String>;
    async fn list(&self) -> Vec<u64>;
}

/// Does what it is told.
#[derive(Grain)]
#[grain(implements(Node), lifecycle)]
pub(crate) struct NodeGrain {
    ctx: GrainContext<Self>,
    #[service]
    probe: Arc<Probe>,
    #[state]
    list: Persistent<Vec<u64>>,
}

impl Lifecycle for NodeGrain {
    async fn on_activate(&mut self) -> Result<(), BoxError> {
        let (ctx, probe, hook) = (self.ctx.clone(), self.probe.clone(), format!("{}+", self.ctx.key()));
        let script = probe.hooked(&hook);
        probe.note(hook);
        run(&ctx, &probe, Some(&mut self.list), script).await.map_err(Into::into)
    }

    async fn on_deactivate(&mut self, _: DeactivationReason) -> Result<(), BoxError> {
        let (ctx, probe, hook) = (self.ctx.clone(), self.probe.clone(), format!("{}-", self.ctx.key()));
        let script = probe.hooked(&hook);
        probe.note(hook);
        run(&ctx, &probe, Some(&mut self.list), script).await.map_err(Into::into)
    }
}

impl Node for NodeGrain {
    async fn write(&mut self, script: Vec<Do>) -> Result<Vec<u64>, String> {
        let (ctx, probe) = (self.ctx.clone(), self.probe.clone());
        run(&ctx, &probe, Some(&mut self.list), script).await?;
        Ok(self.list.clone())
    }

    async fn read(&self, script: Vec<Do>) -> Result<Vec<u64>, String> {
        run(&self.ctx, &self.probe, None, script).await?;
        Ok(self.list.clone())
    }

    async fn list(&self) -> Vec<u64> {
        self.list.clone()
    }
}

fn run<'a>(
    ctx: &'a GrainContext<NodeGrain>,
    probe: &'a Arc<Probe>,
    mut list: Option<&'a mut Persistent<Vec<u64>>>,
    script: Vec<Do>,
) -> BoxFuture<'a, Result<(), String>> {
    Box::pin(async move {
        let node = |key: String| ctx.grain::<NodeRef>(key);
        let mut guards = Vec::new();
        for step in script {
            let outcome = match step {
                Do::Note(text) => {
                    probe.note(text);
                    continue;
                }
                Do::Pass(latch) => {
                    probe.pass(&latch).await;
                    continue;
                }
                Do::Sleep(time) => {
                    tokio::time::sleep(time).await;
                    continue;
                }
                Do::Hang => std::future::pending().await,
                Do::Guard(text) => {
                    guards.push(Guard(probe.clone(), text));
                    continue;
                }
                Do::Yield => {
                    tokio::task::yield_now().await;
                    continue;
                }
                Do::Push(n) => {
                    list.as_mut().expect("a write turn").push(n);
                    continue;
                }
                Do::Commit => {
                    if let Err(fault) = list.as_mut().expect("a write turn").commit().await {
                        probe.fault(fault.clone());
                        return Err(fault.to_string());
                    }
                    continue;
                }
                Do::Abort => {
                    ctx.abort();
                    continue;
                }
                Do::Panic => panic!("as told"),
                Do::Fail(text) => return Err(text),
                Do::Read(key, script) => node(key).read(script).await,
                Do::Write(key, script) => node(key).write(script).await,
                Do::WriteWithin(time, key, script) => {
                    noted(probe, node(key).write(script).timeout(time).await);
                    continue;
                }
                Do::TryRead(key, script) => {
                    noted(probe, node(key).read(script).await);
                    continue;
                }
                Do::TryWrite(key, script) => {
                    noted(probe, node(key).write(script).await);
                    continue;
                }
                Do::Send(key, script) => {
                    node(key).write(script).send();
                    continue;
                }
                Do::SpawnWrite(key, script) => {
                    let (node, probe) = (node(key), probe.clone());
                    let spawned = ctx.spawn(async move { noted(&probe, node.write(script).await) });
                    spawned.map_err(|fault| fault.to_string())?;
                    continue;
                }
                Do::DropAfter(time, key, script) => {
                    let node = node(key);
                    let _ = tokio::time::timeout(time, node.read(script)).await;
                    continue;
                }
                Do::Deactivate => {
                    ctx.deactivate_on_idle();
                    continue;
                }
            };
            if let Err(error) = outcome {
                if let Some(fault) = error.fault() {
                    probe.fault(fault.clone());
                }
                return Err(error.to_string());
            }
        }
        Ok(())
    })
}

struct Guard(Arc<Probe>, String);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.note(self.1.clone());
    }
}

fn noted(probe: &Probe, outcome: Result<Vec<u64>, CallError<String>>) {
    match outcome {
        Ok(_) => probe.note("ok"),
        Err(CallError::App(error)) => probe.note(format!("error: {error}")),
        Err(CallError::Fault(fault)) => probe.fault(fault),
    }
}
