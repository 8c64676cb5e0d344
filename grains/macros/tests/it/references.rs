//! Reference types.

use std::collections::BTreeMap;

use gristmill_grains::{Cause, Compound, GrainRef, InterfaceRef, StrKey, grain_interface};
use serde::{Deserialize, Serialize};

use crate::support::NoGrains;

/// A player.
#[grain_interface(crate = gristmill_grains)]
pub trait Player {
    /// Joins a game.
    async fn join(&mut self, game: GameRef) -> Result<(), String>;
    /// Its friends.
    async fn friends(&self) -> Vec<PlayerRef>;
}

/// A game.
#[grain_interface(grain = "match", key = Compound<StrKey, i64>, crate = gristmill_grains)]
pub trait Game {
    /// Ends it.
    async fn end(&mut self);
}

fn player(key: &str) -> PlayerRef {
    PlayerRef::from_ref(GrainRef::unbound(key.into()))
}

#[test]
fn a_reference_is_its_key() {
    let (alice, bob) = (player("alice"), player("bob"));
    assert_eq!(alice, alice.clone());
    assert_ne!(alice, bob);
    assert_eq!(alice.key().as_str(), "alice");
    assert_eq!(alice.id().to_string(), "player/alice");
    assert_eq!(format!("{alice:?}"), "player/\"alice\"".replace('"', ""));
    let bound = PlayerRef::from_ref(GrainRef::bound("alice".into(), &NoGrains));
    assert_eq!(alice, bound);
    let game = GameRef::from_ref(GrainRef::unbound(("eu", 7).into()));
    assert_eq!(game.id().to_string(), "match/eu+7");
}

#[test]
fn a_reference_is_part_of_stored_state() {
    #[derive(PartialEq, Debug, Serialize, Deserialize)]
    struct Team {
        captain: PlayerRef,
        game: Option<GameRef>,
        scores: BTreeMap<String, PlayerRef>,
    }
    let team = Team {
        captain: player("alice"),
        game: Some(GameRef::from_ref(GrainRef::unbound(("eu", 7).into()))),
        scores: [("9".to_owned(), player("bob/1"))].into(),
    };
    let json = serde_json::to_string(&team).unwrap();
    assert_eq!(json, r#"{"captain":"player/alice","game":"match/eu+7","scores":{"9":"player/bob/1"}}"#);
    assert_eq!(serde_json::from_str::<Team>(&json).unwrap(), team);
    assert!(serde_json::from_str::<PlayerRef>(r#""match/eu+7""#).is_err());
}

#[tokio::test]
async fn a_call_names_the_grain_and_the_method() {
    let game = GameRef::from_ref(GrainRef::unbound(("eu", 7).into()));
    let error = player("alice").join(game).await.unwrap_err();
    assert_eq!(error.cause(), Some(&Cause::Unbound));
    assert!(error.to_string().starts_with("player/alice.join: "), "{error}");
    let alice = PlayerRef::from_ref(GrainRef::bound("alice".into(), &NoGrains));
    let error = alice.friends().await.unwrap_err();
    assert_eq!(error.cause(), Some(&Cause::UnknownGrain));
}
