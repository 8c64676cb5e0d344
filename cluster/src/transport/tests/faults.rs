//! Peers that die, hang, stop or misbehave.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::support::{Event, Node, correlation, correlations, incarnation, request, silo};
use crate::transport::auth::OsEntropy;
use crate::transport::handshake::{Local, dial};
use crate::transport::wire::Message;
use crate::transport::wire::frame::{FrameEncoder, HEADER};
use crate::transport::wire::hello::{Identity, Refusal, Role};
use crate::transport::{
    Evidence, HandshakeError, Link, LinkError, MemoryNet, Net, Network, NetworkError, PROTOCOL, PeerAddress, Receiver,
    SendErrorKind, Stream,
};

async fn pair(net: &MemoryNet) -> (Node, Node) {
    let a = Node::start(silo(1, "a:1"), net.host("a")).await.unwrap();
    (a, Node::start(silo(2, "b:1"), net.host("b")).await.unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_refused_connection_gives_everything_back_as_evidence() {
    let net = MemoryNet::new();
    let (mut a, b) = pair(&net).await;
    net.refuse("b:1", true);
    let link = a.network.link(&b.peer()).unwrap();
    link.try_send(request(1, "x", 1)).unwrap();
    link.try_send(request(2, "x", 1)).unwrap();
    let (why, unsent) = a.closed().await;
    assert_eq!((why.evidence(), correlations(&unsent)), (Evidence::Refused, vec![1, 2]));
}

#[tokio::test(start_paused = true)]
async fn an_unreachable_host_is_silent() {
    let net = MemoryNet::new();
    let (mut a, b) = pair(&net).await;
    net.partition_one_way("b", "a");
    a.network.link(&b.peer()).unwrap().try_send(request(1, "x", 1)).unwrap();
    let (why, unsent) = a.closed().await;
    assert_eq!((why.clone(), why.evidence()), (LinkError::ConnectTimeout, Evidence::Silent));
    assert_eq!(unsent.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn only_received_bytes_count_as_life() {
    let net = MemoryNet::new();
    let (mut a, b) = pair(&net).await;
    let link = a.network.link(&b.peer()).unwrap();
    a.opened().await;
    tokio::time::advance(Duration::from_secs(1)).await;
    link.try_send(Message::Probe { number: 1 }).unwrap();
    a.message().await;
    let heard = link.last_received().unwrap();
    net.stall("a", "b");
    net.stall("b", "a"); // where it is asked in turn
    for number in 2..5 {
        tokio::time::advance(Duration::from_secs(1)).await;
        link.try_send(Message::Probe { number }).unwrap();
    }
    assert!(tokio::time::timeout(Duration::from_secs(3), a.events.recv()).await.is_err());
    assert_eq!(link.last_received().unwrap(), heard);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_takes_nothing_and_says_nothing_is_given_up() {
    let net = MemoryNet::new();
    let (mut a, mut b) = pair(&net).await;
    let link = a.network.link(&b.peer()).unwrap();
    a.opened().await;
    b.opened().await;
    net.partition("a", "b");
    for n in 0..100 {
        link.try_send(request(n, &n.to_string(), 10_000)).unwrap();
    }
    let (why, unsent) = a.closed().await;
    assert_eq!((why.clone(), why.evidence()), (LinkError::Silent, Evidence::Silent));
    assert!(!unsent.is_empty() && unsent.len() < 100);
    assert_eq!(correlation(unsent.last().unwrap()), 99);
}

#[tokio::test(start_paused = true)]
async fn a_half_open_connection_ends_and_an_idle_one_does_not() {
    let net = MemoryNet::new();
    let (mut a, mut b) = pair(&net).await;
    let link = a.network.link(&b.peer()).unwrap();
    a.opened().await;
    b.opened().await;
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    assert!(link.is_open(), "an idle connection stays");
    // What this side sends is lost, and the other side's connections are as good as ever.
    net.stall("a", "b");
    link.try_send(request(1, "x", 1)).unwrap();
    let (why, unsent) = tokio::time::timeout(Duration::from_secs(15), a.closed()).await.expect("it is noticed");
    assert!(matches!(why, LinkError::Silent | LinkError::Closed), "by one side or the other: {why}");
    assert!(unsent.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_node_that_may_not_speak_ends_no_connection() {
    let net = MemoryNet::new();
    let (mut a, mut b) = pair(&net).await;
    let link = a.network.link(&b.peer()).unwrap();
    a.opened().await;
    b.opened().await;
    a.recorder.flush.store(false, Ordering::Release);
    b.recorder.flush.store(false, Ordering::Release);
    tokio::time::sleep(Duration::from_secs(60)).await;
    a.recorder.flush.store(true, Ordering::Release);
    b.recorder.flush.store(true, Ordering::Release);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(link.is_open());
}

#[tokio::test(start_paused = true)]
async fn the_dead_are_cut_off_and_stay_out() {
    let net = MemoryNet::new();
    let (mut a, mut b) = pair(&net).await;
    let link = b.network.link(&a.peer()).unwrap();
    b.opened().await;
    let at_a = a.opened().await;
    a.network.close(incarnation(2));
    assert_eq!(a.closed().await.0, LinkError::PeerDead);
    assert_eq!(at_a.try_send(request(1, "x", 1)).unwrap_err().kind, SendErrorKind::Closed);
    b.closed().await;
    assert!(matches!(a.network.link(&b.peer()), Err(NetworkError::PeerDead)));
    let again = b.network.link(&a.peer()).unwrap();
    assert_ne!(again.id(), link.id());
    let why = b.closed().await.0;
    assert_eq!(why, LinkError::Handshake(HandshakeError::Refused(Refusal::Dead)));
}

#[tokio::test(start_paused = true)]
async fn stopping_sends_what_is_queued_and_says_goodbye() {
    let net = MemoryNet::new();
    let (mut a, mut b) = pair(&net).await;
    let link = a.network.link(&b.peer()).unwrap();
    a.opened().await;
    b.opened().await;
    for n in 0..20 {
        link.try_send(request(n, "x", 100_000)).unwrap();
    }
    a.network.stop().await;
    for n in 0..20 {
        assert_eq!(correlation(&b.message().await), n);
    }
    assert_eq!(b.closed().await.0, LinkError::Goodbye);
    assert!(matches!(a.closed().await, (LinkError::Local, unsent) if unsent.is_empty()));
    assert!(matches!(a.network.link(&b.peer()), Err(NetworkError::Stopped)));
}

#[tokio::test(start_paused = true)]
async fn stopping_ends_though_the_peer_hangs_or_is_not_reached() {
    let net = MemoryNet::new();
    let (mut a, mut b) = pair(&net).await;
    let link = a.network.link(&b.peer()).unwrap();
    a.opened().await;
    b.opened().await;
    net.partition("a", "b");
    for n in 0..100 {
        link.try_send(request(n, "x", 10_000)).unwrap();
    }
    b.network.link(&a.peer()).unwrap();
    let began = tokio::time::Instant::now();
    a.network.stop().await;
    b.network.stop().await;
    assert!(began.elapsed() <= Duration::from_secs(9), "{:?}", began.elapsed());
    assert!(matches!(a.event().await, Event::Closed(..)));
}

#[tokio::test(start_paused = true)]
async fn a_killed_silos_successor_takes_its_address() {
    let net = MemoryNet::new();
    let (mut a, b) = pair(&net).await;
    let link = a.network.link(&b.peer()).unwrap();
    a.opened().await;
    net.kill("b");
    let (why, _) = a.closed().await;
    assert_eq!(why.evidence(), Evidence::Refused);
    let next = Node::start(silo(3, "b:1"), net.host("b")).await.unwrap();
    b.network.stop().await;
    a.network.link(&b.peer()).unwrap();
    assert_eq!(a.closed().await.0.evidence(), Evidence::Refused, "the successor is not who was meant");
    let to_next = a.network.link(&next.peer()).unwrap();
    a.opened().await;
    to_next.finish();
    assert_ne!(a.network.link(&next.peer()).unwrap().id(), to_next.id(), "a finished link is not given again");
    assert_ne!(link.id(), to_next.id());
}

/// Fails on the first message.
struct Panicking(tokio::sync::mpsc::UnboundedSender<LinkError>);

impl Receiver for Panicking {
    fn opened(&self, _: &Arc<Link>) {}

    fn message(&self, _: &Arc<Link>, _: Message) {
        panic!("on purpose");
    }

    fn closed(&self, _: &Arc<Link>, why: LinkError, _: Vec<Message>) {
        drop(self.0.send(why));
    }
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_panics_ends_only_the_link() {
    let net = MemoryNet::new();
    let mut a = Node::start(silo(1, "a:1"), net.host("a")).await.unwrap();
    let (ended, mut why) = tokio::sync::mpsc::unbounded_channel();
    let (host, handle) = (Arc::new(net.host("b")), tokio::runtime::Handle::current());
    let receiver = Arc::new(Panicking(ended));
    let b = Network::start(silo(2, "b:1"), host, handle, receiver.clone()).await.unwrap();
    let to_b = PeerAddress { incarnation: incarnation(2), join: 1, address: b.address() };
    for _ in 0..2 {
        a.network.link(&to_b).unwrap().try_send(request(1, "x", 1)).unwrap();
        assert_eq!(why.recv().await, Some(LinkError::Receiver));
        a.closed().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_network_that_nobody_has_ends_by_itself() {
    let net = MemoryNet::new();
    let (a, mut b) = pair(&net).await;
    a.network.link(&b.peer()).unwrap();
    b.opened().await;
    drop(a);
    let closed = tokio::time::timeout(Duration::from_secs(5), b.closed());
    assert!(matches!(closed.await.expect("it ends").0, LinkError::Closed));
}

/// A stream to a node, past the handshake, as incarnation 9.
async fn admitted(net: &MemoryNet, address: &str) -> Box<dyn Stream> {
    let identity = Identity {
        cluster: "test".to_owned(),
        role: Role::Silo,
        incarnation: incarnation(9),
        join: 1,
        address: "x:1".to_owned(),
    };
    let local = Local { identity, protocol: PROTOCOL, secret: None, entropy: Arc::new(OsEntropy) };
    let mut stream = net.host("x").connect(address).await.unwrap();
    dial(&mut *stream, &local, None, &|_| Ok(())).await.unwrap();
    stream
}

/// What honest sending looks like: twenty small requests and a large one.
fn honest() -> Vec<u8> {
    let (mut out, mut encoder) = (bytes::BytesMut::new(), FrameEncoder::default());
    for n in 0..20 {
        let encoded = request(n, "x", 40).encode().unwrap();
        encoder.put(&mut out, encoded.kind, 0, &[&encoded.to_bytes()]);
    }
    let large = request(20, "x", 100_000).encode().unwrap().to_bytes();
    for (n, part) in large.chunks(30_000).enumerate() {
        let flags = if n == 3 { 3 } else { 1 };
        encoder.put(&mut out, 1, flags, &[&1_u32.to_le_bytes(), part]);
    }
    out.to_vec()
}

/// Sends `bytes` and ends; gives what arrived and why the link ended.
fn feed(bytes: Vec<u8>) -> (Vec<String>, LinkError) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let net = MemoryNet::new();
        let mut a = Node::start(silo(1, "a:1"), net.host("a")).await.unwrap();
        let mut stream = admitted(&net, "a:1").await;
        // It may be closed on us half-way.
        drop(stream.write_all(&bytes).await);
        drop(stream.shutdown().await);
        drop(stream.read_to_end(&mut Vec::new()).await);
        let mut arrived = Vec::new();
        loop {
            match a.event().await {
                Event::Opened(_) => {}
                Event::Message(_, message) => arrived.push(format!("{message:?}")),
                Event::Closed(why, _) => return (arrived, why),
            }
        }
    })
}

#[test]
fn an_honest_stream_arrives_whole() {
    let (arrived, why) = feed(honest());
    let expected: Vec<_> = (0..20).map(|n| request(n, "x", 40)).chain([request(20, "x", 100_000)]).collect();
    assert_eq!(arrived, expected.iter().map(|message| format!("{message:?}")).collect::<Vec<_>>());
    assert_eq!(why, LinkError::Closed);
}

/// Found in simulation: as every byte was life, such a connection took requests and never answered one.
#[tokio::test(start_paused = true)]
async fn a_frame_that_takes_in_those_behind_it_ends_the_link() {
    let net = MemoryNet::new();
    let mut a = Node::start(silo(1, "a:1"), net.host("a")).await.unwrap();
    let mut stream = admitted(&net, "a:1").await;
    a.opened().await;
    let mut bytes = honest();
    bytes[1] ^= 0xf0; // of the length
    let mut pieces = bytes.chunks(100).cycle();
    let trickle = async {
        // A byte is life, so the keepalive has nothing to say.
        while stream.write_all(pieces.next().unwrap()).await.is_ok() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    let closed = tokio::time::timeout(Duration::from_secs(12), a.closed());
    let (why, _) =
        tokio::select! { closed = closed => closed.expect("it is noticed"), () = trickle => a.closed().await };
    assert_eq!(why, LinkError::Stalled);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_flipped_bit_closes_the_link_and_delivers_nothing_wrong(at in any::<prop::sample::Index>(), bit in 0..8_u8) {
        let mut bytes = honest();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let (arrived, why) = feed(bytes);
        let (all, _) = feed(honest());
        prop_assert!(arrived.len() < all.len() && arrived[..] == all[..arrived.len()]);
        // A length made longer waits for bytes that never come.
        prop_assert!(matches!(why, LinkError::Frame(_) | LinkError::Closed), "{}", why);
    }

    #[test]
    fn frames_out_of_order_or_twice_close_the_link(a in 0..20_usize, b in 0..20_usize, twice in any::<bool>()) {
        let honest = honest();
        let size = HEADER + request(0, "x", 40).encode().unwrap().len();
        let mut bytes = honest.clone();
        if twice {
            bytes.splice(b * size..b * size, honest[a * size..(a + 1) * size].iter().copied());
        } else {
            bytes[a * size..(a + 1) * size].copy_from_slice(&honest[b * size..(b + 1) * size]);
            bytes[b * size..(b + 1) * size].copy_from_slice(&honest[a * size..(a + 1) * size]);
        }
        let (arrived, why) = feed(bytes);
        let (all, _) = feed(honest);
        prop_assert_eq!(&arrived[..], &all[..arrived.len()]);
        if twice || a != b {
            prop_assert!(matches!(why, LinkError::Frame(_)), "{}", why);
        }
    }

    #[test]
    fn garbage_after_the_handshake_closes_the_link(bytes in prop::collection::vec(any::<u8>(), 1..2000)) {
        let (arrived, why) = feed(bytes);
        prop_assert!(arrived.is_empty());
        prop_assert!(matches!(why, LinkError::Frame(_) | LinkError::Closed), "{}", why);
    }

    #[test]
    fn well_framed_nonsense_closes_the_link(kind in any::<u8>(), flags in 0..8_u8, payload in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut out = bytes::BytesMut::new();
        FrameEncoder::default().put(&mut out, kind, flags, &[&payload]);
        feed(out.to_vec());
    }
}
