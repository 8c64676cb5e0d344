//! What is done to the silos of a run.

use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use super::process::{Process, ProcessError, free_address};
use crate::args::{ClusterArgs, Game, Restart};
use crate::out::println;
use crate::rules::rng::Pcg32;

/// How long a paused silo stands still.
const PAUSE: Duration = Duration::from_secs(10);
/// Between the restarts of two silos.
const BETWEEN: Duration = Duration::from_secs(1);
/// How a silo ends that finds itself declared dead.
const DECLARED_DEAD: i32 = 70;

/// The silos of a run.
pub struct Silos {
    redis: String,
    game: Game,
    /// By number: the process, and its address.
    processes: Vec<(Process, String)>,
    /// What was done to them.
    pub done: Done,
}

/// What was done to the silos.
#[derive(Clone, Debug, Default)]
pub struct Done {
    /// Silos that were killed.
    pub killed: u64,
    /// Silos that were stopped for a while.
    pub paused: u64,
    /// Silos that were restarted in order.
    pub restarted: u64,
    /// Silos that ended though nobody told them to.
    pub unexpected: Vec<String>,
}

impl Silos {
    /// Starts so many.
    ///
    /// # Errors
    /// One does not start.
    pub async fn start(redis: &str, game: &Game, silos: u8) -> Result<Self, ProcessError> {
        let mut all =
            Self { redis: redis.to_owned(), game: game.clone(), processes: Vec::new(), done: Done::default() };
        for number in 0..usize::from(silos) {
            let silo = all.begin(number)?;
            all.processes.push(silo);
        }
        for (process, _) in &mut all.processes {
            process.ready().await?;
        }
        Ok(all)
    }

    /// Where they listen.
    pub fn addresses(&self) -> Vec<String> {
        self.processes.iter().map(|(_, address)| address.clone()).collect()
    }

    fn begin(&self, number: usize) -> Result<(Process, String), ProcessError> {
        let name = format!("silo-{}", number + 1);
        let address = free_address().map_err(|error| ProcessError::new(&name, error.to_string()))?;
        let Game { matches, players, seconds, tick_hz, seed, .. } = &self.game;
        let args = [
            ("--redis", self.redis.clone()),
            ("--name", name.clone()),
            ("--listen", address.clone()),
            ("--matches", matches.to_string()),
            ("--players", players.to_string()),
            ("--seconds", seconds.to_string()),
            ("--tick-hz", tick_hz.to_string()),
            ("--seed", seed.to_string()),
        ];
        let args = args.into_iter().flat_map(|(option, value)| [option.to_owned(), value]);
        let args: Vec<_> = ["cluster-silo".to_owned()].into_iter().chain(args).collect();
        Ok((Process::start(&name, &args)?, address))
    }

    /// Starts a silo anew in the place of one that has ended.
    async fn renew(&mut self, number: usize) -> Result<(), ProcessError> {
        self.processes[number] = self.begin(number)?;
        self.processes[number].0.ready().await
    }

    /// Does what was asked for, for ever; also starts silos anew that ended by themselves.
    ///
    /// # Errors
    /// A silo does not do as it should.
    pub async fn trouble(&mut self, args: &ClusterArgs) -> Result<std::convert::Infallible, ProcessError> {
        let mut rng = Pcg32::new(args.game.seed, 7);
        let after = |seconds: Option<u32>| seconds.map(|s| Instant::now() + Duration::from_secs(s.into()));
        let (mut kill, mut pause) = (after(args.kill_every), after(args.pause_every));
        let mut turn = 0;
        loop {
            let now = Instant::now();
            if kill.is_some_and(|at| at <= now) {
                kill = after(args.kill_every);
                let number = rng.below(self.processes.len() as u32) as usize;
                self.kill(number).await?;
            } else if pause.is_some_and(|at| at <= now) {
                pause = after(args.pause_every);
                let number = rng.below(self.processes.len() as u32) as usize;
                self.pause(number).await?;
            } else if args.restart == Some(Restart::Rolling) {
                sleep(BETWEEN).await;
                self.restart(turn % self.processes.len()).await?;
                turn += 1;
            } else {
                let look = now + Duration::from_millis(200);
                sleep_until([kill, pause].into_iter().flatten().fold(look, Instant::min)).await;
            }
            self.look().await?;
        }
    }

    async fn kill(&mut self, number: usize) -> Result<(), ProcessError> {
        let (process, _) = &mut self.processes[number];
        println!("kill -9 {}", process.name());
        process.kill().await;
        self.done.killed += 1;
        self.renew(number).await
    }

    async fn pause(&mut self, number: usize) -> Result<(), ProcessError> {
        let (process, _) = &mut self.processes[number];
        println!("{} stands still for {PAUSE:?}", process.name());
        process.signal("STOP").await?;
        sleep(PAUSE).await;
        process.signal("CONT").await?;
        self.done.paused += 1;
        // Its grains are others' by now: it says so, and ends.
        let status = process.end_in_time().await?;
        if status.code() != Some(DECLARED_DEAD) {
            self.done.unexpected.push(format!("{} woke and ended with {status}", process.name()));
        }
        self.renew(number).await
    }

    async fn restart(&mut self, number: usize) -> Result<(), ProcessError> {
        let (process, _) = &mut self.processes[number];
        println!("{} is restarted", process.name());
        process.signal("TERM").await?;
        let status = process.end_in_time().await?;
        if !status.success() {
            self.done.unexpected.push(format!("{} left with {status}", process.name()));
        }
        self.done.restarted += 1;
        self.renew(number).await
    }

    /// Silos that ended by themselves are started anew, and told of.
    async fn look(&mut self) -> Result<(), ProcessError> {
        for number in 0..self.processes.len() {
            let (process, _) = &mut self.processes[number];
            if let Some(status) = process.ended() {
                self.done.unexpected.push(format!("{} ended by itself with {status}", process.name()));
                self.renew(number).await?;
            }
        }
        Ok(())
    }

    /// Ends all in order.
    ///
    /// # Errors
    /// One does not end.
    pub async fn leave(&mut self) -> Result<(), ProcessError> {
        for (process, _) in &mut self.processes {
            let _ = process.signal("CONT").await; // it may stand still, or have ended
        }
        for (process, _) in &mut self.processes {
            process.leave().await?;
        }
        Ok(())
    }
}
