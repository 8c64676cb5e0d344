//! What a scenario makes go wrong: paths, the weather, Redis.

use gristmill_grains::chaos;
use gristmill_redis::model::{Loses, Mood};

use super::conductor::Sim;
use super::weather::{Path, Weather};
use super::world::{HostId, REDIS, Standing};

impl Sim {
    /// Nothing gets through between two silos, until it is healed.
    pub fn partition(&mut self, one: usize, other: usize) {
        self.tell(format!("partition {one} {other}"));
        let (one, other) = (self.silos[one].host, self.silos[other].host);
        self.path(one, other, Path { blocked: true, ..Path::default() });
        self.path(other, one, Path { blocked: true, ..Path::default() });
    }

    /// What happens to what one silo sends to another.
    pub fn set_path(&mut self, from: usize, to: usize, path: Path) {
        self.tell(format!("path from {from} to {to}: {path:?}"));
        self.path(self.silos[from].host, self.silos[to].host, path);
    }

    /// What happens between a silo and Redis, each way.
    pub fn set_path_to_redis(&mut self, silo: usize, there: Path, back: Path) {
        self.tell(format!("path between {silo} and redis: {there:?}, {back:?}"));
        let host = self.silos[silo].host;
        self.path(host, REDIS, there);
        self.path(REDIS, host, back);
    }

    /// What happens between a client and a silo, each way.
    pub fn set_path_of_client(&mut self, client: usize, silo: usize, there: Path, back: Path) {
        self.tell(format!("path between client {client} and {silo}: {there:?}, {back:?}"));
        let (client, silo) = (self.clients[client].id, self.silos[silo].host);
        self.path(client, silo, there);
        self.path(silo, client, back);
    }

    fn path(&mut self, from: HostId, to: HostId, path: Path) {
        let mut state = self.world.0.lock();
        if path == Path::default() {
            state.paths.remove(&(from, to));
        } else {
            state.paths.insert((from, to), path);
            state.met(match path {
                Path { blocked: true, .. } => "path blocked",
                Path { lost: true, .. } => "path lost",
                Path { corrupt: true, .. } => "path corrupt",
                _ => "path slow",
            });
        }
        if !path.blocked {
            state.release(|of, at| (of, at) == (from, to));
        }
    }

    /// Ends everything that is wrong between hosts and with Redis. Who crashed or is paused stays so.
    pub fn heal(&mut self) {
        self.tell("heal".to_owned());
        let mut state = self.world.0.lock();
        state.paths.clear();
        state.release(|_, _| true);
        state.redis.server.set_mood(Mood::Well);
        if state.standing(REDIS) != Standing::Up {
            state.hosts[REDIS].1 = Standing::Up;
        }
        state.unhang();
        state.redis.mute.clear();
    }

    /// The weather from now on.
    pub fn set_weather(&mut self, weather: Weather) {
        self.world.0.lock().weather = weather;
        chaos::set_likely(weather.points);
    }

    /// Kills Redis, until [`start_redis`](Self::start_redis).
    pub fn kill_redis(&mut self) {
        self.tell("kill redis".to_owned());
        self.met("redis killed");
        self.world.0.lock().redis_down();
    }

    /// Starts Redis anew.
    pub fn start_redis(&mut self, loses: Loses) {
        self.tell(format!("start redis, loses {loses:?}"));
        let mut state = self.world.0.lock();
        state.redis.server.restart(loses);
        state.hosts[REDIS].1 = Standing::Up;
        self.views.lost |= loses != Loses::Nothing;
        state.redis.oracle.lost |= loses != Loses::Nothing;
    }

    /// Redis takes commands and does nothing, or goes on.
    pub fn hang_redis(&mut self, hangs: bool) {
        self.tell(format!("redis hangs: {hangs}"));
        let mut state = self.world.0.lock();
        if hangs { state.redis.hangs = true } else { state.unhang() }
    }

    /// A silo's connections for the membership and the directory hang, while those of its storage do not; or they are
    /// over, and the next ones are well.
    pub fn hang_control(&mut self, silo: usize, hangs: bool) {
        self.tell(format!("what silo {silo} asks of the membership and the directory hangs: {hangs}"));
        let host = self.silos[silo].host;
        let mut state = self.world.0.lock();
        if hangs {
            state.met("connections of the control plane hung");
            state.redis.mute.insert(host, Vec::new());
        } else {
            state.redis.mute.remove(&host);
        }
    }

    /// Redis is out of memory, loading, or read-only; or well.
    pub fn set_redis_mood(&mut self, mood: Mood) {
        self.tell(format!("redis is {mood:?}"));
        self.met("redis mood");
        self.world.0.lock().redis.server.set_mood(mood);
    }

    /// Redis forgets the scripts.
    pub fn flush_scripts(&mut self) {
        self.tell("flush scripts".to_owned());
        self.met("scripts flushed");
        self.world.0.lock().redis.server.flush_scripts();
    }

    /// How likely Redis' replica gets what it has not got, with each command. At 1 it lags never.
    pub fn set_replication(&mut self, likely: f64) {
        self.world.0.lock().redis.replicates = likely;
    }

    /// Redis' replica takes over, with what it has got. Says of how many commands the writes are lost.
    pub fn fail_over_redis(&mut self) -> usize {
        let mut state = self.world.0.lock();
        let lost = state.redis.server.lag();
        state.redis.server.fail_over();
        state.redis.oracle.lost |= lost > 0;
        state.met("redis failed over");
        drop(state);
        self.views.lost |= lost > 0;
        self.tell(format!("redis fails over; the writes of {lost} commands are lost"));
        lost
    }
}
