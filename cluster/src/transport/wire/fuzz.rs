//! One function per decoder: takes any bytes, panics only where a promise is broken. Called by `cluster/fuzz` and tests.

use std::fmt::Debug;

use bytes::{Bytes, BytesMut};
use gristmill_grains::codec;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::frame::{Frame, FrameDecoder, FrameEncoder, LAST, PART};
use super::hello::Handshake;
use super::{Message, Reassembly};

/// Frames out of any bytes; what decodes encodes back to the same bytes.
pub fn frames(data: &[u8]) {
    let mut input = BytesMut::from(data);
    let (mut decoder, mut encoder, mut again) = (FrameDecoder::default(), FrameEncoder::default(), BytesMut::new());
    while let Ok(Some(frame)) = decoder.next(&mut input) {
        encoder.put(&mut again, frame.kind, frame.flags, &[&frame.payload]);
    }
    assert_eq!(again[..], data[..again.len()], "a frame that was read is not what was written");
}

/// A handshake frame out of any bytes, once as they are and once with a header that fits them, which the checksum would
/// hide otherwise; what decodes encodes back to the same bytes.
pub fn handshake(data: &[u8]) {
    handshake_frame(data);
    let Some((kind, payload)) = data.split_first() else { return };
    let mut framed = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_le_bytes().to_vec();
    framed.push(*kind);
    let checksum = crc32c::crc32c_append(crc32c::crc32c(&framed), payload);
    framed.extend_from_slice(&checksum.to_le_bytes());
    framed.extend_from_slice(payload);
    handshake_frame(&framed);
}

fn handshake_frame(data: &[u8]) {
    let Ok(Some((frame, used))) = Handshake::decode(data) else { return };
    let again = frame.encode();
    assert_eq!(again.as_deref().ok(), Some(&data[..used]), "a frame that was read is not what was written");
}

/// A message out of any bytes (the first is its kind); what decodes encodes to what decodes to the same.
pub fn message(data: &[u8]) {
    let Some((kind, payload)) = data.split_first() else { return };
    let Ok(message) = Message::decode(*kind, Bytes::copy_from_slice(payload)) else { return };
    let Ok(encoded) = message.encode() else { panic!("decoded, but cannot be encoded: {message:?}") };
    let Ok(again) = Message::decode(*kind, encoded.to_bytes()) else { panic!("does not decode again: {message:?}") };
    assert_eq!(format!("{again:?}"), format!("{message:?}"), "not the message that was encoded");
}

/// Parts out of any bytes: each run is a kind, flags, a length and as many bytes.
pub fn reassembly(data: &[u8]) {
    let (mut rest, mut reassembly) = (data, Reassembly::default());
    while let [kind, flags, length, tail @ ..] = rest {
        let (payload, tail) = tail.split_at(tail.len().min((*length).into()));
        let frame = Frame { kind: *kind, flags: flags & (PART | LAST), payload: Bytes::copy_from_slice(payload) };
        match reassembly.push(frame) {
            Ok(Some((kind, bytes))) => drop(Message::decode(kind, bytes)),
            Ok(None) => {}
            Err(_) => return,
        }
        rest = tail;
    }
}

/// What silos ask each other, out of any bytes; what decodes encodes to what decodes to the same.
pub fn control(data: &[u8]) {
    same_again::<crate::Talk>(data);
    same_again::<crate::Answer>(data);
}

fn same_again<T: Serialize + DeserializeOwned + Debug>(data: &[u8]) {
    let Ok(value) = codec::decode_wire::<T>(data) else { return };
    let Ok(encoded) = codec::encode_wire(&value) else { panic!("decoded, but cannot be encoded: {value:?}") };
    let Ok(again) = codec::decode_wire::<T>(&encoded) else { panic!("does not decode again: {value:?}") };
    assert_eq!(format!("{again:?}"), format!("{value:?}"), "not the value that was encoded");
}
