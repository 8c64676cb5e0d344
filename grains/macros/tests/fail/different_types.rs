use gristmill_grains::{Grain, grain_interface};

#[grain_interface(crate = gristmill_grains)]
pub trait Player {
    async fn rest(&mut self);
}

#[grain_interface(crate = gristmill_grains)]
pub trait Inventory {
    async fn size(&self) -> u32;
}

#[derive(Grain)]
#[grain(implements(Player, Inventory), crate = gristmill_grains)]
struct PlayerGrain;

impl Player for PlayerGrain {
    async fn rest(&mut self) {}
}

impl Inventory for PlayerGrain {
    async fn size(&self) -> u32 {
        0
    }
}

fn main() {}
