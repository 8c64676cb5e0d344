//! Who may connect, and what the other is told.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::support::{Node, correlations, incarnation, request, secret, silo};
use crate::transport::wire::hello::{Handshake, Refusal};
use crate::transport::{
    Evidence, HandshakeError, LinkError, MemoryNet, Net, NetworkError, Options, PeerAddress, StartError, TcpNet,
};

/// Both dial each other with these options; gives why each link ended.
async fn meet(a: Options, b: Options) -> (LinkError, LinkError) {
    let net = MemoryNet::new();
    let mut a = Node::start(a, net.host("a")).await.unwrap();
    let mut b = Node::start(b, net.host("b")).await.unwrap();
    for (from, to) in [(&a, &b), (&b, &a)] {
        from.network.link(&to.peer()).unwrap().try_send(request(1, "x", 1)).unwrap();
    }
    let ((why_a, unsent), (why_b, _)) = (a.closed().await, b.closed().await);
    assert_eq!(correlations(&unsent), [1], "a call that a refused link was given comes back");
    (why_a, why_b)
}

fn refused(refusal: Refusal) -> LinkError {
    LinkError::Handshake(HandshakeError::Refused(refusal))
}

fn declined(refusal: Refusal) -> LinkError {
    LinkError::Handshake(HandshakeError::Declined(refusal))
}

#[tokio::test(start_paused = true)]
async fn silos_of_different_clusters_refuse_each_other() {
    let other = Options::silo("other", incarnation(2), "b:1");
    let whys = meet(silo(1, "a:1"), other).await;
    assert_eq!(whys, (refused(Refusal::WrongCluster), refused(Refusal::WrongCluster)));
}

#[tokio::test(start_paused = true)]
async fn silos_with_different_secrets_refuse_each_other_and_say_so() {
    let whys = meet(silo(1, "a:1").secret(secret("one")), silo(2, "b:1").secret(secret("two"))).await;
    assert_eq!(whys, (declined(Refusal::WrongSecret), declined(Refusal::WrongSecret)));
    let whys = meet(silo(1, "a:1").secret(secret("one")), silo(2, "b:1")).await;
    assert_eq!(whys, (refused(Refusal::SecretMismatch), refused(Refusal::SecretMismatch)));
}

#[tokio::test(start_paused = true)]
async fn protocols_without_a_common_version_are_refused_by_name() {
    let (old, new) = (silo(1, "a:1").protocol(1..=2), silo(2, "b:1").protocol(3..=4));
    let too_old = refused(Refusal::ProtocolTooOld { min: 3, max: 4 });
    assert_eq!(meet(old, new).await, (too_old, refused(Refusal::ProtocolTooNew { min: 1, max: 2 })));
}

