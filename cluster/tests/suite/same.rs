//! A cluster's keepers, wherever they are: each promise is tested on all of them.

use std::future::Future;
use std::sync::Arc;

use gristmill_cluster::{
    Directory, Incarnation, MemberInfo, Membership, MemoryDirectory, MemoryMembership, RedisCluster,
    RedisClusterOptions,
};
use gristmill_grains::{ActivationId, GrainId, GrainType};
use gristmill_redis::model::Server;
use gristmill_test_servers::{RedisCluster as Servers, RedisOptions, RedisServer};

/// Runs a promise against every keeper.
pub(crate) async fn on_each<F: Future<Output = ()>>(promise: impl Fn(Box<dyn Membership>, Box<dyn Directory>) -> F) {
    promise(Box::new(MemoryMembership::default()), Box::new(MemoryDirectory::default())).await;
    let server = RedisServer::start(RedisOptions::default());
    let redis = RedisCluster::connect(&server.url()).await.unwrap();
    promise(Box::new(redis.clone()), Box::new(redis)).await;
    let model = Arc::new(Server::new(1));
    let redis = RedisCluster::connect_wired(model, RedisClusterOptions::default()).await.unwrap();
    promise(Box::new(redis.clone()), Box::new(redis)).await;
    let servers = Servers::start(3);
    let redis = RedisCluster::connect_cluster(&servers.urls(), RedisClusterOptions::default()).await.unwrap();
    promise(Box::new(redis.clone()), Box::new(redis)).await;
}

pub(crate) fn silo(number: u128) -> Incarnation {
    Incarnation::from_u128(number)
}

pub(crate) fn activation(number: u128) -> ActivationId {
    ActivationId::from_u128(number)
}

pub(crate) fn grain(key: &str) -> GrainId {
    GrainId::new(GrainType::new("player"), key)
}

pub(crate) fn info(address: &str) -> MemberInfo {
    MemberInfo {
        address: address.to_owned(),
        name: format!("silo | at {address}"),
        types: ["player".to_owned()].into(),
        labels: [("zone".to_owned(), "eu".to_owned())].into(),
    }
}
