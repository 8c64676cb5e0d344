//! Clients: calls from programs that host nothing, over TCP, through any silo.

use std::time::Duration;

use gristmill::cluster::{ClusterOptions, Secret};
use gristmill::prelude::*;
use gristmill::{Client, ClientBuilder, ConnectError};

use crate::cluster::LedgerRef;
use crate::silos::{Silos, stop, until};
use crate::support::{ms, soon, spawn};

fn described(gateways: &[&String]) -> ClientBuilder {
    Client::builder().gateways(gateways.iter().map(|address| address.to_string()))
}

async fn connected_to(client: &Client, silos: usize) {
    until(async || client.connected() >= silos).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_reaches_every_grain_through_any_silo_and_finds_the_others() {
    let silos = Silos::new();
    let (one, address) = silos.start().await;
    let (two, _) = silos.start().await;
    let client = soon(described(&[&address]).connect()).await.unwrap();
    connected_to(&client, 2).await;
    for key in 0..40u64 {
        let grain: LedgerRef = client.grain(key.to_string());
        assert_eq!(soon(grain.append(1)).await.unwrap(), 1);
        let same: LedgerRef = two.grain(key.to_string());
        assert_eq!(soon(same.append(2)).await.unwrap(), 2);
        assert_eq!(soon(grain.entries()).await.unwrap(), [1, 2]);
    }
    client.stop().await;
    stop(&one).await;
    stop(&two).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_of_a_client_keep_their_order_while_silos_join_and_leave() {
    let silos = Silos::new();
    let (one, address) = silos.start().await;
    let client = soon(described(&[&address]).connect()).await.unwrap();
    let grain: LedgerRef = client.grain("order");
    let calls = spawn(async move {
        let mut last = Vec::new();
        for entry in 0..1_500u64 {
            match entry % 3 {
                0 => grain.append(entry).send(),
                _ => {
                    let grain = grain.clone();
                    last.push(spawn(async move { grain.append(entry).await }));
                }
            }
            tokio::task::yield_now().await;
            if entry % 50 == 0 {
                tokio::time::sleep(ms(4)).await;
            }
        }
        for call in last {
            call.await.unwrap().unwrap();
        }
        grain
    });
    let (two, _) = silos.start().await;
    connected_to(&client, 2).await;
    stop(&one).await;
    let grain = soon(calls).await.unwrap();
    let entries = soon(grain.entries()).await.unwrap();
    let sends: Vec<_> = entries.iter().filter(|entry| *entry % 3 == 0).copied().collect();
    assert_eq!(sends, (0..1_500).step_by(3).collect::<Vec<_>>());
    assert_eq!(entries.len(), 1_500, "no call failed, none ran twice");
    assert_eq!(client.lost_sends(), 0);
    client.stop().await;
    stop(&two).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_call_gets_an_answer_when_its_gateway_dies() {
    let silos = Silos::new();
    let (one, first) = silos.start().await;
    let (two, second) = silos.start().await;
    let client = soon(described(&[&first, &second]).connect()).await.unwrap();
    connected_to(&client, 2).await;
    let naps: Vec<_> = (0..20u64)
        .map(|key| {
            let grain: LedgerRef = client.grain(format!("nap-{key}"));
            spawn(async move { soon(grain.nap(1_500)).await })
        })
        .collect();
    tokio::time::sleep(ms(100)).await;
    drop(one); // cut off without a word
    let mut lost = 0;
    for nap in naps {
        match nap.await.unwrap() {
            Ok(_) => {}
            Err(CallError::Fault(fault)) => {
                let gone = matches!(fault.cause(), Cause::SiloUnavailable { .. } | Cause::ActivationLost { .. });
                assert!(gone, "{fault}");
                assert!(fault.maybe_executed());
                lost += 1;
            }
        }
    }
    assert!(lost > 0, "some calls went through the silo that died, or to it");
    let grain: LedgerRef = client.grain("after");
    assert_eq!(soon(grain.append(1).timeout(Duration::from_secs(10))).await.unwrap(), 1);
    client.stop().await;
    stop(&two).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_is_not_of_the_cluster_is_refused_at_once() {
    let mut silos = Silos::new();
    silos.secret = Some(Secret::new("the silos' own secret, of enough letters").unwrap());
    let (silo, address) = silos.start().await;
    let refused = |builder: ClientBuilder| async move {
        match soon(builder.connect()).await {
            Err(ConnectError::Refused(why)) => why,
            other => panic!("{other:?}"),
        }
    };
    assert!(refused(described(&[&address])).await.contains("secret"));
    let wrong = Secret::new("something else that is long enough too").unwrap();
    assert!(refused(described(&[&address]).secret(wrong)).await.contains("secret"));
    let right = described(&[&address]).secret(silos.secret.clone().unwrap());
    assert!(refused(right.clone().cluster("another")).await.contains("cluster"));
    let client = soon(right.connect()).await.unwrap();
    let grain: LedgerRef = client.grain("mine");
    assert_eq!(soon(grain.append(1)).await.unwrap(), 1);
    stop(&silo).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_reconnects_to_a_silo_that_is_started_again() {
    let silos = Silos::new();
    let (one, address) = silos.start().await;
    let client = soon(described(&[&address]).connect()).await.unwrap();
    let grain: LedgerRef = client.grain("kept");
    assert_eq!(soon(grain.append(1)).await.unwrap(), 1);
    stop(&one).await;
    // Nobody is there: the call waits for a gateway.
    let waits = spawn({
        let grain = grain.clone();
        async move { grain.append(2).await }
    });
    let again = silos.start_with(ClusterOptions { listen: address, ..silos.options() }).await.unwrap();
    assert_eq!(soon(waits).await.unwrap().unwrap(), 2);
    let short = grain.append(3).timeout(Duration::ZERO);
    assert!(matches!(soon(short).await, Err(CallError::Fault(fault)) if !fault.maybe_executed()));
    client.stop().await;
    let error = soon(grain.append(4)).await.unwrap_err();
    assert!(error.to_string().contains("the client has stopped"), "{error}");
    stop(&again).await;
}

#[grain_interface(grain = "gristmill.keeper")]
trait Forbidden {
    async fn add(&mut self, key: String);
}

#[grain_interface]
trait Nobodys {
    async fn call(&self);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_does_not_reach_what_is_not_there_or_the_runtimes_own_grains() {
    let silos = Silos::new();
    let (silo, address) = silos.start().await;
    let client = soon(described(&[&address]).connect()).await.unwrap();
    let own: ForbiddenRef = client.grain("match");
    let error = soon(own.add("x".to_owned())).await.unwrap_err();
    assert!(matches!(error, CallError::Fault(ref fault) if matches!(fault.cause(), Cause::UnknownGrain)), "{error}");
    let nobodys: NobodysRef = client.grain("x");
    let error = soon(nobodys.call()).await.unwrap_err();
    assert!(matches!(error, CallError::Fault(ref fault) if matches!(fault.cause(), Cause::UnknownGrain)), "{error}");
    assert!(error.to_string().contains("call"), "it names the method: {error}");
    stop(&silo).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_a_client_gives_up_before_it_began_never_runs() {
    let silos = Silos::new();
    let (silo, address) = silos.start().await;
    let client = soon(described(&[&address]).connect()).await.unwrap();
    let grain: LedgerRef = client.grain("busy");
    assert_eq!(soon(grain.append(0)).await.unwrap(), 1);
    let nap = spawn({
        let grain = grain.clone();
        async move { grain.nap(800).await }
    });
    tokio::time::sleep(ms(100)).await;
    let given_up = spawn({
        let grain = grain.clone();
        async move { grain.append(1).await }
    });
    tokio::time::sleep(ms(100)).await;
    given_up.abort();
    soon(nap).await.unwrap().unwrap();
    assert_eq!(soon(grain.append(2)).await.unwrap(), 2);
    assert_eq!(soon(grain.entries()).await.unwrap(), [0, 2]);
    stop(&silo).await;
}
