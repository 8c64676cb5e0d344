//! References are values: arguments, results, stored state; and a grain's spawned work is its activation's.

use std::sync::Arc;

use gristmill::prelude::*;
use gristmill::storage::MemoryStorage;
use serde::{Deserialize, Serialize};

use crate::support::{Probe, assert_fault, ms, soon};

#[derive(Clone, Default, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Friends {
    best: Option<FriendRef>,
    others: Vec<(String, FriendRef)>,
}

#[grain_interface]
trait Friend {
    async fn introduce(&mut self, friends: Friends) -> Friends;
    async fn best(&mut self, friend: Option<FriendRef>);
    async fn name(&self) -> String;
    /// Asks everybody it knows.
    async fn names(&self) -> Vec<String>;
    /// Itself, to be passed on.
    async fn me(&self) -> FriendRef;
    async fn work(&mut self);
    async fn leave(&mut self);
}

#[derive(Grain)]
#[grain(implements(Friend))]
struct FriendGrain {
    ctx: GrainContext<Self>,
    #[service]
    probe: Arc<Probe>,
    #[state]
    friends: Persistent<Friends>,
}

impl Friend for FriendGrain {
    async fn introduce(&mut self, friends: Friends) -> Friends {
        *self.friends = friends;
        self.friends.clone()
    }

    async fn best(&mut self, friend: Option<FriendRef>) {
        self.friends.best = friend;
    }

    async fn name(&self) -> String {
        self.ctx.key().to_owned()
    }

    async fn names(&self) -> Vec<String> {
        let mut names = Vec::new();
        for friend in self.friends.best.iter().chain(self.friends.others.iter().map(|(_, friend)| friend)) {
            names.push(friend.name().await.unwrap());
        }
        names
    }

    async fn me(&self) -> FriendRef {
        self.ctx.grain(self.ctx.key())
    }

    async fn work(&mut self) {
        let (probe, me) = (self.probe.clone(), self.ctx.grain::<FriendRef>(self.ctx.key()));
        let work = async move {
            loop {
                probe.note(format!("working for {}", me.name().await.unwrap()));
                tokio::time::sleep(ms(10)).await;
            }
        };
        self.ctx.spawn(work).unwrap();
    }

    async fn leave(&mut self) {
        self.ctx.deactivate_on_idle();
    }
}

async fn silo(storage: &MemoryStorage) -> (Silo, Arc<Probe>) {
    let probe = Arc::new(Probe::default());
    let builder = Silo::builder().storage("default", storage.clone()).service::<Probe>(probe.clone());
    (builder.grain::<FriendGrain>().start().await.unwrap(), probe)
}

#[tokio::test(start_paused = true)]
async fn references_travel_nested_or_missing_and_work_after_a_reload() {
    let storage = MemoryStorage::new();
    let (first, _) = silo(&storage).await;
    let (ann, bob): (FriendRef, FriendRef) = (first.grain("ann"), first.grain("bob"));
    let cid = first.grain::<FriendRef>("cid").me().await.unwrap();
    assert_eq!((cid.key().as_str(), cid.name().await.unwrap().as_str()), ("cid", "cid"));
    let friends =
        Friends { best: Some(bob.clone()), others: vec![("c".into(), cid.clone()), ("d".into(), ann.clone())] };
    assert_eq!(ann.introduce(friends.clone()).await.unwrap(), friends);
    assert_eq!(soon(ann.names()).await.unwrap(), ["bob", "cid", "ann"]);
    ann.best(None).await.unwrap();
    let _ = first.stop().await;
    let (second, _) = silo(&storage).await;
    let ann: FriendRef = second.grain("ann");
    assert_eq!(soon(ann.names()).await.unwrap(), ["cid", "ann"], "out of the stored record");
    let old = assert_fault!(bob.name().await, Cause::SiloUnavailable { .. }, false);
    assert!(old.to_string().contains("friend/bob.name"), "{old}");
}

#[tokio::test(start_paused = true)]
async fn spawned_work_ends_with_its_activation() {
    let (silo, probe) = silo(&MemoryStorage::new()).await;
    let ann: FriendRef = silo.grain("ann");
    ann.work().await.unwrap();
    probe.saw_times("working for ann", 5).await;
    ann.leave().await.unwrap();
    tokio::time::sleep(ms(50)).await;
    let done = probe.count("working for ann");
    tokio::time::sleep(ms(1_000)).await;
    assert_eq!(probe.count("working for ann"), done);
}
