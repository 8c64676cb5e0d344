//! The locks of the call path. Built with `--cfg shuttle` they are shuttle's, so that its scheduler explores how threads
//! interleave; see `runtime/src/activation/interleavings.rs`.

#[cfg(not(shuttle))]
pub use parking_lot::{Mutex, MutexGuard, RwLock};
#[cfg(not(shuttle))]
pub use std::thread_local;

#[cfg(shuttle)]
pub use modelled::{Mutex, RwLock};
#[cfg(shuttle)]
pub use shuttle::sync::MutexGuard;
#[cfg(shuttle)]
pub use shuttle::thread_local;

#[cfg(shuttle)]
mod modelled {
    use std::sync::PoisonError;

    use shuttle::sync;

    #[derive(Default)]
    pub struct Mutex<T>(sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub fn new(value: T) -> Self {
            Self(sync::Mutex::new(value))
        }

        pub fn lock(&self) -> sync::MutexGuard<'_, T> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner)
        }

        pub fn try_lock(&self) -> Option<sync::MutexGuard<'_, T>> {
            Some(self.lock())
        }

        pub fn get_mut(&mut self) -> &mut T {
            self.0.get_mut().unwrap_or_else(PoisonError::into_inner)
        }
    }

    #[derive(Default)]
    pub struct RwLock<T>(sync::RwLock<T>);

    impl<T> RwLock<T> {
        pub fn new(value: T) -> Self {
            Self(sync::RwLock::new(value))
        }

        pub fn read(&self) -> sync::RwLockReadGuard<'_, T> {
            self.0.read().unwrap_or_else(PoisonError::into_inner)
        }

        pub fn write(&self) -> sync::RwLockWriteGuard<'_, T> {
            self.0.write().unwrap_or_else(PoisonError::into_inner)
        }
    }
}
