//! The allocator of all contenders, counting live bytes while it is told to.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout};
use std::sync::atomic::{AtomicBool, AtomicIsize, Ordering};

#[cfg(feature = "mimalloc")]
use mimalloc::MiMalloc as Inner;
#[cfg(not(feature = "mimalloc"))]
use std::alloc::System as Inner;

/// What it counts for.
pub(crate) const NAME: &str = if cfg!(feature = "mimalloc") { "mimalloc" } else { "the system's allocator" };

struct Counting;

static COUNTS: AtomicBool = AtomicBool::new(false);
static LIVE: AtomicIsize = AtomicIsize::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn add(bytes: isize) {
    // Off, it costs a load of a line that nobody writes.
    if COUNTS.load(Ordering::Relaxed) {
        LIVE.fetch_add(bytes, Ordering::Relaxed);
    }
}

// SAFETY: every request goes to `Inner` as it came; counting touches no memory of the caller's.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        add(layout.size() as isize);
        // SAFETY: the caller keeps `alloc`'s contract.
        unsafe { Inner.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        add(-(layout.size() as isize));
        // SAFETY: the caller keeps `dealloc`'s contract, and `place` came from `Inner`.
        unsafe { Inner.dealloc(place, layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        add(size as isize - layout.size() as isize);
        // SAFETY: the caller keeps `realloc`'s contract, and `place` came from `Inner`.
        unsafe { Inner.realloc(place, layout, size) }
    }
}

/// What `work` leaves allocated, in bytes as they were asked for.
pub(crate) fn left_by<T>(work: impl FnOnce() -> T) -> (T, isize) {
    let before = LIVE.load(Ordering::SeqCst);
    COUNTS.store(true, Ordering::SeqCst);
    let done = work();
    COUNTS.store(false, Ordering::SeqCst);
    (done, LIVE.load(Ordering::SeqCst) - before)
}
