//! The players of a run: each a bot that behaves like a client, through grain calls and nothing else.

use std::time::Duration;

use gristmill::prelude::*;
use tokio::time::{Instant, MissedTickBehavior};

use crate::bot::Bot;
use crate::calls::Calls;
use crate::grains::chat::{ChatRef, GLOBAL};
use crate::grains::match_grain::MatchRef;
use crate::grains::names::Queue;
use crate::grains::player::PlayerRef;
use crate::grains::profile::Activity;
use crate::rules::{MatchId, Phase, PlayerId};

/// How often a waiting bot looks for news.
const LOOK: Duration = Duration::from_millis(100);
/// How often it asks again, at most; and how often while it waits.
const ASK_AGAIN: Duration = Duration::from_secs(1);
const ASKS: u32 = 15;
/// How long it waits for an answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// One player and its bot.
#[derive(Clone, Debug)]
pub struct Actor<C> {
    /// Through whom they play.
    pub calls: C,
    /// Who.
    pub player: PlayerId,
    /// What the bot's chance begins with.
    pub seed: u64,
    /// Where to look for one match; none to only finish what was begun.
    pub wish: Option<Queue>,
    /// How long the bot waits for a match.
    pub patience: Duration,
}

/// How a bot ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// With nothing left to play.
    Done,
    /// Without a match: none began in time.
    GaveUp,
    /// Without its silo.
    Away,
}

impl<C: Calls> Actor<C> {
    /// Finishes what was begun, plays the match wished for, and ends when the reward is home.
    ///
    /// It knows nothing but what the player's grain says: a bot that starts in the middle of a match plays on.
    pub async fn play(mut self) -> Ended {
        let me: PlayerRef = self.calls.grain(self.player.clone());
        let ask_again = ASK_AGAIN.max(self.patience / ASKS);
        let (began, mut asked, mut drawn) = (Instant::now(), None::<Instant>, None::<u64>);
        loop {
            let profile = me.get_state().timeout(PATIENCE).await.map(|state| state.profile);
            match profile.map(|profile| (profile.ticket, profile.activity)) {
                Ok((ticket, Activity::Idle)) => {
                    // A ticket more than at first: the wish was heard, though its answer was not.
                    let heard = *drawn.get_or_insert(ticket) != ticket;
                    let Some(queue) = self.wish.clone().filter(|_| !heard) else { return Ended::Done };
                    if me.join(queue).timeout(PATIENCE).await.is_ok() {
                        (self.wish, asked) = (None, Some(Instant::now()));
                    }
                }
                Ok((_, Activity::Searching { .. })) if began.elapsed() > self.patience => {
                    // Either the search ends, or the match was faster: then the player is in it.
                    match me.leave().timeout(PATIENCE).await {
                        Ok(Activity::Idle) => return Ended::GaveUp,
                        Ok(_) => {}
                        Err(error) => tracing::debug!(player = %self.player, %error, "asking again"),
                    }
                }
                Ok((_, Activity::Searching { queue })) => {
                    self.wish = None;
                    if asked.is_none_or(|at| at.elapsed() > ask_again) {
                        asked = Some(Instant::now());
                        // Busy: in a match by now. The next look tells.
                        let _ = me.join(queue).timeout(PATIENCE).await;
                    }
                }
                Ok((_, Activity::Fighting { match_id, tick_hz, .. })) => {
                    self.wish = None;
                    self.fight(match_id, tick_hz).await;
                }
                Err(error) => match error.cause() {
                    Some(Cause::SiloUnavailable { .. }) if C::IS_ONE_SILO => return Ended::Away,
                    _ => tracing::debug!(player = %self.player, %error, "asking again"),
                },
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Plays while the match runs: looks, decides, submits, at the match's own rate.
    async fn fight(&self, match_id: MatchId, tick_hz: u32) {
        let game: MatchRef = self.calls.grain(match_id.clone());
        let mut bot = Bot::new(self.seed, self.player.clone());
        let mut clock = tokio::time::interval(Duration::from_secs(1) / tick_hz.max(1));
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            clock.tick().await;
            let view = match game.get_view(self.player.clone()).timeout(PATIENCE).await {
                Ok(Some(view)) => view,
                Ok(None) | Err(_) => return, // not yet begun, or away for a moment: the caller looks again
            };
            if view.world.phase == Phase::Finished {
                let all: ChatRef = self.calls.grain(GLOBAL);
                let best = view.world.fighters.iter().max_by_key(|f| f.score).map(|f| &f.player);
                if best == Some(&self.player) {
                    // Talk may get lost.
                    let _ = all.say(Some(self.player.clone()), format!("gg {match_id}")).timeout(PATIENCE).await;
                }
                return;
            }
            // An input that is lost is made up for by the next.
            let _ = game.submit(self.player.clone(), bot.decide(&view)).timeout(PATIENCE).await;
        }
    }
}
