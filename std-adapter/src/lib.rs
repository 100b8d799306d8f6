//! std-adapter
