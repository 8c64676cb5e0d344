use gristmill_grains::Grain;

#[derive(Grain)]
struct PlayerGrain;

#[derive(Grain)]
#[grain(implements())]
struct GameGrain;

fn main() {}
