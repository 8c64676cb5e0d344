//! The exact bytes of every message and every frame of the handshake. A change here breaks clusters of mixed versions: it
//! needs a new protocol version.

use bytes::{Bytes, BytesMut};
use gristmill_grains::{Access, ActivationId, Cause, ChainLink, Fault, GrainId, GrainType, RequestContext};

use super::frame::{FrameDecoder, FrameEncoder, HEADER, LAST, PART};
use super::hello::{Handshake, Hello, Identity, Refusal, Role, Welcome};
use super::{ChainEntry, Control, Location, Message, NotHere, Request, Response};
use crate::Incarnation;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn strip(text: &str) -> String {
    text.split_whitespace().collect()
}

const INCARNATION: Incarnation = Incarnation::from_u128(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff);

fn grain() -> GrainId {
    GrainId::new(GrainType::new("player"), "alice")
}

fn messages() -> Vec<(Message, &'static str)> {
    let entry = ChainEntry {
        incarnation: INCARNATION,
        turn: 9,
        access: Access::Exclusive,
        link: ChainLink { grain: grain(), method: "hit".into() },
    };
    let request = Request {
        correlation: 0x0102_0304_0506_0708,
        target: grain(),
        interface: "player".into(),
        method: 0xaabb_ccdd,
        remaining_ms: 30_000,
        one_way: true,
        flags: 0x80,
        chain: vec![entry],
        context: RequestContext::default().with("k", "v"),
        body: Bytes::from_static(b"body"),
    };
    let activation = ActivationId::from_u128(1);
    let owner = Location { incarnation: INCARNATION, activation, epoch: 3 };
    let control = Control { correlation: 5, body: Bytes::from_static(b"ask") };
    let fault = Fault::maybe_executed_with(Cause::Overloaded { limit: 7 }).of(&grain()).in_method("hit");
    vec![
        (
            Message::Request(request),
            "0807060504030201 ddccbbaa 30750000 01 80 06706c61796572 0500616c696365 06706c61796572
             01 00112233445566778899aabbccddeeff 0900000000000000 01 06706c61796572 0500616c696365 03686974
             01 016b 010076 626f6479",
        ),
        (
            Message::Response(Response { correlation: 1, result: Ok(Bytes::from_static(b"ok")) }),
            "0100000000000000 00 6f6b",
        ),
        (
            Message::Response(Response { correlation: 1, result: Err(fault) }),
            "0100000000000000 01 02 07 01 01 06706c61796572 05616c696365 01 03686974 00",
        ),
        (
            Message::NotHere(NotHere { correlation: 2, owner: Some(owner), view: 4 }),
            "0200000000000000 0400000000000000 01 00112233445566778899aabbccddeeff
             00000000000000000000000000000001 0300000000000000",
        ),
        (Message::NotHere(NotHere { correlation: 2, owner: None, view: 4 }), "0200000000000000 0400000000000000 00"),
        (Message::Cancel { correlation: 3 }, "0300000000000000"),
        (Message::Control(control.clone()), "0500000000000000 61736b"),
        (Message::ControlReply(control), "0500000000000000 61736b"),
        (Message::Probe { number: 6 }, "0600000000000000"),
        (Message::ProbeAck { number: 6 }, "0600000000000000"),
        (Message::ViewHint { version: 7 }, "0700000000000000"),
        (Message::Goodbye, ""),
    ]
}

#[test]
fn messages_keep_their_bytes() {
    let mut kinds = Vec::new();
    for (message, golden) in messages() {
        let encoded = message.encode().unwrap();
        assert_eq!(hex(&encoded.to_bytes()), strip(golden), "{message:?}");
        let decoded = Message::decode(encoded.kind, encoded.to_bytes()).unwrap();
        assert_eq!(format!("{decoded:?}"), format!("{message:?}"));
        kinds.push(encoded.kind);
    }
    assert_eq!(kinds, [1, 2, 2, 3, 3, 4, 5, 6, 7, 8, 9, 10]);
}

/// A small one would keep all alive that was read with it.
#[test]
fn a_large_body_is_a_slice_of_what_was_read_a_small_one_a_copy() {
    for (size, is_slice) in [(1, false), (1024, false), (1025, true), (100_000, true)] {
        let body = Bytes::from(vec![7; size]);
        let payload = Message::Control(Control { correlation: 5, body: body.clone() }).encode().unwrap().to_bytes();
        let read = payload.as_ptr_range();
        let Message::Control(control) = Message::decode(5, payload.clone()).unwrap() else { panic!("another kind") };
        assert_eq!(control.body, body);
        assert_eq!(read.contains(&control.body.as_ptr()), is_slice, "{size} bytes");
    }
}

