//! The port to the network: byte streams. Everything above it runs the same over TCP and in a simulation.

use std::io;
use std::net::SocketAddr;

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};

/// An ordered stream of bytes, both ways.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A network as one host sees it.
#[async_trait]
pub trait Net: Send + Sync {
    /// Opens a stream to `address`. The caller bounds the wait. Cancellation safe.
    ///
    /// # Errors
    /// `ConnectionRefused` when the host answers that nobody listens there; anything else when it cannot be reached.
    async fn connect(&self, address: &str) -> io::Result<Box<dyn Stream>>;

    /// Listens at `address`.
    ///
    /// # Errors
    /// The address is not this host's, or in use.
    async fn bind(&self, address: &str) -> io::Result<Box<dyn Listener>>;
}

/// An address where streams arrive.
#[async_trait]
pub trait Listener: Send + Sync {
    /// The next stream, and the address it comes from (for messages). Cancellation safe.
    ///
    /// # Errors
    /// The host is short of something; try again later.
    async fn accept(&self) -> io::Result<(Box<dyn Stream>, String)>;

    /// Where it listens, with the port that was chosen.
    fn local_address(&self) -> String;

    /// Can only this host reach it?
    fn is_loopback(&self) -> bool;
}

/// TCP. Small writes are sent at once.
#[derive(Clone, Copy, Debug, Default)]
pub struct TcpNet;

#[async_trait]
impl Net for TcpNet {
    async fn connect(&self, address: &str) -> io::Result<Box<dyn Stream>> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Box::new(stream))
    }

    async fn bind(&self, address: &str) -> io::Result<Box<dyn Listener>> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok(Box::new(Tcp { listener, address }))
    }
}

struct Tcp {
    listener: TcpListener,
    address: SocketAddr,
}

#[async_trait]
impl Listener for Tcp {
    async fn accept(&self) -> io::Result<(Box<dyn Stream>, String)> {
        let (stream, from) = self.listener.accept().await?;
        stream.set_nodelay(true)?;
        Ok((Box::new(stream), from.to_string()))
    }

    fn local_address(&self) -> String {
        self.address.to_string()
    }

    fn is_loopback(&self) -> bool {
        self.address.ip().is_loopback()
    }
}
