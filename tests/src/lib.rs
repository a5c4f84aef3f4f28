//! Shared parts of the tests and benches.
