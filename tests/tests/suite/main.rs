//! What needs real servers, or several processes.

mod cluster;
mod kills;
mod load;
mod outages;
mod worker;
