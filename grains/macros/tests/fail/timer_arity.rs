use gristmill_grains::{BoxError, Grain, GrainContext, Lifecycle, grain_interface};
use std::time::Duration;

#[grain_interface(crate = gristmill_grains)]
pub trait Player {
    async fn rest(&mut self);
}

#[derive(Grain)]
#[grain(implements(Player), lifecycle, crate = gristmill_grains)]
struct PlayerGrain {
    ctx: GrainContext<Self>,
}

impl Player for PlayerGrain {
    async fn rest(&mut self) {}
}

impl Lifecycle for PlayerGrain {
    async fn on_activate(&mut self) -> Result<(), BoxError> {
        self.ctx.every(Duration::from_secs(1), async || {})?;
        Ok(())
    }
}

fn main() {}
