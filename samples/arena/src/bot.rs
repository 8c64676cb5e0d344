//! Players that play themselves.

use crate::rules::input::{Action, Input};
use crate::rules::map::Map;
use crate::rules::names::PlayerId;
use crate::rules::rng::Pcg32;
use crate::rules::snapshot::{FighterView, OwnView, Snapshot};
use crate::rules::weapons::{STRIKE_REACH, shot_reach};
use crate::rules::{Body, Heading, ItemKind, Point};

/// Below this health a bot runs and heals.
const AFRAID: u32 = 35;
/// How far a bot walks for an item, in milli-units.
const ITEM_LURE: i32 = 6_000;
/// How many decisions a bot walks blindly after it got stuck.
const DETOUR: u32 = 20;

/// A seeded player: it sees only snapshots and speaks only in inputs, like any client.
///
/// It hunts the nearest enemy, strikes up close and shoots from afar, fetches items near its way, drinks potions and
/// runs when hurt.
#[derive(Clone, Debug)]
pub struct Bot {
    player: PlayerId,
    rng: Pcg32,
    seq: u32,
    last_at: Point,
    detour: (u32, Heading),
}

impl Bot {
    /// A bot that plays for `player`; the same seed and views give the same inputs.
    pub fn new(seed: u64, player: PlayerId) -> Self {
        Self { player, rng: Pcg32::new(seed, 3), seq: 0, last_at: Point::default(), detour: (0, Heading::NONE) }
    }

    /// Whom it plays for.
    pub fn player(&self) -> &PlayerId {
        &self.player
    }

    /// Decides the next input from what it sees.
    pub fn decide(&mut self, view: &Snapshot) -> Input {
        self.seq += 1;
        let idle = Input { seq: self.seq, ..Input::default() };
        let Some((own, me)) = view.me().filter(|(_, me)| me.body == Body::Alive) else { return idle };
        let enemy = nearest_enemy(view, own, me);
        let map = view.world.map.map();
        let aim = enemy.map_or(Heading::NONE, |e| Heading::towards(me.at, e.at));
        let action = choose_use(own, me, enemy).unwrap_or_else(|| choose_attack(view, own, me, enemy));
        let walk = self.choose_walk(view, own, me, enemy, map);
        Input { walk, aim, action, ..idle }
    }

    fn choose_walk(
        &mut self,
        view: &Snapshot,
        own: &OwnView,
        me: &FighterView,
        enemy: Option<&FighterView>,
        map: &Map,
    ) -> Heading {
        let stuck = std::mem::replace(&mut self.last_at, me.at) == me.at;
        if self.detour.0 > 0 {
            self.detour.0 -= 1;
            return self.detour.1;
        }
        let goal = match (nearest_item(view, own, me), enemy) {
            (Some(item), _) => Heading::towards(me.at, item),
            (None, Some(enemy)) if me.health < AFRAID => Heading::towards(me.at, enemy.at).reversed(),
            (None, Some(enemy)) if me.at.within(enemy.at, STRIKE_REACH / 2) => Heading::NONE,
            (None, Some(enemy)) => Heading::towards(me.at, enemy.at),
            (None, None) => Heading::NONE,
        };
        let blocked = stuck && !goal.is_none() || map.burns(map.walk(me.at, goal, 1_000)) && self.rng.chance(800);
        if blocked || self.rng.chance(5) {
            let any = |rng: &mut Pcg32| (rng.below(255) as i32 - 127) as i8;
            self.detour = (self.rng.below(DETOUR) + 1, Heading { x: any(&mut self.rng), y: any(&mut self.rng) });
            return self.detour.1;
        }
        goal
    }
}

fn nearest_enemy<'a>(view: &'a Snapshot, own: &OwnView, me: &FighterView) -> Option<&'a FighterView> {
    let others = view.world.fighters.iter().enumerate().filter(|(i, _)| *i != own.seat.index());
    others.map(|(_, f)| f).filter(|f| f.body == Body::Alive).min_by_key(|f| me.at.distance2(f.at))
}

fn nearest_item(view: &Snapshot, own: &OwnView, me: &FighterView) -> Option<Point> {
    if own.bag.len() >= 4 {
        return None;
    }
    let wanted = |kind: ItemKind| !(kind.is_weapon() && own.bag.iter().any(|i| i.kind == kind));
    let near = view.world.items.iter().filter(|i| wanted(i.item.kind) && me.at.within(i.at, ITEM_LURE));
    near.map(|i| i.at).min_by_key(|at| me.at.distance2(*at))
}

fn choose_use(own: &OwnView, me: &FighterView, enemy: Option<&FighterView>) -> Option<Action> {
    let fight_near = enemy.is_some_and(|e| me.at.within(e.at, 4 * STRIKE_REACH));
    let slot = own.bag.iter().position(|item| match item.kind {
        ItemKind::Potion => me.health < 2 * AFRAID,
        ItemKind::Plate => me.armour < 50,
        ItemKind::HasteCharm | ItemKind::RageCharm | ItemKind::WardCharm => fight_near,
        ItemKind::Rifle | ItemKind::VenomBlade => false,
    })?;
    Some(Action::Use(slot as u8))
}

fn choose_attack(view: &Snapshot, own: &OwnView, me: &FighterView, enemy: Option<&FighterView>) -> Action {
    let Some(enemy) = enemy else { return Action::None };
    let next = view.world.tick + 1;
    let rifle = own.bag.iter().any(|i| i.kind == ItemKind::Rifle);
    if me.at.within(enemy.at, STRIKE_REACH) && own.strike_ready <= next {
        Action::Strike
    } else if me.at.within(enemy.at, shot_reach(rifle)) && own.shot_ready <= next {
        Action::Shoot
    } else {
        Action::None
    }
}
