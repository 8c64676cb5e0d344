//! Generated sequences of operations by several activations on several grains, each answer compared with the model's.

use gristmill_grains::GrainId;
use gristmill_grains::storage::{Commit, Fence, RecordWrite, WriteId};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::model::Model;
use super::{Options, Rig};

/// Grains and activations in one sequence: few, so that they meet.
const GRAINS: usize = 2;
const ACTORS: usize = 3;
const NAMES: [&str; 3] = ["a", "b", "c"];

/// The most attempts to make a failing sequence shorter.
const SHRINKS: usize = 400;

#[derive(Clone, Debug)]
enum Step {
    /// An activation opens a grain, in an epoch of its own choice; it keeps the fence even if refused.
    Open { grain: usize, actor: usize, epoch: u64 },
    /// Commits of different grains, in one batch.
    Commit(Vec<Turn>),
    /// The commit sent last on this grain is sent again, or one from further back.
    Resend { grain: usize, back: usize },
}

#[derive(Clone, Debug)]
struct Turn {
    grain: usize,
    actor: usize,
    writes: Vec<Write>,
}

#[derive(Clone, Debug)]
struct Write {
    name: &'static str,
    /// How far the expected version is off: 0 mostly.
    off: u64,
    /// How far the new version is above the next one: 0 mostly.
    jump: u64,
    body: Option<Vec<u8>>,
}

fn step() -> impl Strategy<Value = Step> {
    let mostly_zero = || prop_oneof![9 => Just(0_u64), 1 => 1..3_u64];
    let write = (mostly_zero(), mostly_zero(), proptest::option::weighted(0.75, vec(any::<u8>(), 0..4)));
    let writes = btree_map(proptest::sample::select(NAMES.as_slice()), write, 1..=NAMES.len()).prop_map(|writes| {
        let write = |(name, (off, jump, body))| Write { name, off, jump, body };
        writes.into_iter().map(write).collect::<Vec<_>>()
    });
    let batch = btree_map(0..GRAINS, (0..ACTORS, writes), 1..=GRAINS).prop_map(|turns| {
        let turn = |(grain, (actor, writes))| Turn { grain, actor, writes };
        turns.into_iter().map(turn).collect()
    });
    prop_oneof![
        3 => (0..GRAINS, 0..ACTORS, 0..6_u64).prop_map(|(grain, actor, epoch)| Step::Open { grain, actor, epoch }),
        6 => batch.prop_map(Step::Commit),
        3 => (0..GRAINS, prop_oneof![2 => Just(0), 1 => 0..6_usize])
            .prop_map(|(grain, back)| Step::Resend { grain, back }),
    ]
}

/// Plays generated sequences, and compares every answer with the model's.
///
/// # Panics
///
/// At the first sequence that differs, after shrinking it: with its steps, and both answers to the last of them.
pub async fn agree_with_the_model(rig: &Rig, options: &Options) {
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&options.seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
    let mut runner = TestRunner::new_with_rng(Config { failure_persistence: None, ..Config::default() }, rng);
    let sequences = vec(step(), 1..=options.steps.max(1));
    for _ in 0..options.sequences {
        let tree = sequences.new_tree(&mut runner).unwrap_or_else(|reason| panic!("cannot generate: {reason}"));
        if let Err(difference) = play(rig, &tree.current()).await {
            let (steps, difference) = shrink(rig, tree, difference).await;
            panic!("{difference}\nafter the steps (seed {}):\n{steps:#?}", options.seed);
        }
    }
}

/// proptest's way of shrinking, awaited: simpler while it still differs, back a little when it no longer does.
async fn shrink(rig: &Rig, mut tree: impl ValueTree<Value = Vec<Step>>, difference: String) -> (Vec<Step>, String) {
    let mut smallest = (tree.current(), difference);
    let mut differs = true;
    for _ in 0..SHRINKS {
        if !(if differs { tree.simplify() } else { tree.complicate() }) {
            break;
        }
        differs = match play(rig, &tree.current()).await {
            Ok(()) => false,
            Err(difference) => {
                smallest = (tree.current(), difference);
                true
            }
        };
    }
    smallest
}

/// Plays one sequence on fresh grains; the error tells where the storage differs from the model.
async fn play(rig: &Rig, steps: &[Step]) -> Result<(), String> {
    let mut scene = Scene {
        rig,
        model: Model::default(),
        grains: std::array::from_fn(|_| rig.grain()),
        fences: std::array::from_fn(|_| rig.fence(0)),
        sent: Vec::new(),
    };
    for (number, step) in steps.iter().enumerate() {
        scene.play(step).await.map_err(|difference| format!("step {number} differs: {difference}"))?;
    }
    for grain in 0..GRAINS {
        let look = Step::Open { grain, actor: 0, epoch: 100 };
        scene.play(&look).await.map_err(|difference| format!("in the end, what is stored differs: {difference}"))?;
    }
    Ok(())
}

struct Scene<'a> {
    rig: &'a Rig,
    model: Model,
    grains: [GrainId; GRAINS],
    /// What each activation believes its fence to be, for whichever grain it opened last.
    fences: [Fence; ACTORS],
    sent: Vec<Commit>,
}

impl Scene<'_> {
    async fn play(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Open { grain, actor, epoch } => {
                self.fences[*actor].epoch = *epoch;
                let (grain, fence) = (&self.grains[*grain], self.fences[*actor]);
                let expected = self.model.open(grain, fence);
                let answer = self.rig.open(grain, fence).await;
                same(&format!("open of {grain} by {fence}"), &[expected], &answer)
            }
            Step::Commit(turns) => {
                let batch: Vec<_> = turns.iter().map(|turn| self.commit_of(turn)).collect();
                self.sent.extend(batch.iter().cloned());
                self.commit(&batch).await
            }
            Step::Resend { grain, back } => {
                let mut sent = self.sent.iter().rev().filter(|commit| commit.grain == self.grains[*grain]);
                match sent.nth(*back).cloned() {
                    Some(commit) => self.commit(&[commit]).await,
                    None => Ok(()),
                }
            }
        }
    }

    fn commit_of(&self, turn: &Turn) -> Commit {
        let grain = self.grains[turn.grain].clone();
        let records = turn.writes.iter().map(|write| {
            let expect = self.model.version(&grain, write.name) + write.off;
            let body = write.body.clone().map(Into::into);
            RecordWrite { name: write.name.to_owned(), expect, version: expect + 1 + write.jump, body }
        });
        let write = WriteId(self.sent.len() as u64);
        Commit { records: records.collect(), grain, fence: self.fences[turn.actor], write }
    }

    async fn commit(&mut self, batch: &[Commit]) -> Result<(), String> {
        let expected: Vec<_> = batch.iter().map(|commit| self.model.commit(commit)).collect();
        let answers = self.rig.storage().commit(batch).await;
        if answers.len() != batch.len() {
            return Err(format!("{} answers to a batch of {}", answers.len(), batch.len()));
        }
        let mut rows = batch.iter().zip(&expected).zip(&answers);
        rows.try_for_each(|((commit, expected), answer)| same(&format!("{commit:?}"), expected, answer))
    }
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, expected: &[T], answer: &T) -> Result<(), String> {
    if expected.contains(answer) {
        return Ok(());
    }
    Err(format!("{what}\n  answered   {answer:?}\n  instead of {expected:?}"))
}
