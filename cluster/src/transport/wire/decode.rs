//! Bytes to messages. Large bodies are slices of the input, not copies.

use bytes::Bytes;
use gristmill_grains::{Access, ActivationId, ChainLink, GrainId, GrainType, RequestContext, codec};

use super::bytes::{Fields, Malformed};
use super::message::{ChainEntry, Control, Location, Message, NotHere, Request, Response, limits};
use crate::Incarnation;

/// A body up to so many bytes is copied: a slice of it would keep all alive that was read with it.
const COPIED: usize = 1024;

impl Message {
    /// The message of this kind and these bytes. Every byte must belong to it.
    ///
    /// # Errors
    /// An unknown kind, a field that is cut off, over its limit or no such value, or bytes left over.
    pub fn decode(kind: u8, payload: Bytes) -> Result<Self, Malformed> {
        if payload.len() > limits::MESSAGE {
            return Err(Malformed { field: "message" });
        }
        let mut fields = Fields::new(&payload);
        let message = match kind {
            1 => Self::Request(request(&mut fields, &payload)?),
            2 => Self::Response(response(&mut fields, &payload)?),
            3 => Self::NotHere(not_here(&mut fields)?),
            4 => Self::Cancel { correlation: fields.u64("correlation")? },
            5 => Self::Control(control(&mut fields, &payload)?),
            6 => Self::ControlReply(control(&mut fields, &payload)?),
            7 => Self::Probe { number: fields.u64("probe")? },
            8 => Self::ProbeAck { number: fields.u64("probe")? },
            9 => Self::ViewHint { version: fields.u64("view")? },
            10 => Self::Goodbye,
            _ => return Err(Malformed { field: "kind of message" }),
        };
        fields.end("end of message")?;
        Ok(message)
    }
}

fn request(fields: &mut Fields<'_>, whole: &Bytes) -> Result<Request, Malformed> {
    let correlation = fields.u64("correlation")?;
    let method = fields.u32("method")?;
    let remaining_ms = fields.u32("remaining time")?;
    let one_way = fields.flag("one-way flag")?;
    let flags = fields.u8("flags")?;
    let target = grain(fields)?;
    let interface = fields.short("interface name")?.to_owned().into();
    let length = count(fields, limits::CHAIN, "call chain")?;
    let mut chain = Vec::with_capacity(length);
    for _ in 0..length {
        chain.push(entry(fields)?);
    }
    let mut context = RequestContext::default();
    for _ in 0..count(fields, limits::CONTEXT, "request context")? {
        let key = fields.short("request context")?;
        context = context.with(key, fields.long(limits::CONTEXT_VALUE, "request context")?);
    }
    let body = body(fields, whole)?;
    Ok(Request { correlation, target, interface, method, remaining_ms, one_way, flags, chain, context, body })
}

fn count(fields: &mut Fields<'_>, max: usize, field: &'static str) -> Result<usize, Malformed> {
    let count = usize::from(fields.u8(field)?);
    if count > max { Err(Malformed { field }) } else { Ok(count) }
}

fn body(fields: &mut Fields<'_>, whole: &Bytes) -> Result<Bytes, Malformed> {
    let body = fields.rest();
    match body.len() {
        0..=COPIED => Ok(Bytes::copy_from_slice(body)),
        size if size > limits::BODY => Err(Malformed { field: "body" }),
        _ => Ok(whole.slice_ref(body)),
    }
}

fn grain(fields: &mut Fields<'_>) -> Result<GrainId, Malformed> {
    let grain_type = GrainType::from_wire(fields.short("grain type")?);
    Ok(GrainId::new(grain_type, fields.long(limits::KEY, "grain key")?))
}

fn entry(fields: &mut Fields<'_>) -> Result<ChainEntry, Malformed> {
    let incarnation = Incarnation::from_u128(fields.id("incarnation")?);
    let turn = fields.u64("turn")?;
    let access = if fields.flag("access")? { Access::Exclusive } else { Access::Shared };
    let link = ChainLink { grain: grain(fields)?, method: fields.short("method name")?.to_owned().into() };
    Ok(ChainEntry { incarnation, turn, access, link })
}

fn response(fields: &mut Fields<'_>, whole: &Bytes) -> Result<Response, Malformed> {
    let correlation = fields.u64("correlation")?;
    if !fields.flag("outcome")? {
        return Ok(Response { correlation, result: Ok(body(fields, whole)?) });
    }
    let fault = fields.rest();
    if fault.len() > limits::FAULT {
        return Err(Malformed { field: "failure" });
    }
    let fault = codec::decode_wire(fault).map_err(|_| Malformed { field: "failure" })?;
    Ok(Response { correlation, result: Err(fault) })
}

fn not_here(fields: &mut Fields<'_>) -> Result<NotHere, Malformed> {
    let correlation = fields.u64("correlation")?;
    let view = fields.u64("view")?;
    let owner = if fields.flag("owner")? { Some(location(fields)?) } else { None };
    Ok(NotHere { correlation, owner, view })
}

fn location(fields: &mut Fields<'_>) -> Result<Location, Malformed> {
    let incarnation = Incarnation::from_u128(fields.id("incarnation")?);
    let activation = ActivationId::from_u128(fields.id("activation")?);
    Ok(Location { incarnation, activation, epoch: fields.u64("epoch")? })
}

fn control(fields: &mut Fields<'_>, whole: &Bytes) -> Result<Control, Malformed> {
    Ok(Control { correlation: fields.u64("correlation")?, body: body(fields, whole)? })
}
