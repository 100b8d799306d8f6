//! The suites of the std adapter, against the public API.

mod common;
mod path;
