//! Mutual TLS.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use super::support::{Event, Node, correlation, request, secret, silo};
use crate::transport::{HandshakeError, LinkError, MemoryNet, Tls};

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn node(&self) -> Tls {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["silo.test".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        let (authority, certificate, key) = (self.0.pem(), certificate.pem(), key.serialize_pem());
        let tls = Tls::from_pem(authority.as_bytes(), certificate.as_bytes(), key.as_bytes());
        tls.unwrap().server_name("silo.test")
    }
}

#[tokio::test]
async fn nodes_of_one_authority_talk() {
    let (net, authority) = (MemoryNet::new(), Authority::new());
    let options = |n, listen| silo(n, listen).tls(authority.node()).secret(secret("s"));
    let a = Node::start(options(1, "a:1"), net.host("a")).await.unwrap();
    let mut b = Node::start(options(2, "b:1"), net.host("b")).await.unwrap();
    let link = a.network.link(&b.peer()).unwrap();
    for n in 0..100 {
        link.try_send(request(n, "x", 50_000)).unwrap();
    }
    b.opened().await;
    for n in 0..100 {
        assert_eq!(correlation(&b.message().await), n);
    }
    a.network.stop().await;
    assert_eq!(b.closed().await.0, LinkError::Goodbye);
}

#[tokio::test]
async fn another_authoritys_node_is_refused_by_either_side() {
    let net = MemoryNet::new();
    let mut a = Node::start(silo(1, "a:1").tls(Authority::new().node()), net.host("a")).await.unwrap();
    let mut b = Node::start(silo(2, "b:1").tls(Authority::new().node()), net.host("b")).await.unwrap();
    let mut plain = Node::start(silo(3, "c:1"), net.host("c")).await.unwrap();
    a.network.link(&b.peer()).unwrap();
    let (why, _) = a.closed().await;
    assert!(matches!(why, LinkError::Handshake(HandshakeError::Tls { .. })), "{why}");
    plain.network.link(&b.peer()).unwrap();
    let (why, _) = plain.closed().await;
    assert!(matches!(why, LinkError::Handshake(_)), "{why}");
    b.network.stop().await;
    assert!(!matches!(b.events.try_recv(), Ok(Event::Opened(_))), "nobody got in");
}

#[test]
fn what_is_no_certificate_is_named() {
    let error = Tls::from_pem(b"", b"", b"").unwrap_err();
    assert_eq!(error.to_string(), "cannot use the TLS authority: no certificate in it");
}
