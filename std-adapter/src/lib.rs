//! std-adapter

pub mod codec;
