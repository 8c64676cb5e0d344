use gristmill_grains::{Grain, grain_interface};

#[grain_interface(key = i64, crate = gristmill_grains)]
pub trait Player {
    async fn rest(&mut self);
}

#[grain_interface(key = f64, crate = gristmill_grains)]
pub trait Keyless {
    async fn rest(&mut self);
}

#[derive(Grain)]
#[grain(implements(Player), crate = gristmill_grains)]
struct PlayerGrain;

impl Player for PlayerGrain {
    async fn rest(&mut self) {}
}

fn main() {}
