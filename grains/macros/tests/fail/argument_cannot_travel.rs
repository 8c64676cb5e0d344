use gristmill_grains::grain_interface;
use std::net::TcpStream;

#[grain_interface(crate = gristmill_grains)]
pub trait Player {
    async fn join(&mut self, name: String, connection: TcpStream);
}

fn main() {}
