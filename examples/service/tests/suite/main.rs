//! Starts the service as a program, and asks it through real sockets and with real clients.
//!
//! A test whose program is missing on this machine says `SKIPPED` on standard error, and passes.

mod archiving;
mod browser;
mod client;
mod conditions;
mod durability;
mod lifecycle;
mod limits;
mod nodes;
mod programs;
mod protection;
mod protocol;
mod proxy;
mod started;
