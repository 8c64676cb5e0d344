use gristmill_grains::{Grain, grain_interface};
use std::rc::Rc;

#[grain_interface(crate = gristmill_grains)]
pub trait Player {
    async fn rest(&mut self);
}

#[derive(Grain)]
#[grain(implements(Player), crate = gristmill_grains)]
struct PlayerGrain;

impl Player for PlayerGrain {
    async fn rest(&mut self) {
        let shared = Rc::new(1);
        std::future::ready(()).await;
        drop(shared);
    }
}

fn main() {}
