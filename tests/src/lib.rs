//! What the suites of Coldpress share.
//!
//! [`tidy`] reads the project's own sources and checks the rules that a compiler does not know.
#![forbid(unsafe_code)]

pub mod tidy;
