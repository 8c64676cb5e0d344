//! Calls within one silo, beside actors that are called by a handle.

use tokio::runtime::Runtime;

use crate::args::Args;
use crate::contenders::Contender;
use crate::contenders::channel::Channel;
use crate::contenders::gristmill::Gristmill;
use crate::contenders::kameo::Kameo;
use crate::contenders::ractor::Ractor;
use crate::machine::WORKERS;
use crate::report::{Figure, Outcome, Report};
use crate::rounds::{self, Run};

/// What is called.
#[derive(Clone, Copy)]
enum Call {
    Add,
    Get,
    Wait,
    Chain,
}

struct Scenario {
    name: &'static str,
    callers: usize,
    actors: usize,
    call: Call,
    /// Each call goes to any of the actors; otherwise caller n calls actor n.
    random: bool,
}

const CHAIN: usize = 5;

const SCENARIOS: [Scenario; 9] = [
    Scenario { name: "one caller, one grain", callers: 1, actors: 1, call: Call::Add, random: false },
    Scenario { name: "100 callers, one grain", callers: 100, actors: 1, call: Call::Add, random: false },
    Scenario { name: "1,000 callers, 1,000 grains", callers: 1_000, actors: 1_000, call: Call::Add, random: false },
    Scenario { name: "random over 100,000 grains", callers: 64, actors: 100_000, call: Call::Add, random: true },
    Scenario { name: "reads by 100 callers", callers: 100, actors: 1, call: Call::Get, random: false },
    Scenario { name: "awaits once, one caller", callers: 1, actors: 1, call: Call::Wait, random: false },
    Scenario { name: "awaits once, 1,000 on 1,000", callers: 1_000, actors: 1_000, call: Call::Wait, random: false },
    Scenario { name: "chain of 5, one caller", callers: 1, actors: CHAIN, call: Call::Chain, random: false },
    Scenario { name: "chain of 5, two callers", callers: 2, actors: 2 * CHAIN, call: Call::Chain, random: false },
];

struct Stage<C: Contender> {
    runtime: Runtime,
    scenario: &'static Scenario,
    handles: std::sync::Arc<[C::Handle]>,
    /// Keeps what the handles need alive.
    _contender: C,
}

impl<C: Contender> Stage<C> {
    fn boxed(scenario: &'static Scenario) -> Box<dyn Run> {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(WORKERS).enable_all().build().expect("a runtime starts");
        let (contender, handles) = runtime.block_on(async {
            let contender = C::start().await;
            let mut handles = Vec::new();
            let mut next = None;
            for number in 0..scenario.actors {
                let chained = matches!(scenario.call, Call::Chain) && number % CHAIN != 0;
                let handle = contender.actor(&format!("grain-{number:010}"), next.take().filter(|_| chained)).await;
                next = Some(handle.clone());
                handles.push(handle);
            }
            if matches!(scenario.call, Call::Chain) {
                // The callers call where the chains begin.
                handles = handles.into_iter().skip(CHAIN - 1).step_by(CHAIN).collect();
            }
            (contender, handles)
        });
        Box::new(Self { runtime, scenario, handles: handles.into(), _contender: contender })
    }
}

impl<C: Contender> Run for Stage<C> {
    fn name(&self) -> &'static str {
        C::NAME
    }

    fn run(&mut self, calls: u64) -> u64 {
        let Scenario { callers, call, random, .. } = *self.scenario;
        let each = calls.div_ceil(callers as u64);
        self.runtime.block_on(async {
            let tasks: Vec<_> = (0..callers)
                .map(|caller| {
                    let handles = self.handles.clone();
                    tokio::task::spawn(async move {
                        let mut rng = fastrand::Rng::with_seed(caller as u64);
                        let own = &handles[caller % handles.len()];
                        for _ in 0..each {
                            let actor = if random { &handles[rng.usize(..handles.len())] } else { own };
                            std::hint::black_box(match call {
                                Call::Add => C::add(actor, 1).await,
                                Call::Get => C::get(actor).await,
                                Call::Wait => C::wait(actor).await,
                                Call::Chain => C::chain(actor).await,
                            });
                        }
                    })
                })
                .collect();
            for task in tasks {
                task.await.expect("a caller ends");
            }
        });
        each * callers as u64
    }
}

pub(crate) fn run(args: &Args, report: &Report) {
    for scenario in SCENARIOS.iter().filter(|scenario| args.wants(scenario.name)) {
        let mut contenders = vec![Stage::<Gristmill>::boxed(scenario)];
        if !args.alone {
            contenders.push(Stage::<Ractor>::boxed(scenario));
            contenders.push(Stage::<Kameo>::boxed(scenario));
            contenders.push(Stage::<Channel>::boxed(scenario));
        }
        let measured = rounds::measure(args, &mut contenders);
        let figures = measured.into_iter().map(|measured| Figure {
            name: measured.name,
            value: measured.per_second,
            cpu_ns: Some(measured.cpu_ns),
        });
        let (scenario, figures) = (format!("local: {}", scenario.name), figures.collect());
        report.outcome(&Outcome { scenario, unit: "calls/s", figures, extra: Vec::new() });
    }
}
