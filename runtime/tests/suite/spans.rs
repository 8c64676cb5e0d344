//! A turn has a span of its own; of its caller's surroundings nothing but the request context comes along.

use std::cell::RefCell;
use std::sync::Once;

use gristmill::grains::TRACEPARENT;
use gristmill::prelude::*;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Instrument, Metadata, Subscriber};

use crate::support::soon;

thread_local! {
    /// What happens on this thread, once it is asked for.
    static RECORDED: RefCell<Option<Recorded>> = const { RefCell::new(None) };
}

#[derive(Default)]
struct Recorded {
    /// Name and fields, by id; ids begin at 1.
    spans: Vec<String>,
    roots: Vec<bool>,
    entered: Vec<u64>,
    /// Each with the innermost span.
    events: Vec<String>,
}

impl Recorded {
    /// From now on. One subscriber for the process: with one for each thread, a span that another test's thread meets
    /// first is off for all.
    fn start() {
        static RECORDER: Once = Once::new();
        RECORDER.call_once(|| tracing::subscriber::set_global_default(Recorder).expect("there is no other"));
        RECORDED.set(Some(Self::default()));
    }

    fn end() -> Self {
        RECORDED.take().expect("it was started")
    }
}

/// Remembers what happens on the threads that asked for it.
struct Recorder;

fn with<T: Default>(record: impl FnOnce(&mut Recorded) -> T) -> T {
    RECORDED.with_borrow_mut(|recorded| recorded.as_mut().map(record)).unwrap_or_default()
}

struct Text<'a>(&'a mut String);

impl Visit for Text<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0.push_str(&format!(" {field}={value:?}"));
    }
}

impl Subscriber for Recorder {
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        Interest::sometimes()
    }

    fn enabled(&self, _: &Metadata<'_>) -> bool {
        RECORDED.with_borrow(Option::is_some)
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut text = span.metadata().name().to_owned();
        span.record(&mut Text(&mut text));
        let id: u64 = with(|recorded| {
            recorded.spans.push(text);
            recorded.roots.push(span.is_root());
            recorded.spans.len() as u64
        });
        Id::from_u64(id.max(1))
    }

    fn record(&self, span: &Id, values: &Record<'_>) {
        with(|recorded| values.record(&mut Text(&mut recorded.spans[span.into_u64() as usize - 1])));
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut text = String::new();
        event.record(&mut Text(&mut text));
        with(|recorded| {
            let inside = recorded.entered.last().map_or("nowhere", |id| &recorded.spans[*id as usize - 1]);
            recorded.events.push(format!("{} in {inside}", text.trim()));
        });
    }

    fn enter(&self, span: &Id) {
        with(|recorded| recorded.entered.push(span.into_u64()));
    }

    fn exit(&self, span: &Id) {
        with(|recorded| recorded.entered.retain(|id| *id != span.into_u64()));
    }
}

tokio::task_local! {
    static WHO: &'static str;
}

#[grain_interface]
trait Traced {
    /// Traces before and after a wait, and calls the next in between.
    async fn hop(&mut self, next: Option<String>);
    /// The task-local it sees, before and after a wait.
    async fn who(&self) -> [Option<String>; 2];
}

#[derive(Grain)]
#[grain(implements(Traced))]
struct TracedGrain {
    ctx: GrainContext<Self>,
    #[state]
    hops: Persistent<u64>,
}

impl Traced for TracedGrain {
    async fn hop(&mut self, next: Option<String>) {
        tracing::info!(at = self.ctx.key(), "before");
        *self.hops += 1;
        if let Some(next) = next {
            self.ctx.grain::<TracedRef>(next).hop(None).await.unwrap();
        }
        tokio::task::yield_now().await;
        tracing::info!(at = self.ctx.key(), "after");
    }

    async fn who(&self) -> [Option<String>; 2] {
        let who = || WHO.try_with(|who| (*who).to_owned()).ok();
        let before = who();
        tokio::task::yield_now().await;
        [before, who()]
    }
}

#[tokio::test(start_paused = true)]
async fn each_turn_has_a_root_span_of_its_own_that_names_its_call_and_trace() {
    Recorded::start();
    let silo = Silo::builder().grain::<TracedGrain>().start().await.unwrap();
    let traceparent = "00-0000000000000000000000000000000a-000000000000000b-01";
    let first: TracedRef = silo.grain("a");
    let call = async { soon(first.hop(Some("b".into())).with(TRACEPARENT, traceparent)).await.unwrap() };
    call.instrument(tracing::info_span!("the caller's")).await;
    let recorded = Recorded::end();
    let turns: Vec<_> = ["a", "b"]
        .iter()
        .map(|key| {
            let is_its = |span: &&String| span.starts_with("turn") && span.contains(&format!("grain=traced/{key}"));
            let hops: Vec<_> = recorded.spans.iter().filter(is_its).filter(|span| span.contains("hop")).collect();
            assert_eq!(hops.len(), 1, "one turn, one span: {:?}", recorded.spans);
            assert!(hops[0].contains(traceparent), "the nested call is of the same trace: {}", hops[0]);
            hops[0].clone()
        })
        .collect();
    for (key, turn) in ["a", "b"].iter().zip(&turns) {
        let its: Vec<_> = recorded.events.iter().filter(|event| event.contains(&format!("at=\"{key}\""))).collect();
        assert_eq!(its.len(), 2, "{:?}", recorded.events);
        assert!(its.iter().all(|event| event.ends_with(turn.as_str())), "before and after the wait: {its:?}");
    }
    for (span, root) in recorded.spans.iter().zip(&recorded.roots) {
        assert!(*root || !span.starts_with("turn"), "whose poll a turn runs in is chance: {span}");
    }
    for phase in ["open", "commit"] {
        let found = recorded.spans.iter().any(|span| span.starts_with(phase) && span.contains("default"));
        assert!(found, "{phase} is in none of {:?}", recorded.spans);
    }
}

#[tokio::test(start_paused = true)]
async fn task_locals_of_the_caller_are_none_of_the_turns() {
    let silo = Silo::builder().grain::<TracedGrain>().start().await.unwrap();
    let seen = WHO.scope("caller", async { silo.grain::<TracedRef>("a").who().await.unwrap() }).await;
    assert_eq!(seen[1], None, "after a wait the turn is on a task of its own");
    let builder = Silo::builder().grain_with::<TracedGrain>(|setup| setup.options.inline = false);
    let silo = builder.start().await.unwrap();
    let seen = WHO.scope("caller", async { soon(silo.grain::<TracedRef>("a").who()).await.unwrap() }).await;
    assert_eq!(seen, [None, None], "never on the caller's task");
}
