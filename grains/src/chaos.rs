//! Fault points and planted bugs: what a simulation makes happen inside the code. Without the feature `sim` all of it is
//! `false`, and gone from the build.

/// A deliberate bug, by which a simulation's checks are checked.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Bug {
    /// A commit is taken whoever has the fence.
    FenceNotChecked,
    /// A commit is taken whatever version it expects.
    VersionNotChecked,
    /// A storage is opened whatever fence it has.
    OpenNotChecked,
    /// A commit that is sent again is not known to be the same.
    WriteIdForgotten,
    /// Replies leave before the state behind them is durable.
    GateOpen,
    /// A turn's changes are not committed when the turn is over.
    DirtyForgotten,
    /// A snapshot that waits is kept though there is a newer one.
    SnapshotNotReplaced,
    /// An activation goes on though its commit was refused.
    FencedServes,
    /// A caller that gives up cuts the turn.
    TurnCutOnCancel,
    /// A call that a lost connection may have delivered is sent again.
    SentTwice,
    /// A call that a lost connection may have delivered is said not to have run.
    LeftCalledUnsent,
    /// Calls overtake earlier ones that came back from a grain's former silo.
    LaneOvertaken,
    /// The calls that an activation leaves, as another silo has its grain, change their order.
    LeftReversed,
    /// A silo goes on though the others have declared it dead.
    DeathIgnored,
    /// A dead silo's row comes alive again.
    DeadRejoins,
    /// The store's older rows are believed.
    RowsGoBack,
    /// A store that lost writes is not noticed.
    RestartMissed,
    /// A call without an answer never ends: not by its deadline, not with its connection.
    EndsForgotten,
    /// A silo that leaves does not wait until it has answered everything.
    FarewellTooEarly,
    /// Connections that look open and are not stay.
    KeepaliveOff,
}

impl Bug {
    /// All of them.
    pub const ALL: [Self; 20] = [
        Self::FenceNotChecked,
        Self::VersionNotChecked,
        Self::OpenNotChecked,
        Self::WriteIdForgotten,
        Self::GateOpen,
        Self::DirtyForgotten,
        Self::SnapshotNotReplaced,
        Self::FencedServes,
        Self::TurnCutOnCancel,
        Self::SentTwice,
        Self::LeftCalledUnsent,
        Self::LaneOvertaken,
        Self::LeftReversed,
        Self::DeathIgnored,
        Self::DeadRejoins,
        Self::RowsGoBack,
        Self::RestartMissed,
        Self::EndsForgotten,
        Self::FarewellTooEarly,
        Self::KeepaliveOff,
    ];
}

#[cfg(feature = "sim")]
pub use on::{Chaos, begin, end, is_on, planted, point, reach, reached, set_likely};

#[cfg(feature = "sim")]
mod on {
    use std::cell::RefCell;
    use std::collections::BTreeMap;

    use super::Bug;

    /// What goes wrong on this thread.
    #[derive(Debug)]
    pub struct Chaos {
        /// How likely a point is taken.
        pub likely: f64,
        /// Decides.
        pub rng: fastrand::Rng,
        /// The planted bug.
        pub bug: Option<Bug>,
        /// How often each point was taken, and each place reached.
        pub reached: BTreeMap<&'static str, u64>,
    }

    thread_local! {
        static CHAOS: RefCell<Option<Chaos>> = const { RefCell::new(None) };
    }

    /// From now on, on this thread.
    pub fn begin(chaos: Chaos) {
        CHAOS.set(Some(chaos));
    }

    /// No more.
    pub fn end() -> Option<Chaos> {
        CHAOS.take()
    }

    /// How likely a point is taken from now on.
    pub fn set_likely(likely: f64) {
        CHAOS.with_borrow_mut(|chaos| chaos.iter_mut().for_each(|chaos| chaos.likely = likely));
    }

    /// Does a simulation run on this thread?
    pub fn is_on() -> bool {
        CHAOS.with_borrow(Option::is_some)
    }

    /// Does it go wrong here, this time?
    pub fn point(name: &'static str) -> bool {
        CHAOS.with_borrow_mut(|chaos| {
            let Some(chaos) = chaos else { return false };
            let taken = chaos.rng.f64() < chaos.likely;
            if taken {
                *chaos.reached.entry(name).or_default() += 1;
            }
            taken
        })
    }

    /// Counts that this place was reached.
    pub fn reach(name: &'static str) {
        CHAOS.with_borrow_mut(|chaos| {
            if let Some(chaos) = chaos {
                *chaos.reached.entry(name).or_default() += 1;
            }
        });
    }

    /// What was reached so far.
    pub fn reached() -> BTreeMap<&'static str, u64> {
        CHAOS.with_borrow(|chaos| chaos.as_ref().map(|chaos| chaos.reached.clone()).unwrap_or_default())
    }

    /// Is this bug planted?
    pub fn planted(bug: Bug) -> bool {
        CHAOS.with_borrow(|chaos| chaos.as_ref().is_some_and(|chaos| chaos.bug == Some(bug)))
    }
}

#[cfg(not(feature = "sim"))]
mod off {
    use super::Bug;

    /// Does a simulation run on this thread?
    #[inline(always)]
    pub const fn is_on() -> bool {
        false
    }

    /// Does it go wrong here, this time?
    #[inline(always)]
    pub const fn point(_: &'static str) -> bool {
        false
    }

    /// Counts that this place was reached.
    #[inline(always)]
    pub const fn reach(_: &'static str) {}

    /// Is this bug planted?
    #[inline(always)]
    pub const fn planted(_: Bug) -> bool {
        false
    }
}

#[cfg(not(feature = "sim"))]
pub use off::{is_on, planted, point, reach};
