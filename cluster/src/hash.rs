//! Where things belong, by hash: XXH3 of 64 bits (Yann Collet's xxHash, specification 0.2.0), without a seed.
//!
//! Part of the cluster's protocol: all silos of a cluster must agree on it, whatever they were built with.

use gristmill_grains::GrainId;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::Incarnation;

/// Names up to this length are hashed in one go: what hashes part by part is large, and takes longer to make.
const IN_ONE: usize = 128;

/// The hash of a grain: XXH3 (64 bits) of `type/key`.
pub fn of_grain(grain: &GrainId) -> u64 {
    let parts = [grain.grain_type().as_str().as_bytes(), b"/", grain.key().as_bytes()];
    let mut whole = [0; IN_ONE];
    let mut length = 0;
    for part in parts {
        let Some(place) = whole.get_mut(length..length + part.len()) else { return of_parts(parts) };
        place.copy_from_slice(part);
        length += part.len();
    }
    xxh3_64(&whole[..length])
}

/// The hash of a long name.
#[cold]
fn of_parts(parts: [&[u8]; 3]) -> u64 {
    let mut hash = Xxh3::new();
    parts.iter().for_each(|part| hash.update(part));
    hash.digest()
}

/// The hash of a turn, which its silo numbers.
pub fn of_turn(silo: Incarnation, turn: u64) -> u64 {
    let mut hash = Xxh3::with_seed(turn);
    hash.update(&silo.as_u128().to_le_bytes());
    hash.digest()
}

/// The silo with the highest weight for this hash: rendezvous hashing (Thaler and Ravishankar, 1996). When one silo comes
/// or goes, only what it wins or held moves.
pub fn rendezvous(hash: u64, silos: impl Iterator<Item = Incarnation>) -> Option<Incarnation> {
    let weight = |silo: Incarnation| {
        let mut weight = Xxh3::with_seed(hash);
        weight.update(&silo.as_u128().to_le_bytes());
        weight.digest()
    };
    silos.max_by_key(|silo| (weight(*silo), *silo))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use gristmill_grains::GrainType;

    use super::*;

    fn grain(number: usize) -> GrainId {
        GrainId::new(GrainType::new("player"), number.to_string())
    }

    #[test]
    fn hashes_are_those_of_the_protocol() {
        let alice = GrainId::new(GrainType::new("player"), "alice");
        let silos = (1..=3).map(Incarnation::from_u128);
        assert_eq!(of_grain(&alice), 0xee57_a4ef_85bd_aa33);
        assert_eq!(of_grain(&alice), xxhash_rust::xxh3::xxh3_64(b"player/alice"));
        assert_eq!(rendezvous(of_grain(&alice), silos), Some(Incarnation::from_u128(2)));
    }

    #[test]
    fn a_silo_that_leaves_moves_only_what_it_held_and_shares_are_even() {
        let silos = |without: u128| (1..=5).filter(move |n| *n != without).map(Incarnation::from_u128);
        let mut shares = BTreeMap::<u128, usize>::new();
        for number in 0..10_000 {
            let hash = of_grain(&grain(number));
            let before = rendezvous(hash, silos(0)).unwrap().as_u128();
            let after = rendezvous(hash, silos(2)).unwrap().as_u128();
            assert!(before == after || before == 2);
            *shares.entry(before).or_default() += 1;
        }
        assert!(shares.values().all(|share| (1_800..2_200).contains(share)), "{shares:?}");
    }
}
