//! efficiency
