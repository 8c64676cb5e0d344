//! Where the matches live.

use std::collections::BTreeMap;
use std::time::Duration;

use gristmill::Client;
use gristmill::cluster::{Directory, Membership, RedisCluster};
use gristmill::grains::InterfaceRef;
use tokio::time::{Instant, sleep};

use crate::grains::lobby::{LOBBY, LobbyRef};
use crate::grains::match_grain::MatchRef;
use crate::out::println;

/// How often they are told.
const EVERY: Duration = Duration::from_secs(5);
/// How many matches are named.
const SHOWN: usize = 8;

/// Tells, for ever.
pub async fn tell(client: &Client, cluster: &RedisCluster) -> std::convert::Infallible {
    let began = Instant::now();
    loop {
        sleep(EVERY).await;
        if let Some(places) = places(client, cluster).await
            && !places.is_empty()
        {
            let more = if places.len() > SHOWN { ", .." } else { "" };
            println!("{:4.0} s  {}{more}", began.elapsed().as_secs_f64(), places[..places.len().min(SHOWN)].join(", "));
        }
    }
}

/// Each open match, and the silo that it is on; nothing while nobody answers.
async fn places(client: &Client, cluster: &RedisCluster) -> Option<Vec<String>> {
    let open = client.grain::<LobbyRef>(LOBBY).overview().timeout(EVERY).await.ok()?.open;
    let view = cluster.read().await.ok()?.view;
    let names: BTreeMap<_, _> = view.members.values().map(|member| (member.incarnation, &member.info.name)).collect();
    let mut places = Vec::new();
    for id in open.keys() {
        let grain = client.grain::<MatchRef>(id.clone()).as_ref().id();
        let row = cluster.lookup(&grain).await.ok()?;
        let silo = row.and_then(|row| names.get(&row.owner).copied());
        places.push(format!("{id} on {}", silo.map_or("no silo", String::as_str)));
    }
    Some(places)
}
