//! What needs real servers, or several processes.

mod chaos;
mod cluster;
mod history;
mod kills;
mod load;
mod outages;
mod worker;
