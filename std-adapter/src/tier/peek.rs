//! A look at a log before its machine mounts it: which store it belongs to.
//!
//! All partitions of a store share its number and hash key. A partition that is still blank takes them from another one, so
//! they must be known before the first machine is built.

use coldpress_core::log::{Geometry, HASH_KEY_BYTES};
use coldpress_core::log::{HEADER_BYTES_KEYED, Header, HeaderError, MARKER_BYTES, Marker, Store};
use coldpress_core::tier::MountError;

use super::error::OpenError;
use crate::medium::Medium;

/// What was seen of one medium.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peek {
    /// The store, where a segment was ever opened.
    pub(super) store: Option<Store>,
    /// Whether there is a marker or a header: it is ours.
    pub(super) is_ours: bool,
}

/// Looks for a header. Bounds: at most three short reads a segment; it stops at the first header.
pub(super) fn peek(medium: &dyn Medium, geometry: &Geometry) -> Result<Peek, OpenError> {
    let mut is_ours = false;
    let mut bytes = [0; HEADER_BYTES_KEYED as usize];
    for segment in 0..geometry.segment_count() {
        let base = u64::from(segment) * u64::from(geometry.segment_bytes());
        let mut marker = [0; MARKER_BYTES as usize];
        // What can't be read is damage of that segment alone.
        if medium.read_at(base, &mut marker).is_ok() {
            is_ours |= Marker::decode(&marker).is_some();
        }
        for at in [geometry.header_at(), geometry.second_header_at()] {
            if medium.read_at(base + u64::from(at), &mut bytes).is_err() {
                continue;
            }
            match Header::decode(geometry, &bytes) {
                Ok(header) => return Ok(Peek { store: Some(header.store), is_ours: true }),
                Err(HeaderError::Invalid) => {}
                Err(error) => return Err(OpenError::Mount(MountError::Header(error))),
            }
        }
    }
    Ok(Peek { store: None, is_ours })
}

/// Draws a new store.
pub(super) fn new_store(partitions: u16) -> Result<Store, OpenError> {
    let id = getrandom::u64().map_err(|_| OpenError::Random)?;
    let mut hash_key = [0; HASH_KEY_BYTES];
    getrandom::fill(&mut hash_key).map_err(|_| OpenError::Random)?;
    Ok(Store { id, hash_key, partition: 0, partitions })
}
