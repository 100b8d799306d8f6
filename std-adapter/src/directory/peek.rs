//! A look at a log before its machine mounts it: which store it belongs to.
//!
//! All partitions of a store share its number and hash key. A partition that is still blank takes them from another one, so
//! they must be known before the first machine is built.

use coldpress_core::format::{Geometry, HASH_KEY_BYTES};
use coldpress_core::format::{HEADER_BYTES_KEYED, Header, HeaderError, MARKER_BYTES, Marker, Store};
use coldpress_core::recovery::MountError;
use coldpress_core::writer::READ_TRIES;

use crate::errors::OpenError;
use crate::storage::{MediumFailure, ServiceMedium, Sparse};

/// The findings about one medium.
#[derive(Debug)]
pub(crate) struct Peek {
    /// The store, where a segment was ever opened.
    pub(crate) store: Option<Store>,
    /// Whether there is a marker or a header: it is ours.
    pub(crate) is_ours: bool,
    /// Segments of which something could not be read where a header could be.
    pub(crate) unread: u32,
    /// The last failure of these reads.
    pub(crate) failure: Option<MediumFailure>,
}

impl Peek {
    /// Refuses what could not be read: it tells neither that there is a store nor that there is none.
    pub(crate) fn check_read(&self, segments: u32) -> Result<(), OpenError> {
        match self.unread {
            0 => Ok(()),
            unread => Err(OpenError::of_mount(MountError::Unread { unread, segments }, self.failure.clone())),
        }
    }
}

/// Looks for a header. Bounds: at most three short reads for each segment that is no hole, each repeated where it fails; stops
/// at the first header.
pub(crate) fn peek(medium: &dyn ServiceMedium, geometry: &Geometry) -> Result<Peek, OpenError> {
    let sparse = Sparse::of(medium);
    let (mut is_ours, mut unread, mut failure) = (false, 0, None);
    let mut bytes = [0; HEADER_BYTES_KEYED as usize];
    for segment in 0..geometry.segment_count() {
        let base = u64::from(segment) * u64::from(geometry.segment_bytes());
        if sparse.is_hole(base, u64::from(geometry.segment_bytes())) {
            continue;
        }
        let mut marker = [0; MARKER_BYTES as usize];
        let mut is_unread = false;
        // A part that can't be read says nothing of the store.
        match read(medium, base, &mut marker) {
            Ok(()) => is_ours |= Marker::decode(&marker).is_some(),
            Err(error) => (is_unread, failure) = (true, Some(error)),
        }
        for at in [geometry.header_at(), geometry.second_header_at()] {
            if let Err(error) = read(medium, base + u64::from(at), &mut bytes) {
                (is_unread, failure) = (true, Some(error));
                continue;
            }
            // The log may have had fewer segments when this one was opened.
            match Header::decode_any(geometry, &bytes) {
                Ok((header, _)) => {
                    return Ok(Peek { store: Some(header.store), is_ours: true, unread: 0, failure: None });
                }
                Err(HeaderError::Invalid) => {}
                Err(error) => return Err(OpenError::Mount(MountError::Header(error))),
            }
        }
        unread += u32::from(is_unread);
    }
    Ok(Peek { store: None, is_ours, unread, failure })
}

/// Reads, as often as a mount does.
fn read(medium: &dyn ServiceMedium, offset: u64, bytes: &mut [u8]) -> Result<(), MediumFailure> {
    let mut result = medium.read_shared(offset, bytes);
    for _ in 1..READ_TRIES {
        if result.is_ok() {
            break;
        }
        result = medium.read_shared(offset, bytes);
    }
    result
}

/// Draws a new store.
pub(crate) fn new_store(partitions: u16) -> Result<Store, OpenError> {
    let id = getrandom::u64().map_err(|_| OpenError::Random)?;
    let mut hash_key = [0; HASH_KEY_BYTES];
    getrandom::fill(&mut hash_key).map_err(|_| OpenError::Random)?;
    Ok(Store { id, hash_key, partition: 0, partitions })
}
