//! std-adapter

pub mod codec;
pub mod pool;
