//! What needs real servers, or several processes.

mod kills;
mod load;
mod outages;
mod worker;
