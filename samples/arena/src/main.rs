//! The arena server: matches, players and a lobby as grains. For now an empty shell around the rules.

fn main() {}
