//! On which silo a grain is activated: the strategies that need no question to other silos.

use gristmill_grains::GrainId;

use crate::{Incarnation, Member, hash};

/// Chooses the silo for a grain that is active on none. A grain type names one by `#[grain(placement = "custom(name)")]`, and
/// every silo that hosts the type registers it (`SiloBuilder::placement`): the grain's broker, any of them, asks it.
///
/// ```
/// use gristmill_cluster::{Incarnation, Member, PlacementStrategy};
/// use gristmill_grains::GrainId;
///
/// /// Everything on the silo with the smallest name.
/// struct First;
///
/// impl PlacementStrategy for First {
///     fn choose(&self, _: &GrainId, _: Incarnation, hosts: &[&Member]) -> Option<Incarnation> {
///         hosts.iter().min_by_key(|host| &host.info.name).map(|host| host.incarnation)
///     }
/// }
/// ```
pub trait PlacementStrategy: Send + Sync + 'static {
    /// Chooses among `hosts`: the active silos that host the grain's type, in the order of their incarnations, without those
    /// that just refused it. `from` is the silo that asked first. `None`, or a silo that is not among them: none of them
    /// will do, and callers wait until there are others, or for their deadlines. Called for each activation: return soon,
    /// never block.
    fn choose(&self, grain: &GrainId, from: Incarnation, hosts: &[&Member]) -> Option<Incarnation>;
}

/// By rendezvous hashing.
pub fn by_hash(grain: &GrainId, hosts: &[&Member]) -> Option<Incarnation> {
    hash::rendezvous(hash::of_grain(grain), hosts.iter().map(|host| host.incarnation))
}

/// The silo that asked, if it may.
pub fn prefer_local(grain: &GrainId, from: Incarnation, hosts: &[&Member]) -> Option<Incarnation> {
    let local = hosts.iter().map(|host| host.incarnation).find(|host| *host == from);
    local.or_else(|| by_hash(grain, hosts))
}

/// By hash among those with a label.
pub fn by_label(grain: &GrainId, name: &str, value: &str, hosts: &[&Member]) -> Option<Incarnation> {
    let fit = hosts.iter().filter(|host| host.info.labels.get(name).is_some_and(|label| label == value));
    by_hash(grain, &fit.copied().collect::<Vec<_>>())
}
