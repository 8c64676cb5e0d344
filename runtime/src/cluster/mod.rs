//! A silo among others.
//!
//! - [`node`]: what a silo knows of the others, asks them and answers.
//! - [`router`]: calls of grains elsewhere; [`lane`]: their order.
//! - [`serve`]: calls from elsewhere of grains here.
//! - [`broker`]: where a grain is activated.
//! - [`wires`]: what is needed of a transport; [`hub`]: one in memory.

mod broker;
pub(crate) mod hub;
mod lane;
pub(crate) mod node;
mod router;
mod serve;
pub(crate) mod wires;
