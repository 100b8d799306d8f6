//! embedded-adapter
