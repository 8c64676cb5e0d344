use std::process::{Command, Output};

fn arena(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_arena")).args(args).output().unwrap()
}

#[test]
fn a_storage_that_cannot_be_meant_is_a_wrong_argument() {
    for storage in ["redis://", "redis://127.0.0.1:port", "redis://127.0.0.1:6379/db", "embedded:", "disk"] {
        let run = arena(&["--storage", storage, "--json"]);
        let told = String::from_utf8(run.stderr).unwrap();
        assert_eq!(run.status.code(), Some(2), "{storage}: {told}");
        assert!(told.contains("'--storage <STORAGE>'") && told.contains("--help"), "{storage}: {told}");
        let form = if storage.starts_with("redis") { "redis://[user:password@]host" } else { "redis://HOST:PORT" };
        assert!(told.contains(form), "{storage}: {told}");
    }
}
