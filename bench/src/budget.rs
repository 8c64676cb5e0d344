//! Instructions a call takes, counted by callgrind: the same on every machine and under every load, so that CI can hold
//! them to a budget. One thread, the system's allocator, tracing compiled in and off.

use std::process::{Command, ExitCode};

use gristmill::prelude::*;

use crate::contenders::gristmill::{WorkGrain, WorkRef};
use crate::nowhere::Nowhere;
use crate::report::{Figure, Outcome, Report};

/// What is counted, and how many instructions one may take: 5 % more than when it was last looked at.
const BUDGETS: [(&str, u64); 6] =
    [("add", 1_480), ("get", 1_460), ("wait", 4_530), ("chain", 7_900), ("activate", 5_400), ("durable", 14_200)];

/// How often, in the shorter of two runs; their difference is what counts, so starting up does not.
const TIMES: u64 = 2_000;

#[grain_interface]
trait Counter {
    async fn add(&mut self) -> u64;
}

#[derive(Grain)]
#[grain(implements(Counter))]
struct CounterGrain {
    #[state(codec = "bincode")]
    count: Persistent<u64>,
}

impl Counter for CounterGrain {
    async fn add(&mut self) -> u64 {
        *self.count += 1;
        *self.count
    }
}

/// Does one of the things so many times: what callgrind looks at.
pub(crate) fn work(name: &str, times: u64) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts");
    runtime.block_on(async {
        let builder = Silo::builder().seed(1).storage("default", Nowhere);
        let silo = builder.grain::<WorkGrain>().grain::<CounterGrain>().start().await.expect("the silo starts");
        let task = tokio::task::spawn(repeat(silo, name.to_owned(), times));
        task.await.expect("it ends");
    });
}

async fn repeat(silo: Silo, name: String, times: u64) {
    let grain: WorkRef = silo.grain("one");
    let counter: CounterRef = silo.grain("one");
    if name == "chain" {
        let mut next = None;
        for link in 0..4 {
            let grain: WorkRef = silo.grain(format!("link-{link}"));
            grain.link(next).await.expect("it answers");
            next = Some(grain);
        }
        grain.link(next).await.expect("it answers");
    }
    for n in 0..times {
        let answer = match name.as_str() {
            "add" => grain.add(1).await,
            "get" => grain.get().await,
            "wait" => grain.wait().await,
            "chain" => grain.chain().await,
            "activate" => silo.grain::<WorkRef>(format!("grain-{n:010}")).get().await,
            "durable" => counter.add().await,
            other => panic!("what is {other:?}?"),
        };
        std::hint::black_box(answer.expect("it answers"));
    }
    std::process::exit(0); // taking the silo apart is not what is counted
}

/// Instructions of one run, as callgrind counts them.
fn count(name: &str, times: u64) -> Result<u64, String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(own);
    valgrind.args(["work", name, &times.to_string()]);
    let output = valgrind.output().map_err(|error| format!("valgrind does not start: {error}; install it"))?;
    let text = String::from_utf8_lossy(&output.stderr);
    let collected = text.lines().find_map(|line| line.split("Collected : ").nth(1));
    let collected = collected.and_then(|number| number.trim().parse().ok()).filter(|_| output.status.success());
    collected.ok_or_else(|| format!("valgrind says: {text}"))
}

pub(crate) fn run(report: &Report) -> ExitCode {
    let mut over = Vec::new();
    for (name, budget) in BUDGETS {
        let counted = count(name, TIMES).and_then(|short| Ok(count(name, 2 * TIMES)?.saturating_sub(short) / TIMES));
        let each = match counted {
            Ok(each) => each,
            Err(wrong) => {
                eprintln!("{wrong}");
                return ExitCode::FAILURE;
            }
        };
        report.outcome(&Outcome {
            scenario: format!("budget: {name}"),
            unit: "instructions",
            figures: vec![Figure { name: "gristmill", value: each as f64, cpu_ns: None }],
            extra: vec![("budget".to_owned(), budget as f64)],
        });
        if each > budget {
            over.push(format!("{name} takes {each} instructions, its budget is {budget}"));
        }
    }
    for line in &over {
        eprintln!("{line}");
    }
    if over.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
