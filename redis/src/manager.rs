//! What commands are sent over.

use redis::aio::{ConnectionLike, ConnectionManager};
use redis::{Cmd, Pipeline, RedisFuture, Value};

/// Over a socket; in a simulation, over its wire.
#[derive(Clone)]
pub enum Manager {
    /// A socket, which the client connects again.
    Socket(ConnectionManager),
    /// A simulation's.
    #[cfg(feature = "model")]
    Wire(std::sync::Arc<dyn crate::model::Wire>),
}

impl ConnectionLike for Manager {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::Socket(socket) => socket.req_packed_command(command),
            #[cfg(feature = "model")]
            Self::Wire(wire) => {
                let answers = wire.send(vec![crate::model::words(command)]);
                Box::pin(async move {
                    let first = answers.await?.into_iter().next().unwrap_or(Value::Nil);
                    first.extract_error()
                })
            }
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::Socket(socket) => socket.req_packed_commands(pipeline, offset, count),
            #[cfg(feature = "model")]
            Self::Wire(wire) => {
                let answers = wire.send(pipeline.cmd_iter().map(crate::model::words).collect());
                Box::pin(async move { Ok(answers.await?.into_iter().skip(offset).take(count).collect()) })
            }
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::Socket(socket) => socket.get_db(),
            #[cfg(feature = "model")]
            Self::Wire(_) => 0,
        }
    }
}
