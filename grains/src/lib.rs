//! The programming model of Gristmill: identities, interfaces, references, calls, state, and the storage port.
mod id;
pub mod storage;

pub use id::{ActivationId, GrainId, GrainType};
