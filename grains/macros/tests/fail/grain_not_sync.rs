use gristmill_grains::{Grain, grain_interface};
use std::cell::Cell;

#[grain_interface(crate = gristmill_grains)]
pub trait Player {
    async fn rest(&mut self);
}

#[derive(Grain)]
#[grain(implements(Player), crate = gristmill_grains)]
struct PlayerGrain {
    seen: Cell<u32>,
}

impl Player for PlayerGrain {
    async fn rest(&mut self) {
        self.seen.set(0);
    }
}

fn main() {}
