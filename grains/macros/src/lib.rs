//! The macros of Gristmill.
