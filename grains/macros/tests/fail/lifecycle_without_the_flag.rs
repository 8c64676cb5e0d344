use gristmill_grains::{BoxError, Grain, Lifecycle, grain_interface};

#[grain_interface(crate = gristmill_grains)]
pub trait Player {
    async fn rest(&mut self);
}

#[derive(Grain)]
#[grain(implements(Player), crate = gristmill_grains)]
struct PlayerGrain;

impl Player for PlayerGrain {
    async fn rest(&mut self) {}
}

impl Lifecycle for PlayerGrain {
    async fn on_activate(&mut self) -> Result<(), BoxError> {
        Ok(())
    }
}

fn main() {}
