//! Finds the shape of an image from the first header in it that lies where its own shape says.

use coldpress_core::log::{Geometry, HEADER_BYTES_KEYED, Header, HeaderError, MARKER_BYTES, Marker};

use super::error::ImageError;
use super::source::Source;

/// Bytes read at a time.
const CHUNK_BYTES: usize = 1 << 20;
/// How a header begins.
const MAGIC: &[u8] = b"cp";

/// How many shapes are tried, whose headers lie where they say and whose segments do not begin as they should.
const SHAPES_MAX: usize = 16;

/// Looks for a header.
///
/// A value can hold bytes that are a header, so one is believed only if at least half of the segments that it tells of begin with
/// a marker or a header of its store.
///
/// Bounds: reads the image once, and the beginnings of all segments for each of up to [`SHAPES_MAX`] shapes.
pub(super) fn probe(source: &Source) -> Result<(Geometry, Header), ImageError> {
    let mut refused = None;
    let mut is_blank = true;
    let mut first = None;
    let len = source.len();
    let mut chunk = Vec::new();
    let mut tried: Vec<(Geometry, u64)> = Vec::new();
    let mut at = 0;
    while at < len {
        // A header that begins in one chunk may end in the next.
        let bytes = (len - at).min((CHUNK_BYTES as u64) + u64::from(HEADER_BYTES_KEYED));
        chunk.resize(usize::try_from(bytes).unwrap_or(CHUNK_BYTES), 0);
        source.read(at, &mut chunk)?;
        let blank = *first.get_or_insert(chunk.first().copied().unwrap_or(0));
        is_blank &= (blank == 0x00 || blank == 0xFF) && chunk.iter().all(|byte| *byte == blank);
        for (nth, _) in chunk.windows(MAGIC.len()).enumerate().filter(|(_, bytes)| *bytes == MAGIC) {
            let bytes = chunk.get(nth..).unwrap_or_default();
            match place(Header::probe(bytes), at + nth as u64, len) {
                Ok((geometry, header)) => {
                    let shape = (geometry, header.store.id);
                    if tried.contains(&shape) || tried.len() >= SHAPES_MAX {
                        continue;
                    }
                    if holds(source, &geometry, &header) {
                        return Ok((geometry, header));
                    }
                    tried.push(shape);
                }
                // The first that says more than "no header" is what a person needs to know.
                Err(error) => refused = refused.or(error),
            }
        }
        at += CHUNK_BYTES as u64;
    }
    let mut marker = [0; MARKER_BYTES as usize];
    let has_marker = source.read(0, &mut marker).is_ok() && Marker::decode(&marker).is_some();
    Err(refused.unwrap_or(if is_blank || has_marker { ImageError::Blank } else { ImageError::Foreign }))
}

/// Takes a header only where its shape says that one lies.
fn place(
    found: Result<(Geometry, Header), HeaderError>,
    at: u64,
    len: u64,
) -> Result<(Geometry, Header), Option<ImageError>> {
    let (geometry, header) = match found {
        Ok(found) => found,
        Err(HeaderError::Version(version)) => return Err(Some(ImageError::Version(version))),
        Err(_) => return Err(None),
    };
    let offset = at % u64::from(geometry.segment_bytes());
    let is_in_place =
        [geometry.header_at(), geometry.second_header_at()].iter().any(|at| u64::from(*at) == offset);
    if !is_in_place {
        return Err(None);
    }
    let expected = geometry.medium_bytes();
    if expected != len {
        return Err(Some(ImageError::Length { expected, found: len }));
    }
    Ok((geometry, header))
}

/// Tells whether at least half of the segments that are not blank begin with a marker, or a header of the same store.
fn holds(source: &Source, geometry: &Geometry, header: &Header) -> bool {
    let mut bytes = vec![0; (geometry.header_at() + HEADER_BYTES_KEYED) as usize];
    let (mut kept, mut others) = (0_u32, 0_u32);
    for segment in 0..geometry.segment_count() {
        let at = u64::from(segment) * u64::from(geometry.segment_bytes());
        if source.read(at, &mut bytes).is_err() {
            others += 1;
            continue;
        }
        let copy = bytes.get(geometry.header_at() as usize..).unwrap_or_default();
        let found = Header::decode_any(geometry, copy);
        let is_ours = found.is_ok_and(|(found, _)| found.store.id == header.store.id);
        if is_ours || Marker::decode(&bytes).is_some() {
            kept += 1;
        } else if bytes.iter().any(|byte| *byte != geometry.erase_value()) {
            others += 1;
        }
    }
    kept >= others
}
