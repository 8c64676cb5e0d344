use gristmill_grains::{Grain, grain_interface, state::{Old, Persistent}};
use std::net::IpAddr;

#[grain_interface(crate = gristmill_grains)]
pub trait Player {
    async fn rest(&mut self);
}

#[derive(Grain)]
#[grain(implements(Player), crate = gristmill_grains)]
struct PlayerGrain {
    address: IpAddr,
    #[state]
    score: u64,
    #[state(version = 1, migrate = old)]
    level: Persistent<u64>,
    #[service]
    clock: String,
}

fn old(_: Old<'_>) -> Result<String, gristmill_grains::BoxError> {
    Ok(String::new())
}

impl Player for PlayerGrain {
    async fn rest(&mut self) {}
}

fn main() {}
