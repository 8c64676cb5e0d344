//! Messages to bytes.

use bytes::{BufMut, Bytes, BytesMut};
use gristmill_grains::{Access, Cause, Fault, GrainId, codec};

use super::bytes::{Over, put_id, put_long, put_short};
use super::message::{ChainEntry, Location, Message, NotHere, Request, limits};

/// A message over one of the [`limits`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the {field} of the message is over its limit")]
pub struct TooLarge {
    /// What is.
    pub field: &'static str,
}

/// A message as bytes: `head`, then `body`. Apart, so that a body is not copied before it is sent.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// The byte of its kind.
    pub kind: u8,
    /// Its fields.
    pub head: Bytes,
    /// Its body, at the end; empty for those that have none.
    pub body: Bytes,
}

impl Encoded {
    /// Its size.
    pub fn len(&self) -> usize {
        self.head.len() + self.body.len()
    }

    /// Has it no bytes?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Both parts in one. Copies, unless one is empty.
    pub fn to_bytes(&self) -> Bytes {
        if self.body.is_empty() {
            return self.head.clone();
        }
        let mut whole = BytesMut::with_capacity(self.len());
        whole.put_slice(&self.head);
        whole.put_slice(&self.body);
        whole.freeze()
    }
}

impl Message {
    /// The message as bytes.
    ///
    /// # Errors
    /// A field is over its limit.
    pub fn encode(&self) -> Result<Encoded, TooLarge> {
        let mut head = BytesMut::new();
        let body = self.encode_head(&mut head)?;
        Ok(Encoded { kind: self.kind(), head: head.freeze(), body: body.cloned().unwrap_or_default() })
    }

    /// Appends all but the body to `out`; gives the body.
    ///
    /// # Errors
    /// A field is over its limit.
    pub(crate) fn encode_head(&self, out: &mut BytesMut) -> Result<Option<&Bytes>, TooLarge> {
        let before = out.len();
        let body = put(self, out).map_err(|Over(field)| TooLarge { field })?;
        if body.is_some_and(|body| body.len() > limits::BODY) {
            return Err(TooLarge { field: "body" });
        }
        if out.len() - before > limits::HEAD {
            return Err(TooLarge { field: "header" });
        }
        Ok(body)
    }
}

/// Writes the fields; gives the body.
fn put<'a>(message: &'a Message, out: &mut BytesMut) -> Result<Option<&'a Bytes>, Over> {
    match message {
        Message::Request(request) => {
            put_request(request, out)?;
            return Ok(Some(&request.body));
        }
        Message::Response(response) => {
            out.reserve(9);
            out.put_u64_le(response.correlation);
            match &response.result {
                Ok(body) => {
                    out.put_u8(0);
                    return Ok(Some(body));
                }
                Err(fault) => {
                    out.put_u8(1);
                    out.put_slice(&fault_bytes(fault));
                }
            }
        }
        Message::NotHere(answer) => put_not_here(answer, out),
        Message::Control(control) | Message::ControlReply(control) => {
            out.put_u64_le(control.correlation);
            return Ok(Some(&control.body));
        }
        Message::Cancel { correlation: number }
        | Message::Probe { number }
        | Message::ProbeAck { number }
        | Message::ViewHint { version: number } => out.put_u64_le(*number),
        Message::Goodbye => {}
    }
    Ok(None)
}

fn put_request(request: &Request, out: &mut BytesMut) -> Result<(), Over> {
    let target = &request.target;
    out.reserve(32 + target.grain_type().as_str().len() + target.key().len() + request.interface.len());
    out.put_u64_le(request.correlation);
    out.put_u32_le(request.method);
    out.put_u32_le(request.remaining_ms);
    out.put_u8(request.one_way.into());
    out.put_u8(request.flags);
    put_grain(target, out)?;
    put_short(out, &request.interface, "interface name")?;
    let count = u8::try_from(request.chain.len()).ok().filter(|n| usize::from(*n) <= limits::CHAIN);
    out.put_u8(count.ok_or(Over("call chain"))?);
    for entry in &request.chain {
        put_entry(entry, out)?;
    }
    let count = u8::try_from(request.context.iter().count()).ok().filter(|n| usize::from(*n) <= limits::CONTEXT);
    out.put_u8(count.ok_or(Over("request context"))?);
    for (key, value) in request.context.iter() {
        put_short(out, key, "request context")?;
        put_long(out, value, limits::CONTEXT_VALUE, "request context")?;
    }
    Ok(())
}

fn put_grain(grain: &GrainId, out: &mut BytesMut) -> Result<(), Over> {
    put_short(out, grain.grain_type().as_str(), "grain type")?;
    put_long(out, grain.key(), limits::KEY, "grain key")
}

fn put_entry(entry: &ChainEntry, out: &mut BytesMut) -> Result<(), Over> {
    put_id(out, entry.incarnation.as_u128());
    out.put_u64_le(entry.turn);
    out.put_u8(match entry.access {
        Access::Shared => 0,
        Access::Exclusive => 1,
    });
    put_grain(&entry.link.grain, out)?;
    put_short(out, &entry.link.method, "method name")
}

fn put_not_here(answer: &NotHere, out: &mut BytesMut) {
    out.put_u64_le(answer.correlation);
    out.put_u64_le(answer.view);
    out.put_u8(answer.owner.is_some().into());
    if let Some(Location { incarnation, activation, epoch }) = answer.owner {
        put_id(out, incarnation.as_u128());
        put_id(out, activation.as_u128());
        out.put_u64_le(epoch);
    }
}

/// A caller must learn of every failure, so one too large to travel is replaced by one that says so.
fn fault_bytes(fault: &Fault) -> Vec<u8> {
    let encoded = codec::encode_wire(fault).ok().filter(|bytes| bytes.len() <= limits::FAULT);
    encoded.unwrap_or_else(|| {
        let cause = Cause::Codec { detail: "the failure's own description is too large to be sent".to_owned() };
        let short = if fault.maybe_executed() { Fault::maybe_executed_with(cause) } else { Fault::not_executed(cause) };
        codec::encode_wire(&short).unwrap_or_default()
    })
}
