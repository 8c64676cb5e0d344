use gristmill_grains::{Grain, grain_interface};

#[grain_interface(key = i64, crate = gristmill_grains)]
pub trait Door {
    async fn open(&mut self);
}

/// Forgot `key = i64`.
#[derive(Grain)]
#[grain(implements(Door), crate = gristmill_grains)]
struct DoorGrain;

impl Door for DoorGrain {
    async fn open(&mut self) {}
}

/// Forgot `key = i64`.
#[grain_interface(crate = gristmill_grains)]
pub trait Gate {
    async fn open(&mut self);
    async fn is_open(&self) -> bool;
}

#[derive(Grain)]
#[grain(implements(Gate), key = i64, crate = gristmill_grains)]
struct GateGrain;

impl Gate for GateGrain {
    async fn open(&mut self) {}

    async fn is_open(&self) -> bool {
        true
    }
}

#[grain_interface(grain = "gate", key = i64, crate = gristmill_grains)]
pub trait Bell {
    async fn ring(&self);
}

/// Its interfaces disagree.
#[derive(Grain)]
#[grain(implements(Gate, Bell), crate = gristmill_grains)]
struct BellGrain;

impl Gate for BellGrain {
    async fn open(&mut self) {}

    async fn is_open(&self) -> bool {
        true
    }
}

impl Bell for BellGrain {
    async fn ring(&self) {}
}

fn main() {}
