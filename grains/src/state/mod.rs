//! A grain's durable state: the fields, their policies, and how records are written.
//!
//! - [`Persistent`]: a field that derefs to its value; touching it mutably marks it dirty.
//! - [`PersistentCell`]: the same for grains whose methods are all `&self`: changed through a closure.
//! - [`Policy`]: when a change is written, and so what a reply means.
//! - [`envelope`]: the bytes of a record.

mod cell;
pub mod envelope;
mod field;
mod finite;
mod persistent;

pub use cell::PersistentCell;
pub use field::{Loader, Migrate, Old, Policy, StateField, StateSpec, StateVisitor, StoredRecords};
pub use persistent::Persistent;
