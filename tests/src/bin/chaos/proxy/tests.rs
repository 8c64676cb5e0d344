use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::*;

const THERE: (End, End) = (End::Client, End::Redis);
const BACK: (End, End) = (End::Redis, End::Client);
const PATIENCE: Duration = Duration::from_secs(20);

/// A server that says back what it is told, behind the proxy.
async fn echo(net: &Net) -> TcpStream {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let port = listener.local_addr().expect("its address").port();
    tokio::runtime::Handle::current().spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::runtime::Handle::current().spawn(async move {
                let (mut from, mut to) = stream.split();
                if tokio::io::copy(&mut from, &mut to).await.is_ok() {
                    let _ = to.shutdown().await; // or it is gone
                }
            });
        }
    });
    let port = watch::Sender::new(port).subscribe();
    let address = net.stand_before(End::Redis, port, Some(End::Client)).await.expect("a port");
    TcpStream::connect(address).await.expect("the proxy takes it")
}

/// What is sent, and what comes back of it.
async fn exchange(stream: TcpStream) -> (Vec<u8>, Vec<u8>) {
    let sent: Vec<_> = (0..1_000_000_u32).flat_map(u32::to_be_bytes).collect();
    let (mut reads, mut writes) = stream.into_split();
    let sending = sent.clone();
    let send = tokio::runtime::Handle::current().spawn(async move {
        let _ = writes.write_all(&sending).await; // the other end may close before
        let _ = writes.shutdown().await;
    });
    let mut received = Vec::new();
    // However it ends.
    let _ = timeout(PATIENCE, reads.read_to_end(&mut received)).await.expect("it ends");
    send.abort();
    (sent, received)
}

#[tokio::test]
async fn without_trouble_everything_comes_back() {
    let (sent, received) = exchange(echo(&Net::new(1)).await).await;
    assert!(sent == received);
}

#[tokio::test]
async fn what_ends_a_connection_leaves_a_beginning() {
    for trouble in [Trouble::Truncate, Trouble::HalfClose, Trouble::Cut] {
        for way in [THERE, BACK] {
            let net = Net::new(2);
            net.set(Ways::from([(way, trouble)]));
            let stream = echo(&net).await;
            let healing = net.clone();
            // What comes after a close in one direction is discarded, as long as that lasts.
            let heal = async move {
                tokio::time::sleep(Duration::from_secs(1)).await;
                healing.set(Ways::new());
            };
            let ((sent, received), ()) = tokio::join!(exchange(stream), heal);
            assert!(received.len() < sent.len() && sent.starts_with(&received), "{trouble:?} {way:?}");
        }
    }
}

#[tokio::test]
async fn what_changes_bytes_changes_them() {
    let net = Net::new(3);
    net.set(Ways::from([(THERE, Trouble::Duplicate)]));
    let (sent, received) = exchange(echo(&net).await).await;
    assert!(received.len() > sent.len());
    let net = Net::new(3);
    net.set(Ways::from([(BACK, Trouble::Garble)]));
    let (sent, received) = exchange(echo(&net).await).await;
    assert!(received.len() == sent.len() && received != sent);
}

#[tokio::test]
async fn what_is_stalled_comes_later_and_what_is_swallowed_never() {
    let net = Net::new(4);
    let mut stream = echo(&net).await;
    for (trouble, comes) in [(Trouble::Stall, true), (Trouble::Swallow, false)] {
        net.set(Ways::from([(THERE, trouble)]));
        stream.write_all(b"hello").await.expect("the proxy takes it");
        let mut buffer = [0; 5];
        let early = timeout(Duration::from_millis(100), stream.read_exact(&mut buffer)).await;
        assert!(early.is_err(), "{trouble:?}: {early:?}");
        net.set(Ways::new());
        let later = timeout(PATIENCE, stream.read_exact(&mut buffer)).await.expect("it comes, or the connection ends");
        assert_eq!(later.is_ok(), comes, "{trouble:?}");
    }
}
