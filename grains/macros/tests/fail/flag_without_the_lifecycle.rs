use gristmill_grains::{Grain, grain_interface};

#[grain_interface(crate = gristmill_grains)]
pub trait Player {
    async fn rest(&mut self);
}

#[derive(Grain)]
#[grain(implements(Player), lifecycle, crate = gristmill_grains)]
struct PlayerGrain;

impl Player for PlayerGrain {
    async fn rest(&mut self) {}
}

fn main() {}
