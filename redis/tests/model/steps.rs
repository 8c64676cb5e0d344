//! Generated steps.

use std::fmt;

use gristmill_redis::model::{Command, Mood};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use crate::scripts::By;

/// Every key: two grains and the run counter; rows, beats, version, votes and settings; a shard's rows and its epoch.
pub(crate) const KEYS: [&str; 10] = [
    "gm:player/alice",
    "gm:player/bob",
    "gm:run",
    "{g}:rows",
    "{g}:beats",
    "{g}:version",
    "{g}:votes",
    "{g}:settings",
    "{g:0}:grains",
    "{g:0}:epoch",
];

/// Those of the keys that hold a number.
const COUNTERS: [&str; 3] = ["gm:run", "{g}:version", "{g:0}:epoch"];

/// A time after which something expires, in milliseconds: it is waited for. The other one is a day.
pub(crate) const SOON: &str = "4";
const DAY: &str = "86400000";

const SILOS: [&str; 3] = ["a1", "b2", "c3"];
/// What a silo says of itself.
const INFO: &[&str] = &["{}", "an | info"];
const ACTIVATIONS: [&str; 4] = ["aa", "aa", "aa", "bb"];
const GRAINS: [&str; 2] = ["player/alice", "player/bob"];
/// What is no number, or an odd one.
const ODD: [&str; 16] = [
    "",
    "x",
    "-1",
    "+1",
    "01",
    "1e3",
    "0x10",
    "1.5",
    " 5",
    "nan",
    "inf",
    "9007199254740993",
    "9223372036854775807",
    "18446744073709551616",
    "aa|1|bb|2",
    "a\r\nb",
];

/// Something that both are asked, or that happens to both.
#[derive(Clone)]
pub(crate) enum Step {
    Script { name: &'static str, by: By, number: String, keys: Vec<&'static str>, args: Vec<Vec<u8>> },
    Plain(Command),
    Mood(Mood),
}

impl Step {
    /// A call with as many keys as it says.
    pub(crate) fn script(name: &'static str, by: By, keys: &[&'static str], args: &[impl AsRef<[u8]>]) -> Self {
        let args = args.iter().map(|arg| arg.as_ref().to_vec()).collect();
        Self::Script { name, by, number: keys.len().to_string(), keys: keys.to_vec(), args }
    }

    /// May it make something expire soon?
    pub(crate) fn is_short(&self) -> bool {
        let short = |words: &[Vec<u8>]| words.iter().any(|word| word == SOON.as_bytes());
        match self {
            Self::Script { args, .. } => short(args),
            Self::Plain(command) => short(command),
            Self::Mood(_) => false,
        }
    }
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = |words: &[Vec<u8>]| {
            let words: Vec<_> = words.iter().map(|word| format!("\"{}\"", word.escape_ascii())).collect();
            words.join(" ")
        };
        match self {
            Self::Script { name, by, number, keys, args } => {
                write!(f, "{name} by {by:?}, {number} of {keys:?}, {}", words(args))
            }
            Self::Plain(command) => write!(f, "{}", words(command)),
            Self::Mood(mood) => write!(f, "is {mood:?}"),
        }
    }
}

/// A command's words, by the spaces between them.
pub(crate) fn words(command: &str) -> Command {
    command.split(' ').map(|word| word.as_bytes().to_vec()).collect()
}

type Texts = BoxedStrategy<Vec<Vec<u8>>>;

fn one(of: &'static [&'static str]) -> BoxedStrategy<Vec<u8>> {
    select(of).prop_map(|text| text.as_bytes().to_vec()).boxed()
}

/// Mostly one of these, seldom something odd.
fn mostly(of: &'static [&'static str]) -> BoxedStrategy<Vec<u8>> {
    prop_oneof![30 => one(of), 1 => one(&ODD)].boxed()
}

/// These, one after the other.
fn all(parts: impl IntoIterator<Item = BoxedStrategy<Vec<u8>>>) -> Texts {
    parts.into_iter().collect::<Vec<_>>().boxed()
}

fn joined(parts: [&'static [&'static str]; 2], by: &'static str) -> BoxedStrategy<Vec<u8>> {
    (select(parts[0]), select(parts[1])).prop_map(move |(one, other)| format!("{one}{by}{other}").into_bytes()).boxed()
}

const PROBE: &[&str] = &["0", "0", "0", "1"];
const EPOCHS: &[&str] = &["1", "1", "1", "2"];
const WRITES: &[&str] = &["1", "2", "3", "4"];
const RETENTION: &[&str] = &[DAY, DAY, DAY, DAY, DAY, DAY, DAY, DAY, SOON];
const VERSIONS: &[&str] = &["0", "1", "2"];
const FLOOR: &[&str] = &["0", "0", "1", "5", "20"];

