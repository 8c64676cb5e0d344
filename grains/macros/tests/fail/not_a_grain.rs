use gristmill_grains::{Grain, grain_interface};

#[grain_interface(crate = gristmill_grains)]
pub trait Player {
    async fn rest(&mut self);
}

// The derive is missing.
struct PlayerGrain;

impl Player for PlayerGrain {
    async fn rest(&mut self) {}
}

fn host<G: Grain>() {}

fn main() {
    host::<PlayerGrain>();
}
