use gristmill_grains::grain_interface;
use std::net::TcpStream;

pub struct Failed;

#[grain_interface(crate = gristmill_grains)]
pub trait Player {
    async fn connection(&self) -> TcpStream;
    async fn open(&self) -> Result<String, Failed>;
}

fn main() {}
