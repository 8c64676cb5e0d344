//! Gristmill.

use gristmill::prelude::*;

use super::Contender;

#[grain_interface]
pub(crate) trait Work {
    async fn add(&mut self, n: u64) -> u64;
    async fn get(&self) -> u64;
    async fn wait(&mut self) -> u64;
    async fn link(&mut self, next: Option<WorkRef>);
    async fn fill(&mut self, bytes: u32);
    async fn chain(&mut self) -> u64;
}

#[derive(Grain)]
#[grain(implements(Work))]
pub(crate) struct WorkGrain {
    count: u64,
    next: Option<WorkRef>,
    blob: Vec<u8>,
}

impl Work for WorkGrain {
    async fn add(&mut self, n: u64) -> u64 {
        self.count += n;
        self.count
    }

    async fn get(&self) -> u64 {
        self.count
    }

    async fn wait(&mut self) -> u64 {
        self.count += 1;
        tokio::task::yield_now().await;
        self.count
    }

    async fn link(&mut self, next: Option<WorkRef>) {
        self.next = next;
    }

    async fn fill(&mut self, bytes: u32) {
        self.blob = vec![7; bytes as usize];
    }

    async fn chain(&mut self) -> u64 {
        self.count += 1;
        match &self.next {
            Some(next) => next.chain().await.expect("the chain answers"),
            None => self.count,
        }
    }
}

pub(crate) struct Gristmill(Silo);

impl Contender for Gristmill {
    const NAME: &'static str = "gristmill";
    type Handle = WorkRef;

    async fn start() -> Self {
        Self(Silo::builder().grain::<WorkGrain>().start().await.expect("the silo starts"))
    }

    async fn actor(&self, name: &str, next: Option<WorkRef>) -> WorkRef {
        let grain: WorkRef = self.0.grain(name);
        grain.link(next).await.expect("the grain answers");
        grain
    }

    const NEEDS_HANDLES: bool = false;

    async fn holder(&self, name: &str, bytes: usize) -> WorkRef {
        let grain: WorkRef = self.0.grain(name);
        grain.fill(bytes as u32).await.expect("the grain answers");
        grain
    }

    async fn add(actor: &WorkRef, n: u64) -> u64 {
        actor.add(n).await.expect("the grain answers")
    }

    async fn get(actor: &WorkRef) -> u64 {
        actor.get().await.expect("the grain answers")
    }

    async fn wait(actor: &WorkRef) -> u64 {
        actor.wait().await.expect("the grain answers")
    }

    async fn chain(actor: &WorkRef) -> u64 {
        actor.chain().await.expect("the chain answers")
    }
}
