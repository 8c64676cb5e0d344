//! Grains are activated on the silo that their type's placement says.

use gristmill::cluster::{Incarnation, Member, PlacementStrategy};
use gristmill::prelude::*;
use gristmill::testing::TestCluster;
use gristmill::{SiloBuilder, StartError};

use crate::support::soon;

#[grain_interface]
pub(crate) trait Placed {
    async fn call(&mut self);
}

macro_rules! grain {
    ($grain:ident, $placement:literal) => {
        #[derive(Grain)]
        #[grain(implements(Placed), placement = $placement)]
        struct $grain {}

        impl Placed for $grain {
            async fn call(&mut self) {}
        }
    };
}

grain!(Hashed, "hash");
grain!(Local, "prefer-local");
grain!(Anywhere, "random");
grain!(Least, "least-loaded");
grain!(Labelled, "label(silo=1)");
grain!(Nowhere, "label(zone=eu)");
grain!(Chosen, "custom(last)");

struct Last;

impl PlacementStrategy for Last {
    fn choose(&self, grain: &GrainId, _: Incarnation, hosts: &[&Member]) -> Option<Incarnation> {
        match &**grain.key() {
            "none" => None,
            "nobody" => Some(Incarnation::from_u128(7)),
            _ => hosts.last().map(|host| host.incarnation),
        }
    }
}

async fn cluster<G: Grain>() -> TestCluster {
    let describe = |silo: SiloBuilder| silo.placement("last", Last).grain::<G>();
    soon(TestCluster::start(3, describe)).await.unwrap()
}

/// On which silo each of so many grains is, first called from `from`.
async fn places(cluster: &TestCluster, from: usize, many: u64) -> Vec<usize> {
    let mut places = Vec::new();
    for key in 0..many {
        let key = format!("{from}-{key}");
        let grain: PlacedRef = cluster.silo(from).grain(key.as_str());
        soon(grain.call()).await.unwrap();
        places.push(cluster.place_of::<PlacedRef>(key.as_str()).unwrap());
    }
    places
}

fn shares(places: &[usize]) -> [usize; 3] {
    [0, 1, 2].map(|silo| places.iter().filter(|place| **place == silo).count())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_hash_or_at_random_every_silo_has_its_share() {
    let hashed = shares(&places(&cluster::<Hashed>().await, 0, 150).await);
    assert!(hashed.iter().all(|share| *share > 25), "{hashed:?}");
    let random = shares(&places(&cluster::<Anywhere>().await, 0, 150).await);
    assert!(random.iter().all(|share| *share > 25), "{random:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grain_that_prefers_it_is_where_it_was_first_called() {
    let cluster = cluster::<Local>().await;
    for from in 0..3 {
        assert!(places(&cluster, from, 20).await.iter().all(|place| *place == from));
    }
    // From one that cannot host it: by hash.
    let bare = soon(cluster.start_silo_with(|silo| silo)).await.unwrap();
    let spread = shares(&places(&cluster, bare, 60).await);
    assert!(spread.iter().all(|share| *share > 5), "{spread:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_silos_the_one_with_less_to_do_gets_the_grain() {
    let cluster = cluster::<Least>().await;
    let even = shares(&places(&cluster, 0, 150).await);
    assert!(even.iter().all(|share| (45..=55).contains(share)), "{even:?}");
    let new = soon(cluster.start_silo()).await.unwrap();
    let later = places(&cluster, 1, 40).await;
    let on_new = later.iter().filter(|place| **place == new).count();
    assert!(on_new >= 12, "half of all draws have the empty one among them: {on_new}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_label_or_a_strategy_of_the_programs_own_decides() {
    assert_eq!(shares(&places(&cluster::<Labelled>().await, 0, 30).await), [0, 30, 0]);
    let chosen = cluster::<Chosen>().await;
    assert_eq!(shares(&places(&chosen, 0, 30).await), [0, 0, 30]);
    for silo in ["none", "nobody"] {
        let nowhere: PlacedRef = chosen.silo(0).grain(silo);
        let error = soon(nowhere.call().timeout(std::time::Duration::from_millis(300))).await.unwrap_err();
        assert!(matches!(error.cause(), Some(Cause::Timeout)), "{error}");
        assert!(!error.maybe_executed(), "{error}");
    }
    let cluster = cluster::<Nowhere>().await;
    let nowhere: PlacedRef = cluster.silo(0).grain("x");
    let error = soon(nowhere.call().timeout(std::time::Duration::from_millis(300))).await.unwrap_err();
    assert!(!error.maybe_executed(), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silo_does_not_start_without_the_strategy_that_a_type_names() {
    let error = soon(Silo::builder().grain::<Chosen>().start()).await.unwrap_err();
    assert!(matches!(error, StartError::Grain { .. }), "{error}");
    assert!(error.to_string().contains("last"), "{error}");
}
