//! Real Redis servers and clusters as children of a test.
