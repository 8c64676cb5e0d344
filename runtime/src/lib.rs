//! A virtual-actor runtime for game state: define grains, host a silo.
