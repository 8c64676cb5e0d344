//! What needs real servers, or several processes.

mod kills;
mod outages;
mod worker;
