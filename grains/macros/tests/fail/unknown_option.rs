use gristmill_grains::{Grain, grain_interface, state::Persistent};

#[grain_interface(crate = gristmill_grains, type = "player", name = "a b", name = "player")]
pub trait Player {
    #[method(name = "hurt")]
    async fn take_damage(&mut self, amount: u32);
}

#[derive(Grain)]
#[grain(implements(Player), mail_box = 10, idle = "15 min", dirty_calls = "no", lifecycle, lifecycle, crate = gristmill_grains)]
#[grain(stateless_worker = 0, turn_limit = "0s")]
struct PlayerGrain {
    #[state(file = "x", codec = "cbor", manual, every = "1s", migrate = old)]
    score: Persistent<u64>,
    #[state]
    first: Persistent<u64>,
    #[state(name = "first")]
    second: Persistent<u64>,
    #[state]
    #[service]
    both: Persistent<u64>,
    #[service(x)]
    service: Persistent<u64>,
}

fn main() {}
