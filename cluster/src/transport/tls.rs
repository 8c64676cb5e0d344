//! Mutual TLS: both sides show a certificate of the cluster's own authority.

use std::fmt;
use std::io;
use std::sync::Arc;

use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::error::HandshakeError;
use super::net::Stream;

/// A node's certificate and the authority that all nodes trust.
#[derive(Clone)]
pub struct Tls {
    connector: TlsConnector,
    acceptor: TlsAcceptor,
    server_name: Option<String>,
}

/// The certificates or the key cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("cannot use the TLS {what}: {detail}")]
pub struct TlsError {
    what: &'static str,
    detail: String,
}

fn unusable(what: &'static str) -> impl Fn(&dyn fmt::Display) -> TlsError {
    move |detail| TlsError { what, detail: detail.to_string() }
}

impl Tls {
    /// From PEM texts: the authority's certificates, this node's certificate chain, and its key.
    ///
    /// # Errors
    /// One of them is not what it should be, or the key is not the certificate's.
    pub fn from_pem(authority: &[u8], chain: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let mut roots = RootCertStore::empty();
        for certificate in certificates(authority, "authority")? {
            roots.add(certificate).map_err(|error| unusable("authority")(&error))?;
        }
        let roots = Arc::new(roots);
        let chain = certificates(chain, "certificate")?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| unusable("key")(&error))?;
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone()).build();
        let verifier = verifier.map_err(|error| unusable("authority")(&error))?;
        let server = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
        let server = server
            .map(|builder| builder.with_client_cert_verifier(verifier))
            .and_then(|builder| builder.with_single_cert(chain.clone(), key.clone_key()))
            .map_err(|error| unusable("certificate")(&error))?;
        let client = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let client = client
            .map(|builder| builder.with_root_certificates(roots))
            .and_then(|builder| builder.with_client_auth_cert(chain, key))
            .map_err(|error| unusable("certificate")(&error))?;
        let (connector, acceptor) = (TlsConnector::from(Arc::new(client)), TlsAcceptor::from(Arc::new(server)));
        Ok(Self { connector, acceptor, server_name: None })
    }

    /// The name that every silo's certificate bears. Without it, a certificate must bear the host of the address that is
    /// dialed.
    #[must_use]
    pub fn server_name(self, name: impl Into<String>) -> Self {
        Self { server_name: Some(name.into()), ..self }
    }

    pub(crate) async fn dial(&self, stream: Box<dyn Stream>, address: &str) -> Result<Box<dyn Stream>, HandshakeError> {
        let host = match &self.server_name {
            Some(name) => name,
            None => address.rsplit_once(':').map_or(address, |(host, _)| host).trim_matches(['[', ']']),
        };
        let name = ServerName::try_from(host.to_owned()).map_err(|error| failed(&error))?;
        let stream = self.connector.connect(name, stream).await.map_err(|error| of_io(&error))?;
        Ok(Box::new(stream))
    }

    pub(crate) async fn accept(&self, stream: Box<dyn Stream>) -> Result<Box<dyn Stream>, HandshakeError> {
        let stream = self.acceptor.accept(stream).await.map_err(|error| of_io(&error))?;
        Ok(Box::new(stream))
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tls(server_name: {:?})", self.server_name)
    }
}

fn certificates(pem: &[u8], what: &'static str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    let found = found.map_err(|error| unusable(what)(&error))?;
    if found.is_empty() { Err(unusable(what)(&"no certificate in it")) } else { Ok(found) }
}

fn failed(error: &dyn fmt::Display) -> HandshakeError {
    HandshakeError::Tls { detail: error.to_string() }
}

/// rustls' own errors come as invalid data; anything else is the stream's.
fn of_io(error: &io::Error) -> HandshakeError {
    match error.kind() {
        io::ErrorKind::InvalidData => failed(error),
        io::ErrorKind::UnexpectedEof => HandshakeError::Closed,
        kind => HandshakeError::Io { kind, detail: error.to_string() },
    }
}
