//! Integer geometry. Lengths are milli-units: 1000 is about one stride of a fighter.
//!
//! No floating point: a match replays bit for bit on any machine. Coordinates stay below 2^17, so products of two
//! differences fit an `i64` with room to spare.

use serde::{Deserialize, Serialize};

/// A place in the arena, in milli-units from its lower left corner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Point {
    /// Milli-units to the right.
    pub x: i32,
    /// Milli-units up.
    pub y: i32,
}

impl Point {
    /// The point at `x`, `y` milli-units.
    pub const fn new(x: i32, y: i32) -> Self {
        Self { x, y }
    }

    /// The square of the distance to `other`, in square milli-units.
    pub fn distance2(self, other: Self) -> i64 {
        let (dx, dy) = self.offset(other);
        dx * dx + dy * dy
    }

    /// Whether `other` is at most `reach` milli-units away.
    pub fn within(self, other: Self, reach: i32) -> bool {
        self.distance2(other) <= i64::from(reach) * i64::from(reach)
    }

    fn offset(self, to: Self) -> (i64, i64) {
        (i64::from(to.x) - i64::from(self.x), i64::from(to.y) - i64::from(self.y))
    }
}

/// A direction; its length does not matter, and zero means "none".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heading {
    /// To the right.
    pub x: i8,
    /// Up.
    pub y: i8,
}

impl Heading {
    /// No direction.
    pub const NONE: Self = Self { x: 0, y: 0 };

    /// The direction from one point to another, within half a degree.
    pub fn towards(from: Point, to: Point) -> Self {
        let (dx, dy) = from.offset(to);
        let longest = dx.abs().max(dy.abs());
        if longest == 0 { Self::NONE } else { Self { x: (dx * 127 / longest) as i8, y: (dy * 127 / longest) as i8 } }
    }

    /// The opposite direction.
    pub fn reversed(self) -> Self {
        Self { x: self.x.saturating_neg(), y: self.y.saturating_neg() }
    }

    /// Whether this is no direction at all.
    pub fn is_none(self) -> bool {
        self == Self::NONE
    }

    /// Its length times 1000, rounded up so that no step comes out longer than asked; at least 1.
    fn thousandths(self) -> i64 {
        let (x, y) = (i64::from(self.x), i64::from(self.y));
        ((x * x + y * y) * 1_000_000 - 1).max(0).isqrt() + 1
    }

    /// The step of at most `length` milli-units this way, as (x, y).
    pub fn step(self, length: i32) -> (i32, i32) {
        let (x, y) = (i64::from(self.x), i64::from(self.y));
        let thousandths = self.thousandths();
        let scale = |c: i64| (i64::from(length) * c * 1000 / thousandths) as i32;
        (scale(x), scale(y))
    }

    /// How far along this heading `to` lies from `from`, and how far off it, both in milli-units.
    pub fn along_and_off(self, from: Point, to: Point) -> (i64, i64) {
        let (dx, dy) = from.offset(to);
        let (x, y) = (i64::from(self.x), i64::from(self.y));
        let thousandths = self.thousandths();
        ((dx * x + dy * y) * 1000 / thousandths, (dx * y - dy * x).abs() * 1000 / thousandths)
    }
}

/// An axis-aligned rectangle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rect {
    /// The lower left corner.
    pub min: Point,
    /// The upper right corner.
    pub max: Point,
}

impl Rect {
    /// The rectangle from (`x0`, `y0`) to (`x1`, `y1`), in milli-units.
    pub const fn new(x0: i32, y0: i32, x1: i32, y1: i32) -> Self {
        Self { min: Point::new(x0, y0), max: Point::new(x1, y1) }
    }

    /// The same rectangle with `by` milli-units added on every side.
    pub const fn grown(self, by: i32) -> Self {
        Self::new(self.min.x - by, self.min.y - by, self.max.x + by, self.max.y + by)
    }

    /// Whether `p` lies strictly inside; the edge is outside.
    pub fn contains(self, p: Point) -> bool {
        self.min.x < p.x && p.x < self.max.x && self.min.y < p.y && p.y < self.max.y
    }

    /// Whether the segment from `a` to `b` touches the rectangle.
    ///
    /// Liang and Barsky's clipping (1984) on fractions: the segment's parameter enters at `enter.0 / enter.1` and
    /// leaves at `leave.0 / leave.1`, compared by cross-multiplication.
    pub fn cuts(self, a: Point, b: Point) -> bool {
        let (dx, dy) = a.offset(b);
        let sides = [
            (-dx, i64::from(a.x) - i64::from(self.min.x)),
            (dx, i64::from(self.max.x) - i64::from(a.x)),
            (-dy, i64::from(a.y) - i64::from(self.min.y)),
            (dy, i64::from(self.max.y) - i64::from(a.y)),
        ];
        let (mut enter, mut leave) = ((0, 1), (1, 1));
        for (p, q) in sides {
            match p {
                0 if q < 0 => return false,
                0 => {}
                p if p < 0 && -q * enter.1 > enter.0 * -p => enter = (-q, -p),
                p if p > 0 && q * leave.1 < leave.0 * p => leave = (q, p),
                _ => {}
            }
        }
        enter.0 * leave.1 <= leave.0 * enter.1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_has_the_asked_length_in_every_direction() {
        for (x, y) in [(1, 0), (127, 127), (-3, 4), (-128, 1), (0, -128)] {
            let (dx, dy) = Heading { x, y }.step(1000);
            let length = (dx * dx + dy * dy).isqrt();
            assert!((998..=1000).contains(&length), "({x}, {y}) gave {length}");
        }
        assert_eq!(Heading::NONE.step(1000), (0, 0));
    }

    #[test]
    fn a_wall_cuts_only_the_lines_that_cross_it() {
        let wall = Rect::new(10, 10, 20, 20);
        assert!(wall.cuts(Point::new(0, 15), Point::new(30, 15)));
        assert!(wall.cuts(Point::new(0, 0), Point::new(30, 30)));
        assert!(wall.cuts(Point::new(15, 15), Point::new(16, 16)), "wholly inside");
        assert!(!wall.cuts(Point::new(0, 15), Point::new(9, 15)), "stops short");
        assert!(!wall.cuts(Point::new(0, 0), Point::new(30, 5)), "passes below");
        assert!(!wall.cuts(Point::new(5, 0), Point::new(5, 30)), "passes beside");
    }
}
