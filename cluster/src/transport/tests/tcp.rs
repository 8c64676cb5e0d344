//! Over real TCP, on the loopback.

use super::support::{Event, Node, correlation, request, secret, silo};
use crate::transport::wire::{Message, Response};
use crate::transport::{Evidence, SendErrorKind, TcpNet};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn order_holds_under_load_and_every_request_is_answered() {
    const COUNT: u64 = 20_000;
    let mut a = Node::start(silo(1, "127.0.0.1:0").secret(secret("s")), TcpNet).await.unwrap();
    let mut b = Node::start(silo(2, "127.0.0.1:0").secret(secret("s")), TcpNet).await.unwrap();
    let link = a.network.link(&b.peer()).unwrap();
    let server = tokio::task::spawn_blocking(move || {
        let mut expected = 0;
        while expected < COUNT {
            if let Some(Event::Message(link, Message::Request(request))) = b.events.blocking_recv() {
                assert_eq!(request.correlation, expected);
                expected += 1;
                let mut response =
                    Message::Response(Response { correlation: request.correlation, result: Ok(request.body) });
                while let Err(error) = link.try_send(response) {
                    assert_eq!(error.kind, SendErrorKind::Overloaded);
                    response = *error.message;
                    std::thread::yield_now();
                }
            }
        }
        b
    });
    let sender = tokio::task::spawn_blocking(move || {
        for n in 0..COUNT {
            // Now and then one that is cut.
            let mut message = request(n, "x", if n % 1000 == 0 { 300_000 } else { 64 });
            while let Err(error) = link.try_send(message) {
                assert_eq!(error.kind, SendErrorKind::Overloaded);
                message = *error.message;
                std::thread::yield_now();
            }
        }
    });
    let mut answered = vec![false; COUNT as usize];
    for _ in 0..COUNT {
        let message = loop {
            if let Event::Message(_, message) = a.event().await {
                break message;
            }
        };
        let n = correlation(&message);
        assert!(!std::mem::replace(&mut answered[n as usize], true), "answered twice");
        let Message::Response(Response { result: Ok(body), .. }) = message else { panic!("{message:?}") };
        assert!(body.iter().all(|byte| *byte == n as u8));
    }
    sender.await.unwrap();
    let b = server.await.unwrap();
    a.network.stop().await;
    b.network.stop().await;
}

#[tokio::test]
async fn a_port_where_nobody_listens_refuses() {
    let mut a = Node::start(silo(1, "127.0.0.1:0"), TcpNet).await.unwrap();
    let b = Node::start(silo(2, "127.0.0.1:0"), TcpNet).await.unwrap();
    let gone = b.peer();
    b.network.stop().await;
    a.network.link(&gone).unwrap();
    assert_eq!(a.closed().await.0.evidence(), Evidence::Refused);
}
