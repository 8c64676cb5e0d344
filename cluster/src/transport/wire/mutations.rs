//! Garbage, truncations, flipped bits and bounds, for every decoder.

use bytes::{Bytes, BytesMut};
use gristmill_grains::{Cause, ChainLink, Fault, GrainId, GrainType, RequestContext};
use proptest::prelude::*;

use super::frame::{Frame, FrameDecoder, FrameEncoder, FrameError, LAST, MAX_PAYLOAD, PART};
use super::hello::{Handshake, HandshakeFrameError, MAX_FRAME};
use super::message::limits;
use super::{ChainEntry, Malformed, Message, Reassembly, ReassemblyError, Request, Response, fuzz};
use crate::Incarnation;

fn entry() -> ChainEntry {
    let grain = GrainId::new(GrainType::new("player"), "alice");
    let link = ChainLink { grain, method: "hit".into() };
    ChainEntry { incarnation: Incarnation::from_u128(1), turn: 1, access: gristmill_grains::Access::Shared, link }
}

fn request(chain: usize, context: RequestContext, body: usize) -> Message {
    Message::Request(Request {
        correlation: 1,
        target: GrainId::new(GrainType::new("player"), "alice"),
        interface: "player".into(),
        method: 1,
        remaining_ms: 1,
        one_way: false,
        flags: 0,
        chain: vec![entry(); chain],
        context,
        body: Bytes::from(vec![7; body]),
    })
}

fn context(values: usize) -> RequestContext {
    (0..values).fold(RequestContext::default(), |context, n| context.with(n.to_string(), "value"))
}

fn decode(message: &Message) -> Result<Message, Malformed> {
    let encoded = message.encode().unwrap();
    Message::decode(encoded.kind, encoded.to_bytes())
}

#[test]
fn what_is_over_a_limit_is_refused_by_its_sender() {
    let field = |message: Message| message.encode().unwrap_err().field;
    assert_eq!(field(request(limits::CHAIN + 1, context(0), 0)), "call chain");
    assert_eq!(field(request(0, context(limits::CONTEXT + 1), 0)), "request context");
    let value = "v".repeat(limits::CONTEXT_VALUE + 1);
    assert_eq!(field(request(0, RequestContext::default().with("k", value), 0)), "request context");
    assert_eq!(field(request(0, context(0), limits::BODY + 1)), "body");
    assert!(decode(&request(limits::CHAIN, context(limits::CONTEXT), limits::BODY)).is_ok());
}

#[test]
fn a_failure_too_large_to_travel_still_arrives_as_one() {
    let cause = Cause::Panicked { message: "x".repeat(limits::FAULT) };
    let fault = Fault::maybe_executed_with(cause);
    let message = decode(&Message::Response(Response { correlation: 1, result: Err(fault) })).unwrap();
    let Message::Response(Response { result: Err(fault), .. }) = message else { panic!("{message:?}") };
    assert!(matches!(fault.cause(), Cause::Codec { .. }) && fault.maybe_executed());
}

#[test]
fn oversize_frames_are_refused_before_they_are_waited_for() {
    let mut input = BytesMut::from(&[0xff; 18][..]);
    assert_eq!(FrameDecoder::default().next(&mut input), Err(FrameError::Oversize { length: u32::MAX }));
    let length = MAX_FRAME as u32;
    let mut hello = length.to_le_bytes().to_vec();
    hello.extend_from_slice(&[0; 5]);
    assert_eq!(Handshake::decode(&hello), Err(HandshakeFrameError::Oversize { length }));
}

fn part(id: u32, flags: u8, size: usize) -> Frame {
    let mut payload = id.to_le_bytes().to_vec();
    payload.resize(4 + size, 0);
    Frame { kind: 1, flags, payload: payload.into() }
}

