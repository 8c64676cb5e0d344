//! A silo to be killed: `worker <run> embedded <file>` or `worker <run> redis <url>`.
//!
//! First it tells what is stored, a line `stored <ledger> <count> <entry,entry,..>` for each ledger, then `ready`. Then it
//! writes without end, and prints a line for each *acknowledged* write: `ack <ledger> <entry>`, `count <ledger> <n>`.
//! Writer w of run r appends `r.w.0`, `r.w.1`, .. one after the other. It ends when its standard input does.

use std::error::Error;
use std::io::{Read, Write};

use gristmill::prelude::*;
use gristmill::storage::{EmbeddedStorage, RedisStorage};
use gristmill_tests::{LEDGERS, LedgerGrain, LedgerRef, WRITERS};

/// One line, all of it or (when killed) a part without its end.
fn say(line: String) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(format!("{line}\n").as_bytes()); // nobody reads it: nobody is told
    let _ = out.flush();
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(3);
    });
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [run, kind, place] = &arguments[..] else { return Err("usage: worker <run> embedded|redis <place>".into()) };
    let builder = match kind.as_str() {
        "embedded" => Silo::builder().storage("default", EmbeddedStorage::open(place).await?),
        _ => Silo::builder().storage("default", RedisStorage::connect(place.clone()).await?),
    };
    let silo = builder.grain::<LedgerGrain>().start().await?;
    let ledger = |number: usize| silo.grain::<LedgerRef>(format!("l{number}"));
    for number in 0..LEDGERS {
        let (entries, count) = ledger(number).all().await?;
        say(format!("stored {number} {count} {}", entries.join(",")));
    }
    say("ready".to_owned());
    let mut writers = tokio::task::JoinSet::new();
    for number in 0..LEDGERS {
        for writer in 0..WRITERS {
            let (ledger, run) = (ledger(number), run.clone());
            writers.spawn(async move {
                for n in 0.. {
                    let entry = format!("{run}.{writer}.{n}");
                    match ledger.append(entry.clone()).await {
                        Ok(_) => say(format!("ack {number} {entry}")),
                        Err(error) => return say(format!("failed {error}")),
                    }
                }
            });
        }
        let ledger = ledger(number);
        writers.spawn(async move {
            loop {
                match ledger.count().await {
                    Ok(count) => say(format!("count {number} {count}")),
                    Err(error) => return say(format!("failed {error}")),
                }
            }
        });
    }
    while writers.join_next().await.is_some() {}
    Err("a write failed".into())
}
