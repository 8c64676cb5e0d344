//! What travels with a call, and the code around calls.

use std::sync::Arc;

use gristmill::grains::filter::{CallFilter, FilteredCall};
use gristmill::grains::{Fault, TRACEPARENT};
use gristmill::prelude::*;

use crate::support::{Probe, assert_fault, ms, others_run, soon, spawn};

#[grain_interface]
trait Relay {
    /// What it sees under the key, before and after a wait; then what the next ones see.
    async fn seen(&self, key: String, on: Vec<String>) -> Vec<Option<String>>;
    /// As `seen`, after the next ones were called with another value.
    async fn seen_after(&self, key: String, next: String) -> Option<String>;
    async fn trace(&self) -> Option<String>;
    async fn add(&mut self, n: u64) -> u64;
    async fn flaky(&mut self, fails: u64) -> Result<u64, String>;
}

#[derive(Grain)]
#[grain(implements(Relay))]
struct RelayGrain {
    ctx: GrainContext<Self>,
    #[service]
    probe: Arc<Probe>,
    sum: u64,
}

impl Relay for RelayGrain {
    async fn seen(&self, key: String, mut on: Vec<String>) -> Vec<Option<String>> {
        let get = || self.ctx.request().get(&key).map(str::to_owned);
        let before = get();
        tokio::task::yield_now().await;
        assert_eq!(get(), before);
        let mut seen = vec![before];
        if let Some(next) = on.pop() {
            seen.extend(self.ctx.grain::<RelayRef>(next).seen(key.clone(), on).await.unwrap());
        }
        seen
    }

    async fn seen_after(&self, key: String, next: String) -> Option<String> {
        let next = self.ctx.grain::<RelayRef>(next).seen(key.clone(), vec![]).with(key.clone(), "other").await.unwrap();
        assert_eq!(next, [Some("other".to_owned())]);
        self.ctx.request().get(&key).map(str::to_owned)
    }

    async fn trace(&self) -> Option<String> {
        self.ctx.request().traceparent().map(|(trace, span, _)| format!("{trace}/{span}"))
    }

    async fn add(&mut self, n: u64) -> u64 {
        self.probe.note(format!("add {n}"));
        self.sum += n;
        self.sum
    }

    async fn flaky(&mut self, fails: u64) -> Result<u64, String> {
        self.sum += 1;
        if self.sum <= fails { Err(format!("failure {}", self.sum)) } else { Ok(self.sum) }
    }
}

