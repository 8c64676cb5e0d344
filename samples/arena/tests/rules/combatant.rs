use arena::rules::combatant::{Combatant, MAX_HEALTH};
use arena::rules::{Boon, Buff, BuffKind, DamageKind, Grant, Hit, PlayerId, Refusal, Stamp};

fn alice() -> Combatant {
    let mut alice = Combatant::default();
    alice.enter("m".into(), 30);
    alice
}

fn stamp(epoch: u64, seq: u32, life: u32) -> Stamp {
    Stamp { match_id: "m".into(), epoch, seq, life, tick: seq }
}

fn hit(stamp: Stamp, amount: u32) -> Hit {
    Hit { stamp, target: "alice".into(), attacker: Some("bob".into()), amount, kind: DamageKind::Hazard }
}

fn grant(stamp: Stamp, boon: Boon) -> Grant {
    Grant { stamp, target: "alice".into(), from: Some("bob".into()), boon }
}

fn buff(kind: BuffKind, strength: u32, lasts: u32) -> Boon {
    Boon::Buff(Buff { kind, strength, lasts })
}

#[test]
fn armour_takes_its_share_by_kind_of_damage() {
    for (kind, lost, armour) in [
        (DamageKind::Kinetic, 10, 30),
        (DamageKind::Energy, 20, 40),
        (DamageKind::Poison, 30, 50),
        (DamageKind::Hazard, 30, 50),
    ] {
        let mut alice = alice();
        alice.take_grant(&grant(stamp(0, 1, 1), Boon::Armour(50)));
        let outcome = alice.take_damage(30, kind, None);
        assert_eq!((outcome.lost, alice.vitals().armour), (lost, armour), "{kind:?}");
    }
}

#[test]
fn armour_that_breaks_lets_the_rest_through() {
    let mut alice = alice();
    alice.take_grant(&grant(stamp(0, 1, 1), Boon::Armour(5)));
    assert_eq!(alice.take_damage(30, DamageKind::Kinetic, None).lost, 25);
}

#[test]
fn a_ward_takes_its_share_until_it_ends() {
    let mut alice = alice();
    alice.take_grant(&grant(stamp(0, 1, 1), buff(BuffKind::Ward, 400, 10)));
    assert_eq!(alice.take_hit(&hit(stamp(0, 10, 1), 20)).lost, 12);
    assert_eq!(alice.take_hit(&hit(stamp(0, 11, 1), 20)).lost, 20);
}

#[test]
fn a_poison_kill_is_credited_to_the_poisoner() {
    let mut alice = alice();
    alice.take_grant(&grant(stamp(0, 1, 1), buff(BuffKind::Poison, 30, 200)));
    assert_eq!(alice.advance(16), None);
    assert_eq!(alice.vitals().health, 70);
    assert_eq!(alice.advance(500), Some(1));
    let death = alice.unconfirmed_death().unwrap();
    assert_eq!((death.source.clone(), death.kind), (Some(PlayerId::from("bob")), DamageKind::Poison));
}

#[test]
fn a_hit_delivered_twice_counts_once() {
    let mut alice = alice();
    alice.take_hit(&hit(stamp(0, 2, 1), 10));
    assert_eq!(alice.take_hit(&hit(stamp(0, 2, 1), 10)).refused, Some(Refusal::Duplicate));
    alice.take_hit(&hit(stamp(0, 1, 1), 10));
    assert_eq!(alice.vitals().health, MAX_HEALTH - 20, "a late hit still counts");
}

#[test]
fn a_restored_match_is_heard_and_the_one_it_replaced_is_not() {
    let mut alice = alice();
    alice.take_hit(&hit(stamp(1, 1, 1), 10));
    assert_eq!(alice.take_hit(&hit(stamp(2, 1, 1), 10)).refused, None);
    assert_eq!(alice.take_hit(&hit(stamp(1, 2, 1), 10)).refused, Some(Refusal::OldEpoch));
    assert_eq!(alice.vitals().health, MAX_HEALTH - 20);
}

#[test]
fn any_message_of_the_next_life_begins_it() {
    let mut alice = alice();
    assert_eq!(alice.take_hit(&hit(stamp(0, 1, 1), 500)).died, Some(1));
    assert_eq!(alice.take_hit(&hit(stamp(0, 2, 1), 10)).refused, Some(Refusal::OldLife));
    assert_eq!(alice.take_hit(&hit(stamp(0, 3, 3), 10)).refused, Some(Refusal::FutureLife));
    let outcome = alice.take_hit(&hit(stamp(0, 4, 2), 10));
    assert!(outcome.alive && alice.unconfirmed_death().is_none());
    assert_eq!(alice.vitals().health, MAX_HEALTH - 10);
    assert_eq!(alice.take_hit(&hit(stamp(0, 5, 1), 10)).refused, Some(Refusal::OldLife));
}

#[test]
fn buffs_that_act_in_the_match_and_other_matches_are_refused() {
    let mut alice = alice();
    let haste = grant(stamp(0, 1, 1), buff(BuffKind::Haste, 400, 10));
    assert_eq!(alice.take_grant(&haste).refused, Some(Refusal::ActsInMatch));
    alice.leave();
    assert_eq!(alice.take_hit(&hit(stamp(0, 2, 1), 10)).refused, Some(Refusal::NotHere));
}

#[test]
fn absurd_numbers_do_not_overflow() {
    let mut alice = alice();
    for (seq, kind) in [(1, BuffKind::Regen), (2, BuffKind::Ward), (3, BuffKind::Poison), (4, BuffKind::Poison)] {
        alice.take_grant(&grant(stamp(0, seq, 1), buff(kind, u32::MAX, u32::MAX)));
    }
    alice.take_grant(&grant(stamp(0, 5, 1), Boon::Armour(u32::MAX)));
    alice.take_damage(u32::MAX, DamageKind::Kinetic, None);
    assert!(!alice.is_alive());
    assert_eq!(alice.advance(u32::MAX), None, "the dead have no buffs");
}
