//! Storage on Redis.