/// A filter that notes what passes it.
struct Noting(&'static str, Arc<Probe>);

#[async_trait::async_trait]
impl CallFilter for Noting {
    async fn filter(&self, call: &mut FilteredCall<'_>) -> Result<(), Fault> {
        self.1.note(format!("{} {}.{}", self.0, call.grain(), call.method()));
        let result = call.proceed().await;
        self.1.note(format!("{} back", self.0));
        result
    }
}

/// A filter made of a function.
struct Filter<F>(F);

#[async_trait::async_trait]
impl<F> CallFilter for Filter<F>
where
    F: Fn(&mut FilteredCall<'_>) -> Result<bool, Fault> + Send + Sync + 'static,
{
    async fn filter(&self, call: &mut FilteredCall<'_>) -> Result<(), Fault> {
        if (self.0)(call)? { call.proceed().await } else { Ok(()) }
    }
}

/// A filter that tries three times.
struct Retry;

#[async_trait::async_trait]
impl CallFilter for Retry {
    async fn filter(&self, call: &mut FilteredCall<'_>) -> Result<(), Fault> {
        for _ in 0..2 {
            call.proceed().await?;
            let failed = call.outcome::<relay_methods::Flaky>().is_some_and(|outcome| outcome.is_err());
            if !failed {
                return Ok(());
            }
        }
        call.proceed().await
    }

    fn retries(&self) -> bool {
        true
    }
}

type Setup = fn(gristmill::SiloBuilder, &Arc<Probe>) -> gristmill::SiloBuilder;

async fn silo(setup: Setup) -> (Silo, Arc<Probe>) {
    let probe = Arc::new(Probe::default());
    let builder = setup(Silo::builder().service::<Probe>(probe.clone()), &probe);
    (builder.start().await.unwrap(), probe)
}

async fn plain() -> Silo {
    silo(|silo, _| silo.grain::<RelayGrain>()).await.0
}

#[tokio::test(start_paused = true)]
async fn values_flow_down_and_not_back() {
    let silo = plain().await;
    let relay: RelayRef = silo.grain("a");
    let on = || vec!["c".to_owned(), "b".to_owned()];
    let red = Some("red".to_owned());
    let seen = soon(relay.seen("user".into(), on()).with("user", "red")).await.unwrap();
    assert_eq!(seen, [red.clone(), red.clone(), red.clone()]);
    assert_eq!(relay.seen("user".into(), on()).await.unwrap(), [None, None, None], "one call's are not another's");
    assert_eq!(relay.seen_after("user".into(), "b".into()).with("user", "red").await.unwrap(), red);
}

#[tokio::test(start_paused = true)]
async fn a_trace_context_travels_and_a_malformed_one_counts_as_none() {
    let silo = plain().await;
    let relay: RelayRef = silo.grain("a");
    let good = "00-0000000000000000000000000000000a-000000000000000b-01";
    assert_eq!(relay.trace().with(TRACEPARENT, good).await.unwrap(), Some("10/11".into()));
    assert_eq!(relay.trace().with(TRACEPARENT, "00-zz").await.unwrap(), None);
    let on = vec!["c".to_owned(), "b".to_owned()];
    let seen = soon(relay.seen(TRACEPARENT.into(), on).with(TRACEPARENT, good)).await.unwrap();
    assert_eq!(seen, vec![Some(good.to_owned()); 3], "nested calls are of the same trace");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn interleaved_turns_see_each_its_own_values() {
    let silo = plain().await;
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..100 {
        let relay: RelayRef = silo.grain("a");
        callers.spawn(async move {
            let (own, on) = (caller.to_string(), vec!["c".to_owned(), "b".to_owned()]);
            for _ in 0..20 {
                let seen = relay.seen("user".into(), on.clone()).with("user", own.clone()).await.unwrap();
                assert_eq!(seen, vec![Some(own.clone()); 3]);
            }
        });
    }
    soon(callers.join_all()).await;
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_a_filter_fails_the_call_and_nothing_else() {
    let setup: Setup = |silo, _| {
        let filter = Filter(|call: &mut FilteredCall<'_>| {
            let n = call.arguments::<relay_methods::Add>().map_or(0, |add| add.n);
            if n == 1 { panic!("no filter for {n}") } else { Ok(true) }
        });
        silo.grain::<RelayGrain>().incoming(filter)
    };
    let (silo, probe) = silo(setup).await;
    let relay: RelayRef = silo.grain("a");
    let fault = assert_fault!(relay.add(1).await, Cause::Panicked { .. }, true);
    assert!(fault.to_string().contains("relay/a.add") && fault.to_string().contains("no filter"), "{fault}");
    assert_eq!(soon(relay.add(2)).await.unwrap(), 2);
    assert_eq!(probe.lines(), ["add 2"]);
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_an_outgoing_filter_is_its_callers_and_costs_a_send_alone() {
    let setup: Setup = |silo, _| {
        let filter = Filter(|call: &mut FilteredCall<'_>| {
            let n = call.arguments::<relay_methods::Add>().map_or(0, |add| add.n);
            if n == 1 { panic!("no filter for {n}") } else { Ok(true) }
        });
        silo.grain::<RelayGrain>().outgoing(filter)
    };
    let (silo, probe) = silo(setup).await;
    let relay: RelayRef = silo.grain("a");
    relay.add(1).send();
    others_run().await;
    assert_eq!(silo.metrics().lost_sends, 1);
    let call = relay.clone();
    assert!(spawn(async move { call.add(1).await }).await.unwrap_err().is_panic());
    assert_eq!(soon(relay.add(2)).await.unwrap(), 2);
    assert_eq!(probe.lines(), ["add 2"]);
}

#[tokio::test(start_paused = true)]
async fn filters_run_outgoing_then_incoming_the_silos_before_the_types() {
    let (silo, probe) = silo(|silo, probe| {
        let note = |name| Noting(name, probe.clone());
        let of_type = note("type");
        silo.outgoing(note("out 1"))
            .outgoing(note("out 2"))
            .incoming(note("in 1"))
            .incoming(note("in 2"))
            .grain_with::<RelayGrain>(|setup| {
                setup.incoming(of_type);
            })
    })
    .await;
    assert_eq!(soon(silo.grain::<RelayRef>("a").add(1)).await.unwrap(), 1);
    let call = |name: &str| format!("{name} relay/a.add");
    let mut expected: Vec<_> = ["out 1", "out 2", "in 1", "in 2", "type"].map(call).into();
    expected.push("add 1".into());
    expected.extend(["type", "in 2", "in 1", "out 2", "out 1"].map(|name| format!("{name} back")));
    assert_eq!(probe.lines(), expected);
}

#[tokio::test(start_paused = true)]
async fn a_filter_may_refuse_answer_or_change_a_call() {
    let (silo, probe) = silo(|silo, _| {
        silo.grain::<RelayGrain>().incoming(Filter(|call: &mut FilteredCall<'_>| {
            let n = call.arguments::<relay_methods::Add>().map_or(0, |add| add.n);
            match n {
                1 => Err(Fault::not_executed(Cause::Refused { reason: "not one".into() })),
                2 => call.answer::<relay_methods::Add>(Ok(22)).map(|()| false),
                3 => call.answer::<relay_methods::Trace>(Ok(None)).map(|()| false),
                4 => Ok(false),
                5 => {
                    call.arguments::<relay_methods::Add>().unwrap().n = 50;
                    Ok(true)
                }
                _ => Ok(true),
            }
        }))
    })
    .await;
    let relay: RelayRef = silo.grain("a");
    let fault = assert_fault!(relay.add(1).await, Cause::Refused { .. }, false);
    assert!(fault.to_string().contains("relay/a.add") && fault.to_string().contains("not one"), "{fault}");
    assert_eq!(relay.add(2).await.unwrap(), 22);
    let wrong = assert_fault!(relay.add(3).await, Cause::Refused { .. }, false);
    assert!(wrong.to_string().contains("another type"), "{wrong}");
    let neither = assert_fault!(relay.add(4).await, Cause::Refused { .. }, false);
    assert!(neither.to_string().contains("neither"), "{neither}");
    assert_eq!(relay.add(5).await.unwrap(), 50);
    assert_eq!(probe.lines(), ["add 50"], "the others did not run");
}

#[tokio::test(start_paused = true)]
async fn a_filter_may_try_again_on_either_side() {
    let setups: [Setup; 2] =
        [|silo, _| silo.grain::<RelayGrain>().outgoing(Retry), |silo, _| silo.grain::<RelayGrain>().incoming(Retry)];
    for setup in setups {
        let (silo, _) = silo(setup).await;
        assert_eq!(soon(silo.grain::<RelayRef>("a").flaky(2)).await.unwrap(), 3);
        let error = soon(silo.grain::<RelayRef>("b").flaky(9)).await.unwrap_err();
        assert!(matches!(error, CallError::App(ref text) if text == "failure 3"), "{error:?}");
    }
}

/// Gives each attempt a time of its own, and tries once more.
struct Impatient;

#[async_trait::async_trait]
impl CallFilter for Impatient {
    async fn filter(&self, call: &mut FilteredCall<'_>) -> Result<(), Fault> {
        for _ in 0..2 {
            if let Ok(result) = tokio::time::timeout(ms(100), call.proceed()).await {
                return result;
            }
        }
        Err(Fault::maybe_executed_with(Cause::Timeout))
    }

    fn retries(&self) -> bool {
        true
    }
}

#[grain_interface]
trait Halves {
    async fn both(&mut self, other: Option<String>) -> Result<u64, CallError>;
    async fn get(&self) -> (u64, u64);
}

#[derive(Grain)]
#[grain(implements(Halves))]
struct HalvesGrain {
    ctx: GrainContext<Self>,
    #[state]
    a: Persistent<u64>,
    #[state]
    b: Persistent<u64>,
}

impl Halves for HalvesGrain {
    async fn both(&mut self, other: Option<String>) -> Result<u64, CallError> {
        *self.a += 1;
        match other {
            Some(other) => {
                let called = self.ctx.grain::<HalvesRef>(other).both(None).await;
                assert!(called.is_err(), "it takes too long");
            }
            None if *self.a == 1 => tokio::time::sleep(ms(500)).await,
            None => {}
        }
        *self.b += 1;
        Ok(*self.b)
    }

    async fn get(&self) -> (u64, u64) {
        (*self.a, *self.b)
    }
}

#[tokio::test(start_paused = true)]
async fn an_outgoing_filter_may_give_a_call_up_without_harm_to_its_caller() {
    let silo = Silo::builder().outgoing(Impatient).grain::<HalvesGrain>().start().await.unwrap();
    let caller: HalvesRef = silo.grain("caller");
    assert_eq!(
        spawn(async move { caller.both(Some("slow".into())).timeout(ms(5_000)).await })
            .await
            .unwrap()
            .unwrap_err()
            .cause(),
        Some(&Cause::Timeout)
    );
    tokio::time::sleep(ms(2_000)).await;
    assert_eq!(silo.metrics().grain("halves").unwrap().lost, 0);
    assert_eq!(soon(silo.grain::<HalvesRef>("slow").get()).await.unwrap(), (1, 1), "the second one never began");
}

#[tokio::test(start_paused = true)]
async fn an_incoming_filter_that_cuts_a_turn_aborts_it_also_when_it_tries_again() {
    let silo = Silo::builder().incoming(Impatient).grain::<HalvesGrain>().start().await.unwrap();
    let halves: HalvesRef = silo.grain("h");
    assert!(soon(halves.both(None)).await.is_err());
    let (a, b) = soon(halves.get()).await.unwrap();
    assert_eq!((a, b), (0, 0), "half a turn is not kept");
}

#[tokio::test(start_paused = true)]
async fn proceeding_twice_without_saying_so_is_refused() {
    struct Twice;
    #[async_trait::async_trait]
    impl CallFilter for Twice {
        async fn filter(&self, call: &mut FilteredCall<'_>) -> Result<(), Fault> {
            call.proceed().await?;
            call.proceed().await
        }
    }
    let (silo, probe) = silo(|silo, _| silo.grain::<RelayGrain>().incoming(Twice)).await;
    assert_fault!(silo.grain::<RelayRef>("a").add(1).await, Cause::Refused { .. }, true);
    assert_eq!(probe.count("add 1"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_wire_call_reaches_the_method_or_says_why_not() {
    use gristmill::grains::codec::{decode_wire, encode_wire};
    use gristmill::grains::{Method, Never};
    let silo = plain().await;
    let arguments = encode_wire(&relay_methods::Add { n: 7 }).unwrap();
    let id = relay_methods::Add::WIRE_ID;
    let answer = silo.invoke("relay", "a", id, &arguments).await.unwrap();
    assert_eq!(decode_wire::<Result<u64, Never>>(&answer).unwrap().unwrap(), 7);
    let fails = encode_wire(&relay_methods::Flaky { fails: 99 }).unwrap();
    let error = silo.invoke("relay", "a", relay_methods::Flaky::WIRE_ID, &fails).await.unwrap();
    assert_eq!(decode_wire::<Result<u64, String>>(&error).unwrap(), Err("failure 8".to_owned()));
    let refused = async |interface: &str, key: &str, method: u32, arguments: &[u8]| {
        let fault = silo.invoke(interface, key, method, arguments).await.unwrap_err();
        assert!(!fault.maybe_executed(), "{fault}");
        assert!(fault.to_string().starts_with(&format!("{interface}/{key}")), "it names the grain: {fault}");
        fault.cause().clone()
    };
    assert_eq!(refused("nobody", "a", id, &arguments).await, Cause::UnknownGrain);
    assert_eq!(refused("relay", "a", 1, &arguments).await, Cause::UnknownMethod { id: 1 });
    assert!(matches!(refused("relay", "a", id, b"").await, Cause::Codec { .. }));
    assert!(matches!(refused("relay", " ", id, &arguments).await, Cause::InvalidKey { .. }));
    assert_eq!(silo.grain::<RelayRef>("a").add(0).await.unwrap(), 8, "one call of each ran");
}
