//! The arenas. A map is static data named in the match's configuration, so stored matches stay small.

use serde::{Deserialize, Serialize};

use super::geometry::{Heading, Point, Rect};
use super::items::ItemKind;

/// How wide a fighter is, as the radius of a disc, in milli-units.
pub const FIGHTER_RADIUS: i32 = 400;

/// Which arena a match is played in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum MapName {
    /// A small open square with a bar across the middle: fights start at once.
    Pit,
    /// Four pillars around a pool of acid.
    #[default]
    Pillars,
}

/// The fixed geometry of an arena.
#[derive(Debug)]
pub struct Map {
    /// Its far corner, in milli-units; the near one is the origin.
    pub size: Point,
    /// What blocks movement and shots.
    pub walls: &'static [Rect],
    /// What burns whoever stands in it.
    pub hazards: &'static [Rect],
    /// Where fighters come in.
    pub spawns: &'static [Point],
    /// Where items appear, and which.
    pub pads: &'static [(Point, ItemKind)],
}

const PIT: Map = Map {
    size: Point::new(20_000, 20_000),
    walls: &[Rect::new(7_000, 9_500, 13_000, 10_500)],
    hazards: &[],
    spawns: &[
        Point::new(2_000, 2_000),
        Point::new(18_000, 18_000),
        Point::new(2_000, 18_000),
        Point::new(18_000, 2_000),
        Point::new(10_000, 2_000),
        Point::new(10_000, 18_000),
    ],
    pads: &[
        (Point::new(10_000, 7_000), ItemKind::Potion),
        (Point::new(10_000, 13_000), ItemKind::Plate),
        (Point::new(4_000, 10_000), ItemKind::Rifle),
        (Point::new(16_000, 10_000), ItemKind::VenomBlade),
    ],
};

const PILLARS: Map = Map {
    size: Point::new(32_000, 32_000),
    walls: &[
        Rect::new(8_000, 8_000, 11_000, 11_000),
        Rect::new(21_000, 8_000, 24_000, 11_000),
        Rect::new(8_000, 21_000, 11_000, 24_000),
        Rect::new(21_000, 21_000, 24_000, 24_000),
    ],
    hazards: &[Rect::new(14_000, 14_000, 18_000, 18_000)],
    spawns: &[
        Point::new(2_000, 2_000),
        Point::new(30_000, 30_000),
        Point::new(2_000, 30_000),
        Point::new(30_000, 2_000),
        Point::new(16_000, 2_000),
        Point::new(16_000, 30_000),
        Point::new(2_000, 16_000),
        Point::new(30_000, 16_000),
    ],
    pads: &[
        (Point::new(6_000, 16_000), ItemKind::Potion),
        (Point::new(26_000, 16_000), ItemKind::Potion),
        (Point::new(16_000, 6_000), ItemKind::Plate),
        (Point::new(16_000, 26_000), ItemKind::RageCharm),
        (Point::new(9_500, 13_000), ItemKind::HasteCharm),
        (Point::new(22_500, 19_000), ItemKind::HasteCharm),
        (Point::new(22_500, 13_000), ItemKind::Rifle),
        (Point::new(9_500, 19_000), ItemKind::VenomBlade),
        (Point::new(16_000, 16_000), ItemKind::WardCharm),
    ],
};

impl MapName {
    /// The arena of this name.
    pub fn map(self) -> &'static Map {
        match self {
            Self::Pit => &PIT,
            Self::Pillars => &PILLARS,
        }
    }
}

impl Map {
    /// Where a fighter at `from` ends after walking `length` milli-units: it slides along walls and stays inside.
    ///
    /// Each axis moves on its own. No wall is thinner than one tick's walk at the slowest allowed tick rate.
    pub fn walk(&self, from: Point, heading: Heading, length: i32) -> Point {
        let (dx, dy) = heading.step(length);
        let (low, high) = (FIGHTER_RADIUS, |edge: i32| edge - FIGHTER_RADIUS);
        let mut at = Point::new((from.x + dx).clamp(low, high(self.size.x)), from.y);
        if let Some(wall) = self.blocking(at) {
            at.x = if dx > 0 { wall.min.x } else { wall.max.x };
        }
        at.y = (at.y + dy).clamp(low, high(self.size.y));
        if let Some(wall) = self.blocking(at) {
            at.y = if dy > 0 { wall.min.y } else { wall.max.y };
        }
        at
    }

    /// Whether no wall stands between two points.
    pub fn sees(&self, a: Point, b: Point) -> bool {
        !self.walls.iter().any(|w| w.cuts(a, b))
    }

    /// Whether a fighter may stand here: inside the arena and not in a wall.
    pub fn is_free(&self, p: Point) -> bool {
        let inside = |c: i32, edge: i32| (FIGHTER_RADIUS..=edge - FIGHTER_RADIUS).contains(&c);
        inside(p.x, self.size.x) && inside(p.y, self.size.y) && self.blocking(p).is_none()
    }

    /// The wall, grown by a fighter's radius, that `p` is in.
    fn blocking(&self, p: Point) -> Option<Rect> {
        self.walls.iter().map(|w| w.grown(FIGHTER_RADIUS)).find(|w| w.contains(p))
    }

    /// Whether standing here burns.
    pub fn burns(&self, p: Point) -> bool {
        self.hazards.iter().any(|h| h.contains(p))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spawns_and_pads_are_reachable_places() {
        for name in [MapName::Pit, MapName::Pillars] {
            let map = name.map();
            for p in map.spawns.iter().chain(map.pads.iter().map(|(p, _)| p)) {
                assert!(map.is_free(*p), "{name:?}: {p:?}");
            }
            assert!(map.spawns.iter().all(|p| !map.burns(*p)));
        }
    }

    #[test]
    fn a_fighter_slides_along_a_wall() {
        let map = MapName::Pit.map();
        let start = Point::new(10_000, 9_500 - FIGHTER_RADIUS);
        let end = map.walk(start, Heading { x: 1, y: 1 }, 200);
        assert_eq!((end.x, end.y), (10_141, start.y));
    }

    proptest::proptest! {
        #[test]
        fn a_walk_ends_in_a_free_place_no_farther_than_its_length(
            x in 0i32..32_000, y in 0i32..32_000, hx: i8, hy: i8, length in 0i32..900,
        ) {
            for map in [MapName::Pit.map(), MapName::Pillars.map()] {
                let start = Point::new(x, y);
                if map.is_free(start) {
                    let end = map.walk(start, Heading { x: hx, y: hy }, length);
                    proptest::prop_assert!(map.is_free(end), "{start:?} to {end:?}");
                    proptest::prop_assert!(start.within(end, length), "{start:?} to {end:?}");
                }
            }
        }
    }
}
