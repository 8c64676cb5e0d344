//! Short runs of the chaos program, one of which must fail.

use std::process::{Command, Output};

/// Runs it to its end, which its own limits bring. It ends with this thread, also when that is killed.
fn chaos(arguments: &[&str]) -> Output {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", env!("CARGO_BIN_EXE_chaos")]).args(arguments);
    command.output().expect("setpriv (util-linux) starts it")
}

fn printed(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn nothing_is_violated_while_processes_servers_and_connections_fail() {
    let output = chaos(&["--seed", "11", "--minutes", "0.4", "--round", "12"]);
    let printed = printed(&output);
    println!("{printed}");
    assert!(output.status.success(), "{printed}");
    assert!(!printed.contains("faults: 0"), "{printed}");
}

#[test]
fn acknowledged_writes_that_redis_forgets_are_found() {
    // In the second round everything is restarted before it is read.
    let output = chaos(&["--seed", "1", "--minutes", "0.1", "--round", "3", "--faults", "none", "--redis-forgets"]);
    let printed = printed(&output);
    assert_eq!(output.status.code(), Some(1), "{printed}");
    assert!(printed.contains("was acknowledged and is not there"), "{printed}");
}
