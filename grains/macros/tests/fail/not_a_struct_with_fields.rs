use gristmill_grains::{Grain, grain_interface};

#[grain_interface(crate = gristmill_grains)]
pub trait Player {
    async fn rest(&mut self);
}

#[derive(Grain)]
#[grain(implements(Player), crate = gristmill_grains)]
struct Tuple(u32);

#[derive(Grain)]
#[grain(implements(Player), crate = gristmill_grains)]
struct Generic<T> {
    value: T,
}

#[derive(Grain)]
#[grain(implements(Player), crate = gristmill_grains)]
enum Choice {
    One,
}

fn main() {}
