//! A silo among others.
//!
//! - [`node`]: what a silo knows of the others ([`views`]), [`asks`] them and answers.
//! - [`router`]: calls of grains elsewhere; [`lane`]: their order; [`lanes`]: all of them; [`ends`]: what ends them.
//! - [`serve`]: calls from elsewhere of grains here, out of the [`inbox`]; [`bounced`]: those that went back; [`gateway`]: calls
//!   of clients.
//! - [`site`]: what the router needs of a silo or a client.
//! - [`broker`]: where a grain is activated, as its [`placement`] says; [`reassert`]: that its row is not lost.
//! - [`deadlock`]: cycles of calls over several silos.
//! - [`start`]: taking part; [`agent`]: the membership, [`lateness`] of its workers; [`options`].
//! - [`wires`]: what is needed of a transport; [`network`]: the real one; [`hub`]: one in memory.

pub(crate) mod agent;
mod asks;
mod bounced;
mod broker;
pub(crate) mod deadlock;
mod effects;
mod ends;
mod gateway;
pub(crate) mod hub;
mod inbox;
mod lane;
mod lanes;
mod lateness;
pub(crate) mod machine;
pub(crate) mod network;
pub(crate) mod node;
mod numbered;
pub(crate) mod options;
mod placement;
pub(crate) mod reassert;
pub(crate) mod router;
mod serve;
pub(crate) mod site;
pub(crate) mod start;
pub(crate) mod views;
pub(crate) mod wires;
