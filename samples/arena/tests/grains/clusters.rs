//! The program on a cluster of its own, while its silos are killed and restarted.

use serde_json::Value;

use crate::program::Program;

async fn verdict(options: &[&str]) -> Value {
    let common = ["cluster", "--matches=2", "--players=4", "--seconds=8", "--json"];
    let (status, verdict) = Program::start(&[&common, options].concat()).finish().await;
    assert_eq!((status, &verdict["ok"]), (Some(0), &Value::Bool(true)), "{verdict}");
    assert_eq!((&verdict["matches"], &verdict["players"]), (&2.into(), &8.into()), "{verdict}");
    verdict
}

#[tokio::test]
async fn matches_outlive_silos_that_are_killed() {
    let verdict = verdict(&["--kill-every=3", "--seed=5"]).await;
    assert!(verdict["killed"].as_u64().unwrap() >= 2, "{verdict}");
}

#[tokio::test]
async fn no_call_of_the_bots_fails_while_silos_are_restarted_in_turn() {
    let verdict = verdict(&["--restart=rolling"]).await;
    assert!(verdict["restarted"].as_u64().unwrap() >= 2, "{verdict}");
    assert_eq!(verdict["checks"]["no_call_failed"], true, "{verdict}");
}
