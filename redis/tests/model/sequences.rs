//! Generated sequences.

use std::cell::RefCell;
use std::collections::BTreeMap;

use gristmill_test_servers::{RedisOptions, RedisServer};
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};
use redis::Value;

use crate::both::Both;
use crate::steps::{Step, steps};

/// How many sequences; another number by this variable.
const SEQUENCES: u32 = 1_000;
const SEQUENCES_VARIABLE: &str = "GRISTMILL_SEQUENCES";
/// Chooses them, if set.
const SEED_VARIABLE: &str = "GRISTMILL_SEED";

fn set<T: std::str::FromStr>(variable: &str) -> Option<T> {
    std::env::var(variable).ok()?.parse().ok()
}

/// What a script came to: the word that it answers, or the code of its error.
fn outcome(script: &str, answer: &Value) -> String {
    match answer {
        Value::Array(items) => {
            // Of the storage: the process first.
            let place = usize::from(script.starts_with("storage/"));
            match items.get(place) {
                Some(Value::BulkString(word)) if script != "cluster/read.lua" => {
                    String::from_utf8_lossy(word).into_owned()
                }
                _ => "array".to_owned(),
            }
        }
        Value::BulkString(text) => if text.is_empty() { "nothing" } else { "row" }.to_owned(),
        Value::ServerError(error) => error.code().to_owned(),
        Value::SimpleString(code) => code.clone(),
        other => format!("{other:?}"),
    }
}

/// What the sequences must have come to somewhere, or they show little.
const MET: [(&str, &[&str]); 12] = [
    ("storage/open.lua", &["ok", "fenced", "unreadable", "WRONGTYPE", "NOSCRIPT", "OOM", "READONLY", "ERR"]),
    ("storage/commit.lua", &["ok", "fenced", "conflict", "WRONGTYPE", "NOSCRIPT", "OOM", "READONLY", "ERR"]),
    ("storage/begin_run.lua", &["ok", "unreadable", "WRONGTYPE", "NOSCRIPT", "OOM", "READONLY", "ERR"]),
    ("storage/run.lua", &["ok", "WRONGTYPE", "NOSCRIPT", "ERR"]),
    ("cluster/read.lua", &["array", "WRONGTYPE", "NOSCRIPT", "READONLY"]),
    ("cluster/join.lua", &["joined", "shards", "WRONGTYPE", "NOSCRIPT", "READONLY", "ERR"]),
    ("cluster/beat.lua", &["taken", "missing", "dead", "WRONGTYPE", "NOSCRIPT", "READONLY", "ERR"]),
    ("cluster/advance.lua", &["done", "WRONGTYPE", "NOSCRIPT", "READONLY", "ERR"]),
    (
        "cluster/suspect.lua",
        &["counted", "killed", "unknown voter", "unknown target", "voter dead", "already dead", "WRONGTYPE", "ERR"],
    ),
    ("cluster/restore.lua", &["done", "WRONGTYPE", "NOSCRIPT", "READONLY", "ERR"]),
    ("cluster/prune.lua", &["done", "WRONGTYPE", "NOSCRIPT", "READONLY", "ERR"]),
    ("cluster/directory.lua", &["row", "nothing", "what", "WRONGTYPE", "NOSCRIPT", "READONLY", "ERR"]),
];

#[test]
fn the_model_answers_as_a_server_does() {
    let server = RedisServer::start(RedisOptions::default());
    let both = RefCell::new(Both::new(&server));
    let met = RefCell::new(BTreeMap::<(&str, String), u32>::new());
    let mut seed = [0; 32];
    let chosen: u64 = set(SEED_VARIABLE).unwrap_or(0);
    seed[..8].copy_from_slice(&chosen.to_le_bytes());
    let cases = set(SEQUENCES_VARIABLE).unwrap_or(SEQUENCES);
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 2_000, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &seed));
    let ran = runner.run(&steps(), |steps| {
        let mut both = both.borrow_mut();
        both.clear();
        let answers = both.play(&steps).map_err(TestCaseError::fail)?;
        for (step, answer) in steps.iter().zip(answers) {
            if let (Step::Script { name, .. }, Some(answer)) = (step, answer) {
                *met.borrow_mut().entry((*name, outcome(name, &answer))).or_default() += 1;
            }
        }
        Ok(())
    });
    match ran {
        Ok(()) => {}
        Err(TestError::Fail(differs, steps)) => {
            let steps: Vec<_> = steps.iter().enumerate().map(|(place, step)| format!("{place:>3}  {step:?}")).collect();
            panic!(
                "the model is not as the server ({SEED_VARIABLE}={chosen}):\n{}\ndiffers at {differs}",
                steps.join("\n")
            )
        }
        Err(TestError::Abort(why)) => panic!("{why}"),
    }
    let met = met.into_inner();
    let missed = MET.iter().flat_map(|(name, outcomes)| outcomes.iter().map(move |outcome| (*name, *outcome)));
    let missed: Vec<_> = missed.filter(|(name, outcome)| !met.contains_key(&(*name, (*outcome).to_owned()))).collect();
    assert!(missed.is_empty() || cases < SEQUENCES, "no sequence came to {missed:?}, only to {met:?}");
}
