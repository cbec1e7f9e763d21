//! The suites every store must pass.