#[test]
fn reassembly_is_bounded_in_every_direction() {
    let mut one = Reassembly::default();
    let mut large = || one.push(part(1, PART, MAX_PAYLOAD - 4));
    assert_eq!(std::iter::repeat_with(&mut large).find_map(Result::err), Some(ReassemblyError::Oversize { id: 1 }));

    let mut many = Reassembly::default();
    let error = (0..).find_map(|id| many.push(part(id, PART, 1)).err());
    assert_eq!((error, many.incomplete()), (Some(ReassemblyError::TooMany), 16));

    let mut wide = Reassembly::default();
    let error = (0..).find_map(|n| wide.push(part(n % 16, PART, MAX_PAYLOAD - 4)).err());
    assert_eq!(error, Some(ReassemblyError::TooMany));

    let mut odd = Reassembly::default();
    assert_eq!(odd.push(part(1, PART, 0)), Err(ReassemblyError::Empty { id: 1 }));
    assert_eq!(odd.push(Frame { kind: 1, flags: PART, payload: Bytes::new() }), Err(ReassemblyError::Unnumbered));
    assert_eq!(odd.push(part(2, PART, 1)), Ok(None));
    assert_eq!(odd.push(Frame { kind: 2, ..part(2, PART | LAST, 1) }), Err(ReassemblyError::Kind { id: 2 }));
}

/// Valid bytes to start from: frames, a handshake, messages by kind.
fn samples() -> Vec<Vec<u8>> {
    let message = request(3, context(3), 100).encode().unwrap().to_bytes();
    let fault = Fault::not_executed(Cause::Deadlock { chain: vec![entry().link; 5] });
    let response = Message::Response(Response { correlation: 1, result: Err(fault) }).encode().unwrap().to_bytes();
    let mut frames = BytesMut::new();
    let mut encoder = FrameEncoder::default();
    encoder.put(&mut frames, 1, 0, &[&message]);
    encoder.put(&mut frames, 2, 0, &[&response]);
    let refused = Handshake::Refused(super::hello::Refusal::Dead).encode().unwrap();
    vec![[&[1][..], &message].concat(), [&[2][..], &response].concat(), frames.to_vec(), refused.to_vec()]
}

fn every_decoder(data: &[u8]) {
    fuzz::control(data);
    fuzz::frames(data);
    fuzz::handshake(data);
    fuzz::message(data);
    fuzz::reassembly(data);
}

#[test]
fn every_truncation_of_a_message_is_refused_or_only_a_shorter_body() {
    for sample in samples() {
        for end in 0..sample.len() {
            every_decoder(&sample[..end]);
        }
    }
    let whole = request(3, context(3), 0).encode().unwrap().to_bytes();
    for end in 0..whole.len() {
        assert!(Message::decode(1, whole.slice(..end)).is_err(), "cut at {end}");
    }
}

proptest! {
    #[test]
    fn no_decoder_panics_on_garbage(data in prop::collection::vec(any::<u8>(), 0..1000)) {
        every_decoder(&data);
    }

    #[test]
    fn no_decoder_panics_on_flipped_bits(
        which in 0..4_usize,
        flips in prop::collection::vec((any::<prop::sample::Index>(), 0..8_u8), 1..6),
    ) {
        let mut data = samples().swap_remove(which);
        for (at, bit) in flips {
            let at = at.index(data.len());
            data[at] ^= 1 << bit;
        }
        every_decoder(&data);
    }

    #[test]
    fn a_flipped_bit_in_a_frame_is_noticed(at in any::<prop::sample::Index>(), bit in 0..8_u8) {
        let mut frame = BytesMut::new();
        FrameEncoder::default().put(&mut frame, 1, 0, &[&[1; 500]]);
        let at = at.index(frame.len());
        frame[at] ^= 1 << bit;
        // A length made longer asks for more bytes; anything else is an error.
        prop_assert!(!matches!(FrameDecoder::default().next(&mut frame), Ok(Some(_))));
    }

    #[test]
    fn parts_in_any_interleaving_give_the_messages(order in prop::collection::vec(0..4_u32, 0..40)) {
        let mut reassembly = Reassembly::default();
        let mut sent = [0; 4];
        for id in order {
            sent[id as usize] += 1;
            prop_assert_eq!(reassembly.push(part(id, PART, 10)), Ok(None));
        }
        for id in 0..4 {
            let whole = reassembly.push(part(id, PART | LAST, 5)).unwrap().unwrap();
            prop_assert_eq!(whole.1.len(), sent[id as usize] * 10 + 5);
        }
        prop_assert_eq!(reassembly.incomplete(), 0);
    }
}
