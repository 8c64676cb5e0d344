//! Records: clears, names, keys, bodies.

use gristmill_grains::{GrainId, GrainType};

use super::rig::{Rig, assert_conflict, assert_fenced, clear, put, stored, tombstone};

/// Every case of this module.
pub async fn all(rig: &Rig) {
    unknown_grain_is_empty(rig).await;
    clear_leaves_a_tombstone(rig).await;
    zombie_cannot_write_after_a_clear(rig).await;
    records_are_independent(rig).await;
    any_record_name(rig).await;
    any_grain_key(rig).await;
    any_body(rig).await;
}

/// A grain nobody has heard of has no records and no last write.
pub async fn unknown_grain_is_empty(rig: &Rig) {
    let opened = rig.must_open(&rig.grain(), rig.fence(1)).await;
    assert_eq!((opened.records, opened.last_write), (vec![], None));
}

/// A cleared record keeps its version, counts on from it, and may be cleared again.
pub async fn clear_leaves_a_tombstone(rig: &Rig) {
    let mut owner = rig.owner().await;
    rig.must_commit(&owner.write([put("state", 0, "a")])).await;
    rig.must_commit(&owner.write([clear("state", 1)])).await;
    assert_eq!(rig.read(&owner).await, [tombstone("state", 2)]);
    let next = rig.owner_of(owner.grain.clone(), 2).await;
    assert_eq!(rig.read(&next).await, [tombstone("state", 2)], "the next owner sees it too");
    let mut next = next;
    rig.must_commit(&next.write([clear("state", 2)])).await;
    rig.must_commit(&next.write([put("state", 3, "")])).await;
    assert_eq!(rig.read(&next).await, [stored("state", 4, "")], "an empty body is not a cleared record");
}

/// A clear does not open the door for writes from before it.
pub async fn zombie_cannot_write_after_a_clear(rig: &Rig) {
    let mut zombie = rig.owner().await;
    rig.must_commit(&zombie.write([put("state", 0, "a")])).await;
    let [as_new, as_next] = [put("state", 0, "zombie"), put("state", 1, "zombie")].map(|put| zombie.write([put]));
    let mut owner = rig.owner_of(zombie.grain.clone(), 2).await;
    rig.must_commit(&owner.write([clear("state", 1)])).await;
    for delayed in [&as_new, &as_next] {
        assert_fenced(rig.commit(delayed).await, Some(owner.fence), "a delayed write of the last owner");
        let mut own = delayed.clone();
        (own.fence, own.write.0) = (owner.fence, 1000);
        assert_conflict(rig.commit(&own).await, "state", own.records[0].expect, 2, "a delayed write of the owner");
    }
    assert_eq!(rig.read(&owner).await, [tombstone("state", 2)]);
}

/// A commit changes the records it names, and no others; nor another grain's of the same name.
pub async fn records_are_independent(rig: &Rig) {
    let [mut one, other] = [rig.owner().await, rig.owner().await];
    rig.must_commit(&one.write([put("a", 0, "1")])).await;
    rig.must_commit(&one.write([put("b", 0, "1")])).await;
    rig.must_commit(&one.write([put("b", 1, "2")])).await;
    assert_eq!(rig.read(&one).await, [stored("a", 1, "1"), stored("b", 2, "2")]);
    assert_eq!(rig.read(&other).await, []);
}

/// A record's name may be any text, also one that looks like an adapter's own.
pub async fn any_record_name(rig: &Rig) {
    let names =
        ["", " ", "a b", "a:b", "v", "v:", "v:a", "d:a", "f", "fence", "w", "{x}", "\n", "\u{0}", "Zoë 🎲", "%41"];
    let mut owner = rig.owner().await;
    let puts: Vec<_> = names.iter().map(|name| put(name, 0, name.to_string())).collect();
    rig.must_commit(&owner.write(puts)).await;
    let mut sorted = names.to_vec();
    sorted.sort_unstable();
    let expected: Vec<_> = sorted.iter().map(|name| stored(name, 1, name.to_string())).collect();
    assert_eq!(rig.read(&owner).await, expected);
}

/// A grain's type and key may be any text, and different ones never meet.
pub async fn any_grain_key(rig: &Rig) {
    let long = "k".repeat(1024);
    let keys = [
        "",
        " ",
        "a b",
        "a/b",
        "/",
        "a/",
        "{",
        "}",
        "{}",
        "{a}",
        "}{",
        "a{b}c",
        "%",
        "%7B",
        "%2F",
        ":",
        "*",
        "?",
        "\n",
        "\r\n",
        "\u{0}",
        "Zoë",
        "Zoe\u{308}",
        "🎲",
        "\"'\\",
        "run",
        &long,
    ];
    let unique = rig.unique();
    let plain = keys.iter().map(|key| (format!("contract-{unique}"), (*key).to_owned()));
    // Joined by a slash, these would be the same.
    let split = [("a", "b/c"), ("a/b", "c"), ("a%2Fb", "c"), ("a/b/c", ""), ("", "a/b/c")]
        .map(|(grain_type, key)| (format!("{unique}{grain_type}"), key.to_owned()));
    let mut owners = Vec::new();
    for (grain_type, key) in plain.chain(split) {
        let grain = GrainId::new(GrainType::from_wire(grain_type), key);
        let opened = rig.must_open(&grain, rig.fence(0)).await;
        assert_eq!(opened.records, [], "{grain:?} is a grain of its own");
        let mut owner = rig.owner_of(grain, 1).await;
        rig.must_commit(&owner.write([put("state", 0, format!("{:?}", owner.grain))])).await;
        owners.push(owner);
    }
    for owner in owners {
        assert_eq!(rig.read(&owner).await, [stored("state", 1, format!("{:?}", owner.grain))]);
    }
}

/// A body may be any bytes: none, every value, a MiB.
pub async fn any_body(rig: &Rig) {
    let every_byte: Vec<u8> = (0..=255).collect();
    let lines = b"\r\n$3\r\n*1\r\n\0\xff\xfe".to_vec();
    let large: Vec<u8> = (0..1024 * 1024_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let mut owner = rig.owner().await;
    for (version, body) in (0..).zip([vec![], every_byte, lines, large]) {
        rig.must_commit(&owner.write([put("state", version, body.clone())])).await;
        let read = rig.read(&owner).await;
        assert!(read == [stored("state", version + 1, body)], "version {} is read as it was written", version + 1);
    }
}