/// A record of a commit; the expected version, and the one above it.
fn record() -> Texts {
    let versions = prop_oneof![
        10 => select(&[["0", "1"], ["1", "2"], ["2", "3"]][..]).prop_map(|pair| pair.map(|text| text.as_bytes().to_vec())),
        1 => (mostly(VERSIONS), mostly(VERSIONS)).prop_map(|(one, other)| [one, other]),
    ];
    let body = prop_oneof![one(&["", "body", "two\r\nlines"]), vec(any::<u8>(), 0..80)];
    let text = (one(&["s", "t"]), versions, mostly(&["1", "1", "0"]), body);
    text.prop_map(|(name, [expect, version], stays, body)| vec![name, expect, version, stays, body]).boxed()
}

fn commit() -> Texts {
    let fixed = all([
        mostly(PROBE),
        joined([EPOCHS, &ACTIVATIONS], ":"),
        joined([&ACTIVATIONS, WRITES], ":"),
        mostly(RETENTION),
    ]);
    (fixed, vec(record(), 0..3)).prop_map(|(fixed, records)| [vec![fixed], records].concat().concat()).boxed()
}

fn restore() -> Texts {
    let row = || all([mostly(&SILOS), mostly(&["0", "1", "2", "3"]), mostly(&["1", "2", "9"]), one(INFO)]);
    (mostly(FLOOR), vec(row(), 0..4)).prop_map(|(version, rows)| [vec![vec![version]], rows].concat().concat()).boxed()
}

/// A directory's row.
fn row() -> BoxedStrategy<Vec<u8>> {
    let text = (select(&SILOS[..]), select(&["1", "2"][..]), select(&ACTIVATIONS[..]), 1..6_u8);
    text.prop_map(|(owner, join, activation, epoch)| format!("{owner}|{join}|{activation}|{epoch}").into_bytes())
        .boxed()
}

fn directory() -> Texts {
    let expected = || prop_oneof![2 => Just(Vec::new()), 3 => row(), 1 => one(&ODD)].boxed();
    let call = |what: &'static [&'static str], more: Vec<BoxedStrategy<Vec<u8>>>| {
        all([one(what), mostly(&GRAINS)].into_iter().chain(more))
    };
    prop_oneof![
        2 => call(&["lookup"], vec![]),
        5 => call(&["claim"], vec![mostly(&SILOS), mostly(&["1", "2"]), mostly(&ACTIVATIONS), expected(), mostly(FLOOR)]),
        2 => call(&["raise"], vec![mostly(&ACTIVATIONS), mostly(FLOOR)]),
        2 => call(&["release"], vec![mostly(&ACTIVATIONS)]),
        2 => call(&["reassert"], vec![row(), mostly(FLOOR)]),
        1 => call(&["steal", "", "ERR", "two words", "a\r\nb"], vec![]),
    ]
    .boxed()
}

/// A script's name, with keys and arguments.
type Call = BoxedStrategy<(&'static str, Vec<&'static str>, Vec<Vec<u8>>)>;

fn of(name: &'static str, keys: &'static [&'static str], args: Texts) -> Call {
    args.prop_map(move |args| (name, keys.to_vec(), args)).boxed()
}

fn storage() -> Call {
    let grain = |name: &'static str, args: Texts| {
        (0..2_usize, args).prop_map(move |(place, args)| (name, vec![KEYS[place]], args)).boxed()
    };
    prop_oneof![
        5 => grain(
            "storage/open.lua",
            all([mostly(PROBE), mostly(EPOCHS), mostly(&ACTIVATIONS), mostly(RETENTION)])
        ),
        12 => grain("storage/commit.lua", commit()),
        2 => of("storage/begin_run.lua", &KEYS[2..3], all([mostly(PROBE), mostly(FLOOR)])),
        1 => of("storage/run.lua", &KEYS[2..3], all([mostly(PROBE)])),
    ]
    .boxed()
}

fn membership() -> Call {
    let rows = |name: &'static str, args: Vec<BoxedStrategy<Vec<u8>>>| of(name, &KEYS[3..8], all(args));
    let status = || mostly(&["0", "1", "1", "1", "2", "3"]);
    let evidence = || mostly(&["0", "0", "1", "1", "2"]);
    let superseded = one(&["", "", "", "", "", "a1", "b2"]);
    let shards = mostly(&["8", "8", "8", "8", "8", "16"]);
    let (needed, lapse, silence) =
        (mostly(&["1", "2", "2", "2"]), mostly(&["1", "10", "10"]), mostly(&["0", "1", "2"]));
    prop_oneof![
        2 => rows("cluster/read.lua", vec![]),
        6 => rows("cluster/join.lua", vec![mostly(&SILOS), one(INFO), superseded, shards, mostly(FLOOR)]),
        8 => rows("cluster/beat.lua", vec![mostly(&SILOS), mostly(&["0", "1"])]),
        3 => rows("cluster/advance.lua", vec![mostly(&SILOS), status(), mostly(FLOOR)]),
        8 => rows(
            "cluster/suspect.lua",
            vec![mostly(&SILOS), mostly(&SILOS), evidence(), needed, mostly(FLOOR), lapse, silence]
        ),
        1 => of("cluster/restore.lua", &KEYS[3..8], restore()),
        2 => rows("cluster/prune.lua", vec![mostly(&SILOS), mostly(FLOOR)]),
    ]
    .boxed()
}