#[test]
fn frames_keep_their_bytes() {
    let (mut encoder, mut out) = (FrameEncoder::default(), BytesMut::new());
    encoder.put(&mut out, 7, 0, &[&6_u64.to_le_bytes()]);
    encoder.put(&mut out, 1, PART | LAST, &[&1_u32.to_le_bytes(), b"end"]);
    let golden = "08000000 0000000000000000 07 00 CRC0 0600000000000000
                  07000000 0100000000000000 01 03 CRC1 01000000 656e64";
    // The checksums, over all of the frame but themselves.
    let sum = |from: usize, to: usize| {
        let mut covered = out[from..from + HEADER - 4].to_vec();
        covered.extend_from_slice(&out[from + HEADER..to]);
        crc32c::crc32c(&covered).to_le_bytes()
    };
    let golden = strip(golden).replace("CRC0", &hex(&sum(0, 26))).replace("CRC1", &hex(&sum(26, 51)));
    assert_eq!(hex(&out), golden);
    assert_eq!(hex(&sum(0, 26)), "dd191911");
    let mut decoder = FrameDecoder::default();
    assert_eq!(decoder.next(&mut out).unwrap().map(|frame| frame.kind), Some(7));
    assert_eq!(decoder.next(&mut out).unwrap().map(|frame| frame.flags), Some(3));
}

fn identity() -> Identity {
    Identity {
        cluster: "test".to_owned(),
        role: Role::Client,
        incarnation: INCARNATION,
        join: 2,
        address: "a:1".to_owned(),
    }
}

fn handshakes() -> Vec<(Handshake, u8, String)> {
    let who = "01 00112233445566778899aabbccddeeff 0200000000000000 0474657374 0300613a31";
    let magic = "475253544d494c4c";
    let (fives, sixes) = ("05".repeat(32), "06".repeat(32));
    let hello = Hello { versions: (1, 2), secret: true, from: identity(), expected: Some(INCARNATION), nonce: [5; 32] };
    let welcome = Welcome { version: 1, secret: true, from: identity(), nonce: [5; 32], proof: [6; 32] };
    let id = "00112233445566778899aabbccddeeff";
    let mut all = vec![
        (Handshake::Hello(hello.clone()), 1, format!("{magic} 0100 0200 01 {who} 01 {id} {fives}")),
        (Handshake::Hello(Hello { expected: None, ..hello }), 1, format!("{magic} 0100 0200 01 {who} 00 {fives}")),
        (Handshake::Welcome(welcome), 2, format!("{magic} 0100 01 {who} {fives} {sixes}")),
        (Handshake::Proof([6; 32]), 3, sixes),
        (Handshake::Ready, 4, String::new()),
    ];
    let refusals = [
        (Refusal::WrongCluster, "01".to_owned()),
        (Refusal::WrongSecret, "02".to_owned()),
        (Refusal::SecretMismatch, "03".to_owned()),
        (Refusal::ProtocolTooOld { min: 1, max: 2 }, "04 0100 0200".to_owned()),
        (Refusal::ProtocolTooNew { min: 1, max: 2 }, "05 0100 0200".to_owned()),
        (Refusal::NotExpected { actual: INCARNATION }, format!("06 {id}")),
        (Refusal::AddressTaken { by: INCARNATION }, format!("07 {id}")),
        (Refusal::Dead, "08".to_owned()),
        (Refusal::Busy, "09".to_owned()),
        (Refusal::Malformed, "0a".to_owned()),
        (Refusal::Stopping, "0b".to_owned()),
    ];
    all.extend(refusals.into_iter().map(|(refusal, bytes)| (Handshake::Refused(refusal), 5, bytes)));
    all
}

#[test]
fn handshakes_keep_their_bytes() {
    for (frame, kind, golden) in handshakes() {
        let bytes = frame.encode().unwrap();
        let payload = strip(&golden);
        let mut header = u32::try_from(payload.len() / 2).unwrap().to_le_bytes().to_vec();
        header.push(kind);
        let checksum = crc32c::crc32c_append(crc32c::crc32c(&header), &bytes[9..]).to_le_bytes();
        assert_eq!(hex(&bytes), format!("{}{}{payload}", hex(&header), hex(&checksum)), "{frame:?}");
        assert_eq!(Handshake::decode(&bytes).unwrap(), Some((frame, bytes.len())));
    }
}

#[test]
fn proofs_keep_their_bytes() {
    use crate::transport::Secret;
    use crate::transport::auth::Side;
    let secret = Secret::new("0123456789abcdef").unwrap();
    let transcript: [&[u8]; 2] = [b"hello", b"welcome"];
    assert_eq!(
        hex(&secret.prove(Side::Listener, &transcript)),
        "a8f00eef8540fad05cba048c1f338b82473102885e3b42c59feabe34718141e2"
    );
    assert_eq!(
        hex(&secret.prove(Side::Dialer, &transcript)),
        "781c11ce690f45c22aba5dce91d525442ada6dce61f181fa595a0b8bfcb9ddb9"
    );
    assert!(secret.verify(Side::Dialer, &transcript, &secret.prove(Side::Dialer, &transcript)));
    assert!(!secret.verify(Side::Dialer, &transcript, &secret.prove(Side::Listener, &transcript)));
}
