//! Every script that the adapters run.

use gristmill_redis::model::Command;

macro_rules! storage {
    ($file:literal) => {
        (
            concat!("storage/", $file),
            concat!(
                include_str!("../../../storage/src/redis/scripts/head.lua"),
                include_str!(concat!("../../../storage/src/redis/scripts/", $file))
            ),
        )
    };
}

macro_rules! membership {
    ($file:literal) => {
        (
            concat!("cluster/", $file),
            concat!(
                include_str!("../../../cluster/src/redis/scripts/head.lua"),
                include_str!(concat!("../../../cluster/src/redis/scripts/", $file))
            ),
        )
    };
}

/// The scripts' names, as `crate/file`, and their texts.
static SCRIPTS: [(&str, &str); 12] = [
    storage!("open.lua"),
    storage!("commit.lua"),
    storage!("begin_run.lua"),
    storage!("run.lua"),
    membership!("read.lua"),
    membership!("join.lua"),
    membership!("beat.lua"),
    membership!("advance.lua"),
    membership!("suspect.lua"),
    membership!("restore.lua"),
    membership!("prune.lua"),
    ("cluster/directory.lua", include_str!("../../../cluster/src/redis/scripts/directory.lua")),
];

/// How a script is named to the server.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum By {
    Hash,
    Text,
}

/// The text of the script with this name.
pub(crate) fn text(name: &str) -> &'static str {
    SCRIPTS.iter().find(|(of, _)| *of == name).map(|(_, text)| *text).unwrap()
}

/// A call. `number` is how many of the keys it says that there are.
pub(crate) fn call(name: &str, by: By, number: &str, keys: &[impl AsRef<[u8]>], args: &[impl AsRef<[u8]>]) -> Command {
    let script = match by {
        By::Hash => ["EVALSHA", redis::Script::new(text(name)).get_hash()].map(|word| word.as_bytes().to_vec()),
        By::Text => ["EVAL", text(name)].map(|word| word.as_bytes().to_vec()),
    };
    let words = keys.iter().map(AsRef::as_ref).chain(args.iter().map(AsRef::as_ref)).map(<[u8]>::to_vec);
    script.into_iter().chain([number.as_bytes().to_vec()]).chain(words).collect()
}

#[test]
fn no_script_is_left_out() {
    let mut there = Vec::new();
    for adapter in ["storage", "cluster"] {
        let folder = format!("{}/../{adapter}/src/redis/scripts", env!("CARGO_MANIFEST_DIR"));
        let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
        there.extend(files.filter(|file| file != "head.lua").map(|file| format!("{adapter}/{file}")));
    }
    there.sort_unstable();
    let mut here: Vec<_> = SCRIPTS.iter().map(|(name, _)| (*name).to_owned()).collect();
    here.sort_unstable();
    assert_eq!(here, there);
}
