use gristmill_grains::{Grain, grain_interface};

#[grain_interface(crate = gristmill_grains)]
pub trait Lobby {
    async fn enter(&self, name: String);
}

#[derive(Grain)]
#[grain(implements(Lobby), crate = gristmill_grains)]
struct LobbyGrain {
    names: Vec<String>,
}

impl Lobby for LobbyGrain {
    async fn enter(&mut self, name: String) {
        self.names.push(name);
    }
}

fn main() {}
