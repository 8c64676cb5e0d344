//! Queues, order and gates.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::support::{Event, Node, correlation, correlations, request, silo};
use crate::transport::line::Line;
use crate::transport::schedule::{PART_SIZE, Schedule};
use crate::transport::wire::frame::{FrameDecoder, PART};
use crate::transport::wire::{Control, Message, Reassembly};
use crate::transport::{LinkError, MemoryNet, SendErrorKind};

async fn pair(net: &MemoryNet) -> (Node, Node) {
    let mut small = silo(1, "a:1");
    small.limits.queue_messages = 100;
    let a = Node::start(small, net.host("a")).await.unwrap();
    (a, Node::start(silo(2, "b:1"), net.host("b")).await.unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_refuses_at_once_and_is_healthy_again_later() {
    let net = MemoryNet::new();
    let (mut a, mut b) = pair(&net).await;
    let link = a.network.link(&b.peer()).unwrap();
    a.opened().await;
    b.opened().await;
    net.partition("a", "b");
    let mut sent = 0;
    let error = loop {
        match link.try_send(request(sent, "x", 1000)) {
            Ok(()) => sent += 1,
            Err(error) => break error,
        }
        tokio::task::yield_now().await;
    };
    assert_eq!((error.kind, correlation(&error.message)), (SendErrorKind::Overloaded, sent));
    assert!(link.try_send(Message::Probe { number: 0 }).is_ok(), "a probe does not wait behind calls");
    net.heal("a", "b");
    for expected in 0..sent {
        assert_eq!(correlation(&b.message().await), expected);
    }
    assert!(matches!(a.message().await, Message::ProbeAck { number: 0 }));
    link.try_send(request(sent, "x", 1)).unwrap();
    assert_eq!(correlation(&b.message().await), sent);
}

#[tokio::test(start_paused = true)]
async fn what_never_reached_the_stream_comes_back_in_order() {
    let net = MemoryNet::new();
    let (mut a, mut b) = pair(&net).await;
    let link = a.network.link(&b.peer()).unwrap();
    link.try_send(request(0, "x", 1)).unwrap();
    a.opened().await;
    b.opened().await;
    b.message().await;
    a.recorder.flush.store(false, Ordering::Release);
    for n in 1..=50 {
        // Large ones among them, which wait in lanes.
        link.try_send(request(n, ["x", "y"][n as usize % 2], if n % 5 == 0 { 100_000 } else { 10 })).unwrap();
    }
    tokio::time::advance(Duration::from_secs(1)).await;
    net.cut("a", "b");
    let (why, unsent) = a.closed().await;
    assert!(matches!(why, LinkError::Reset { .. }), "{why}");
    assert_eq!(correlations(&unsent), (1..=50).collect::<Vec<_>>());
    assert_eq!(link.try_send(request(1, "x", 1)).unwrap_err().kind, SendErrorKind::Closed);
    assert!(matches!(b.event().await, Event::Closed(..)), "none of them arrived");
}

#[tokio::test(start_paused = true)]
async fn nothing_leaves_while_the_gate_is_closed() {
    let net = MemoryNet::new();
    let (mut a, mut b) = pair(&net).await;
    let link = a.network.link(&b.peer()).unwrap();
    a.opened().await;
    b.opened().await;
    // A store that is away closes everybody's.
    [&a, &b].iter().for_each(|node| node.recorder.flush.store(false, Ordering::Release));
    link.try_send(request(1, "x", 1)).unwrap();
    assert!(tokio::time::timeout(Duration::from_secs(60), b.events.recv()).await.is_err());
    [&a, &b].iter().for_each(|node| node.recorder.flush.store(true, Ordering::Release));
    a.network.recheck_flush();
    assert_eq!(correlation(&b.message().await), 1);
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_messages_each_way_arrive_in_order() {
    let net = MemoryNet::new();
    let mut a = Node::start(silo(1, "a:1"), net.host("a")).await.unwrap();
    let mut b = Node::start(silo(2, "b:1"), net.host("b")).await.unwrap();
    let (to_b, to_a) = (a.network.link(&b.peer()).unwrap(), b.network.link(&a.peer()).unwrap());
    for n in 0..10_000 {
        to_b.try_send(request(n, "x", n as usize % 100)).unwrap();
        to_a.try_send(request(n, "x", n as usize % 100)).unwrap();
    }
    for node in [&mut a, &mut b] {
        let mut expected = 0;
        while expected < 10_000 {
            if let Event::Message(_, message) = node.event().await {
                assert_eq!(correlation(&message), expected);
                expected += 1;
            }
        }
    }
}

fn schedule(messages: impl IntoIterator<Item = Message>) -> Schedule {
    let mut schedule = Schedule::default();
    for message in messages {
        schedule.queue_mut().1.push(&message, usize::MAX).unwrap();
    }
    schedule
}

/// What arrives, in order, with the number of parts of large messages on the wire before it.
fn arrivals(mut schedule: Schedule) -> Vec<(u64, usize)> {
    let (mut wire, mut decoder, mut reassembly) = (BytesMut::new(), FrameDecoder::default(), Reassembly::default());
    let (mut parts, mut arrived) = (0, Vec::new());
    while !schedule.is_empty() {
        schedule.compose(&mut wire);
        while let Some(frame) = decoder.next(&mut wire).unwrap() {
            parts += usize::from(frame.flags & PART);
            if let Some((kind, bytes)) = reassembly.push(frame).unwrap() {
                arrived.push((correlation(&Message::decode(kind, bytes).unwrap()), parts));
            }
        }
    }
    arrived
}

#[test]
fn a_large_message_delays_a_small_one_by_no_part_of_itself() {
    let arrived = arrivals(schedule([request(1, "x", 10_000_000), request(2, "y", 10), request(3, "z", 10)]));
    assert_eq!(arrived, [(2, 0), (3, 0), (1, 10_000_000 / PART_SIZE + 1)]);
}

#[test]
fn a_small_message_that_comes_late_waits_for_one_part_at_most() {
    let mut schedule = schedule([request(1, "x", 10_000_000), request(2, "y", 9_000_000)]);
    let mut wire = BytesMut::new();
    schedule.compose(&mut wire);
    wire.clear();
    schedule.queue_mut().1.push(&request(3, "z", 10), usize::MAX).unwrap();
    schedule.compose(&mut wire);
    assert_eq!(wire[12], 1, "a request");
    assert_eq!(wire[13], 0, "whole: the first frame of the very next write");
}

#[test]
fn nothing_overtakes_a_large_message_that_it_must_not() {
    let control = |correlation, size| Message::Control(Control { correlation, body: Bytes::from(vec![0; size]) });
    let cancel = Message::Cancel { correlation: 1 };
    let messages = [request(1, "x", 200_000), request(2, "x", 1), cancel, control(4, 100_000), control(5, 1)];
    let order: Vec<_> = arrivals(schedule(messages)).into_iter().map(|(n, _)| n).collect();
    // 1 is a request and its cancellation.
    assert_eq!(order, [4, 5, 1, 2, 1]);
}

#[test]
fn many_large_messages_share_the_stream_within_the_receivers_bounds() {
    let mut order: Vec<_> =
        arrivals(schedule((0..100).map(|n| request(n, &n.to_string(), 200_000)))).into_iter().map(|(n, _)| n).collect();
    order.sort_unstable();
    assert_eq!(order, (0..100).collect::<Vec<_>>());
}

#[test]
fn a_large_message_that_was_begun_but_not_ended_comes_back() {
    let mut schedule = schedule([request(1, "x", 200_000), request(2, "x", 1), request(3, "y", 1)]);
    schedule.compose(&mut BytesMut::new());
    let unsent: Vec<_> = schedule.into_unsent(Line::default()).iter().map(correlation).collect();
    assert_eq!(unsent, [1, 2], "the last part of the first did not leave, so it cannot have been executed");
}