#[tokio::test(start_paused = true)]
async fn another_incarnation_at_the_address_is_refused_evidence() {
    for options in [silo(2, "b:1"), silo(2, "b:1").secret(secret("s"))] {
        let net = MemoryNet::new();
        let dialer = if options.secret.is_some() { silo(1, "a:1").secret(secret("s")) } else { silo(1, "a:1") };
        let mut a = Node::start(dialer, net.host("a")).await.unwrap();
        let _b = Node::start(options, net.host("b")).await.unwrap();
        let gone = PeerAddress { incarnation: incarnation(9), join: 1, address: "b:1".to_owned() };
        a.network.link(&gone).unwrap();
        let (why, _) = a.closed().await;
        assert_eq!(why, declined(Refusal::NotExpected { actual: incarnation(2) }));
        assert_eq!(why.evidence(), Evidence::Refused);
        assert!(matches!(a.network.link(&gone), Err(NetworkError::BackingOff { .. })));
        tokio::time::advance(Duration::from_millis(60)).await;
        assert!(a.network.link(&gone).is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn the_dead_and_those_at_a_taken_address_are_told() {
    for refusal in [Refusal::Dead, Refusal::AddressTaken { by: incarnation(3) }] {
        let net = MemoryNet::new();
        let mut a = Node::start(silo(1, "a:1"), net.host("a")).await.unwrap();
        let b = Node::start(silo(2, "b:1"), net.host("b")).await.unwrap();
        *b.recorder.refusal.lock() = Some(refusal);
        a.network.link(&b.peer()).unwrap();
        assert_eq!(a.closed().await.0, refused(refusal));
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_says_nothing_is_dropped_and_holds_nobody_up() {
    let net = MemoryNet::new();
    let mut options = silo(1, "a:1");
    options.limits.pending_handshakes = 1;
    let mut a = Node::start(options, net.host("a")).await.unwrap();
    let mut silent = net.host("mute").connect("a:1").await.unwrap();
    let began = tokio::time::Instant::now();
    let b = Node::start(silo(2, "b:1"), net.host("b")).await.unwrap();
    // The one place is taken; b waits in the backlog, within its own patience.
    let _link = b.network.link(&a.peer()).unwrap();
    assert_eq!(silent.read(&mut [0; 1]).await.unwrap(), 0, "the silent one is dropped");
    assert_eq!(began.elapsed().as_secs(), 5);
    drop(silent);
    // Whether b was still waiting by then or not, the place is free again.
    tokio::time::advance(Duration::from_secs(3)).await;
    let _again = b.network.link(&a.peer());
    a.opened().await;
}

#[tokio::test(start_paused = true)]
async fn garbage_and_foreign_protocols_are_refused_at_the_handshake() {
    let net = MemoryNet::new();
    let _a = Node::start(silo(1, "a:1"), net.host("a")).await.unwrap();
    for said in [&b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..], &[0xff; 4096], &[0; 64]] {
        let mut stream = net.host("x").connect("a:1").await.unwrap();
        stream.write_all(said).await.unwrap();
        let mut answer = Vec::new();
        drop(stream.read_to_end(&mut answer).await);
        assert!(answer.is_empty(), "nothing is told to who does not speak the protocol");
    }
}

#[tokio::test(start_paused = true)]
async fn a_recorded_handshake_is_worth_nothing_the_second_time() {
    let net = MemoryNet::new();
    let mut a = Node::start(silo(1, "a:1").secret(secret("s")), net.host("a")).await.unwrap();
    // A man in the middle records what an honest dialer says.
    let middle = net.host("m").bind("m:1").await.unwrap();
    let b = Node::start(silo(2, "b:1").secret(secret("s")), net.host("b")).await.unwrap();
    let through = PeerAddress { address: "m:1".to_owned(), ..a.peer() };
    let _link = b.network.link(&through).unwrap();
    let (mut from, _) = middle.accept().await.unwrap();
    let mut to = net.host("m").connect("a:1").await.unwrap();
    let hello = relay(&mut *from, &mut *to).await;
    relay(&mut *to, &mut *from).await;
    let proof = relay(&mut *from, &mut *to).await;
    assert_eq!(relay(&mut *to, &mut *from).await, Handshake::Ready.encode().unwrap(), "the honest one is admitted");
    a.opened().await;

    let mut replay = net.host("m").connect("a:1").await.unwrap();
    replay.write_all(&hello).await.unwrap();
    frame(&mut *replay).await;
    replay.write_all(&proof).await.unwrap();
    let answer = frame(&mut *replay).await;
    assert_eq!(Handshake::decode(&answer).unwrap().unwrap().0, Handshake::Refused(Refusal::WrongSecret));
}

async fn frame(stream: &mut dyn crate::transport::Stream) -> Vec<u8> {
    let mut bytes = vec![0; 9];
    stream.read_exact(&mut bytes).await.unwrap();
    let length = u32::from_le_bytes(bytes[..4].try_into().unwrap());
    bytes.resize(9 + length as usize, 0);
    stream.read_exact(&mut bytes[9..]).await.unwrap();
    bytes
}

async fn relay(from: &mut dyn crate::transport::Stream, to: &mut dyn crate::transport::Stream) -> Vec<u8> {
    let bytes = frame(from).await;
    to.write_all(&bytes).await.unwrap();
    bytes
}

#[tokio::test(start_paused = true)]
async fn both_sides_learn_who_the_other_is() {
    let net = MemoryNet::new();
    let mut a = Node::start(silo(1, "a:1").secret(secret("s")), net.host("a")).await.unwrap();
    let client = Options::client("test", incarnation(7)).secret(secret("s"));
    let mut client = Node::start(client, net.host("c")).await.unwrap();
    a.network.set_join(42);
    let _link = client.network.contact("a:1").unwrap();
    let (at_client, at_silo) = (client.opened().await, a.opened().await);
    let (silo, client) = (at_client.peer().unwrap(), at_silo.peer().unwrap());
    assert_eq!((silo.incarnation, silo.join, &silo.address[..]), (incarnation(1), 42, "a:1"));
    assert_eq!((client.incarnation, client.role), (incarnation(7), crate::transport::wire::hello::Role::Client));
}

#[tokio::test]
async fn a_listener_that_anybody_reaches_needs_a_secret_or_leave() {
    let refused = Node::start(silo(1, "0.0.0.0:0"), TcpNet).await;
    assert!(matches!(refused.map(drop), Err(StartError::Insecure { .. })));
    for options in [silo(1, "0.0.0.0:0").allow_insecure(true), silo(1, "0.0.0.0:0").secret(secret("s"))] {
        Node::start(options, TcpNet).await.unwrap().network.stop().await;
    }
    assert!(crate::transport::Secret::new("short").is_err());
    let _: Arc<dyn Net> = Arc::new(TcpNet);
}
