//! Ports and protocol of a Gristmill cluster: directory, placement; and the single-silo adapter.