/// A call as the adapters make it, and seldom as nobody makes it.
fn script(call: Call) -> BoxedStrategy<Step> {
    let by = select(&[By::Hash, By::Text, By::Text][..]);
    let number = prop_oneof![40 => Just(None), 1 => select(&["0", "1", "9", "-1", "x", "01"][..]).prop_map(Some)];
    // So many arguments fewer, or more.
    let cut = prop_oneof![20 => Just(0_usize), 1 => 1..4_usize];
    let more = prop_oneof![30 => Just(Vec::new()), 1 => vec(one(&ODD), 1..3)];
    (call, by, number, cut, more)
        .prop_map(|((name, keys, mut args), by, number, cut, more)| {
            args.truncate(args.len().saturating_sub(cut));
            args.extend(more);
            let number = number.map_or_else(|| keys.len().to_string(), str::to_owned);
            Step::Script { name, by, number, keys, args }
        })
        .boxed()
}

/// What scripts call, and what the adapters send beside them; also on keys that hold something else.
fn plain() -> BoxedStrategy<Step> {
    let key = || one(&KEYS);
    let field = || one(&["f", "w", "v:s", "d:s", "a1", "b2", "player/alice", "b2:a1", "other"]);
    let value = || {
        prop_oneof![
            one(&["3", "2:aa", "0|1|{}", "3|1|{}", "a1|1|aa|3", "0|0|0|0", "text", "9223372036854775807"]),
            one(&ODD)
        ]
        .boxed()
    };
    let by = one(&["1", "-1", "x", "+1", "01", "9223372036854775807"]);
    let after = one(&[DAY, SOON, "0", "-1", "x", "9223372036854775807"]);
    let named = |name: &'static str, more: Vec<BoxedStrategy<Vec<u8>>>| {
        all([Just(name.as_bytes().to_vec()).boxed()].into_iter().chain(more))
    };
    let command = prop_oneof![
        1 => named("PING", vec![]),
        1 => named("GET", vec![key()]),
        4 => named("SET", vec![key(), value()]),
        2 => named("SET", vec![one(&COUNTERS), value()]),
        3 => named("DEL", vec![key()]),
        1 => named("HGET", vec![key(), field()]),
        4 => named("HSET", vec![key(), field(), value()]),
        1 => named("HSET", vec![key(), field(), value(), field(), value()]),
        2 => named("HDEL", vec![key(), field()]),
        1 => named("HDEL", vec![key(), field(), field()]),
        1 => named("HKEYS", vec![key()]),
        1 => named("HGETALL", vec![key()]),
        1 => named("HINCRBY", vec![key(), field(), by]),
        1 => named("PEXPIRE", vec![key(), after]),
        1 => named("PERSIST", vec![key()]),
        1 => named("PTTL", vec![key()]),
        1 => named("FLUSHALL", vec![]),
        3 => named("SCRIPT", vec![Just(b"FLUSH".to_vec()).boxed()]),
        1 => named("script", vec![one(&["load", "LOAD"]), one(&["return 1", "return {1, 2}"])]),
        1 => named("NOSUCH", vec![key(), value()]),
        1 => named("EVALSHA", vec![one(&["unknown", "", "e0e1f9fabfc9d4800c877a703b823ac0578ff8db"]), one(&["0", "1", "x"]), key()]),
        1 => named("EVAL", vec![one(RETURNS), one(&["0"]), value()]),
    ];
    let short = prop_oneof![15 => Just(false), 1 => Just(true)];
    (command, short)
        .prop_map(|(mut command, short)| {
            if short && command.len() > 1 {
                command.pop();
            }
            Step::Plain(command)
        })
        .boxed()
}

/// What a script's values become.
const RETURNS: &[&str] = &[
    "return",
    "return true",
    "return false",
    "return 3.99",
    "return -3.99",
    "return {1, 'two', {3}, nil, 4}",
    "return {ok = 'fine'}",
    "return {err = 'ODD what'}",
    "return redis.error_reply('ODD ' .. ARGV[1])",
    "return redis.call('GET', '{g}:version')",
    "return redis.call('SET', '{g}:version', 2^60)",
    "return redis.call('SET', '{g}:version', 0.1)",
    "return #ARGV[1] / 2",
    "local t = nil\n\nreturn t.x",
    "redis.call('HSET', '{g}:rows', 'a1', '0|1|{}') return redis.call('GET', '{g}:rows')",
];

fn mood() -> BoxedStrategy<Step> {
    select(&[Mood::Well, Mood::Well, Mood::Full, Mood::ReadOnly][..]).prop_map(Step::Mood).boxed()
}

/// Steps of one sequence: mostly of scripts that have something to do with each other.
pub(crate) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let directory = || of("cluster/directory.lua", &KEYS[8..], directory());
    let all = prop_oneof![storage(), membership(), directory()].boxed();
    let of = |call| vec(prop_oneof![60 => script(call), 6 => plain(), 1 => mood()], 1..60);
    prop_oneof![3 => of(storage()), 3 => of(membership()), 2 => of(directory()), 1 => of(all)]
}
