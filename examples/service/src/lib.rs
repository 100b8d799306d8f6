//! An HTTP and Redis-protocol service over Coldpress, with a live page.
//!
//! Read it from the outside in: [`run`] starts the service and ends it in order. Two listeners, `http` and `resp`, turn requests
//! into calls of `store`, which is the only file that knows the interface of Coldpress. One value, `Service`, holds all that
//! their tasks share. It is made once for the process, so it is `&'static` and nobody counts references to it.
//!
//! Calls that may wait for the disk or for capacity run on the threads that tokio keeps for blocking work. Reads of memory run where
//! the request was read.
#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::cast_possible_truncation, clippy::indexing_slicing))]

mod archive;
mod archive_metrics;
mod auth;
mod commands;
mod config;
mod cursors;
mod errors;
mod glob;
mod history;
mod http;
mod limits;
mod metrics;
mod resp;
mod run;
mod service;
mod store;

pub use config::Options;
pub use errors::ServiceError;
pub use run::{Ready, run};
