use gristmill_grains::grain_interface;

#[grain_interface(crate = gristmill_grains)]
pub trait Generic<T> {
    async fn get(&self) -> u32;
}

#[grain_interface(crate = gristmill_grains)]
pub unsafe trait Unsafe {}

#[grain_interface(crate = gristmill_grains)]
pub struct Player;

fn main() {}
