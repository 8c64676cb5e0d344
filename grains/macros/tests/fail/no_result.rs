use gristmill_grains::grain_interface;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
pub struct MatchResult {
    pub winner: String,
}

#[grain_interface(crate = gristmill_grains)]
pub trait Game {
    async fn finish(&mut self) -> MatchResult;
}

fn main() {}
