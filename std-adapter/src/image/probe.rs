//! Finds the shape of an image from the first header in it that lies where its own shape says.

use coldpress_core::format::{
    Geometry, HEADER_BYTES_KEYED, Header, HeaderError, Identity, MARKER_BYTES, Marker, SEGMENT_BYTES_MIN,
    SEGMENTS_MIN, Sequence,
};

use super::error::ImageError;
use super::source::Source;

/// Bytes read at a time.
const CHUNK_BYTES: usize = 1 << 20;
/// How a header begins.
const MAGIC: &[u8] = b"cp";

/// The most shapes that are tried in vain: a header lies where such a shape says, and too few of its segments begin with one.
const SHAPES_MAX: usize = 16;

/// Looks for a header that states the length of the image.
///
/// A value can hold bytes that are a header. So a header is believed only if at least half of the segments that it states, free ones
/// left out, hold a header of its store.
///
/// Bounds: reads the image once, and the beginnings of all segments for each of up to [`SHAPES_MAX`] shapes.
pub(super) fn probe(source: &Source) -> Result<(Geometry, Header), ImageError> {
    let found = search(source, &|geometry| {
        let (expected, found) = (geometry.medium_bytes(), source.len());
        if expected == found { Ok(()) } else { Err(ImageError::Length { expected, found }) }
    })?;
    match found {
        Probed::Shape(geometry, header) => Ok((geometry, header)),
        Probed::Refused(error) => Err(error),
        Probed::Blank => Err(ImageError::Blank),
        Probed::Other if has_marker(source) => Err(ImageError::Blank),
        Probed::Other => Err(ImageError::Foreign),
    }
}

/// Reads the shape of a service's file, which may be longer or shorter than its headers state: the length of its segments, and the
/// highest number of them that a header of its store states. `None` where nothing was ever written.
///
/// Bounds: as for [`probe`], and reads the headers of all segments.
pub(super) fn shape(source: &Source) -> Result<Option<Geometry>, ImageError> {
    let mut first = [0; HEADER_BYTES_KEYED as usize];
    let first =
        source.read(u64::from(MARKER_BYTES), &mut first).ok().and_then(|()| Header::probe(&first).ok());
    if let Some((geometry, header)) = first
        && is_services(&geometry).is_ok()
    {
        return most_segments(source, geometry, &header).map(Some);
    }
    match search(source, &is_services)? {
        Probed::Shape(geometry, header) => most_segments(source, geometry, &header).map(Some),
        Probed::Refused(error) => Err(error),
        Probed::Other if is_unused(source)? => Ok(None),
        Probed::Blank => Err(ImageError::Blank),
        Probed::Other => Err(ImageError::Foreign),
    }
}

/// Looks for a header of a service's file, which may be longer than its headers state. The shape is that of the whole file, as its next
/// open takes it. `None` where no segment was ever opened, or all of them were freed.
///
/// Bounds: as for [`probe`].
pub(super) fn part(source: &Source) -> Result<Option<(Geometry, Header)>, ImageError> {
    let found = search(source, &|geometry| {
        let (expected, found) = (geometry.medium_bytes(), source.len());
        if expected <= found { is_services(geometry) } else { Err(ImageError::Length { expected, found }) }
    })?;
    let (geometry, header) = match found {
        Probed::Shape(geometry, header) => (geometry, header),
        Probed::Refused(error) => return Err(error),
        Probed::Blank | Probed::Other if has_marker(source) => return Ok(None),
        Probed::Blank => return Err(ImageError::Blank),
        Probed::Other => return Err(ImageError::Foreign),
    };
    let segments = source.len() / u64::from(geometry.segment_bytes());
    let grown = u32::try_from(segments).ok().and_then(|segments| geometry.with_segments(segments).ok());
    Ok(Some((grown.unwrap_or(geometry), header)))
}

/// Refuses a shape that no service makes.
fn is_services(geometry: &Geometry) -> Result<(), ImageError> {
    let is_services = (geometry.write_unit(), geometry.erase_value()) == (1, 0x00)
        && geometry.identity() == Identity::KeyedHash;
    if is_services { Ok(()) } else { Err(ImageError::Foreign) }
}

/// The outcome of a search.
enum Probed {
    Shape(Geometry, Header),
    /// No header is wanted; the first one that was refused gives the reason.
    Refused(ImageError),
    /// All bytes are the same, as those of an erased medium are.
    Blank,
    Other,
}

/// Looks for a header of a shape that is wanted.
fn search(
    source: &Source,
    is_wanted: &dyn Fn(&Geometry) -> Result<(), ImageError>,
) -> Result<Probed, ImageError> {
    let mut refused = None;
    let mut is_blank = true;
    let mut first = None;
    let mut chunk = Vec::new();
    let mut tried: Vec<(Geometry, u64)> = Vec::new();
    for (at, bytes) in chunks(source) {
        chunk.resize(bytes, 0);
        source.read(at, &mut chunk)?;
        let blank = *first.get_or_insert(chunk.first().copied().unwrap_or(0));
        is_blank &= (blank == 0x00 || blank == 0xFF) && chunk.iter().all(|byte| *byte == blank);
        for (nth, _) in chunk.windows(MAGIC.len()).enumerate().filter(|(_, bytes)| *bytes == MAGIC) {
            let bytes = chunk.get(nth..).unwrap_or_default();
            match place(Header::probe(bytes), at + nth as u64, is_wanted) {
                Ok((geometry, header)) => {
                    let shape = (geometry, header.store.id);
                    if tried.contains(&shape) || tried.len() >= SHAPES_MAX {
                        continue;
                    }
                    // No record lies right behind the first marker, in any shape.
                    let is_first = at + nth as u64 == u64::from(MARKER_BYTES);
                    if is_first || holds(source, &geometry, &header) {
                        return Ok(Probed::Shape(geometry, header));
                    }
                    tried.push(shape);
                }
                // The first reason beyond "no header" is the one that a person needs.
                Err(error) => refused = refused.or(error),
            }
        }
    }
    let other = if is_blank { Probed::Blank } else { Probed::Other };
    Ok(refused.map_or(other, Probed::Refused))
}

/// The parts in which data is read, with their lengths. A header that begins in one may end in the next, so they overlap.
fn chunks(source: &Source) -> impl Iterator<Item = (u64, usize)> {
    let chunk_bytes = CHUNK_BYTES as u64;
    source.data().into_iter().flat_map(move |range| {
        (range.start..range.end).step_by(CHUNK_BYTES).map(move |at| {
            let bytes = (range.end - at).min(chunk_bytes + u64::from(HEADER_BYTES_KEYED));
            (at, usize::try_from(bytes).unwrap_or(CHUNK_BYTES))
        })
    })
}

/// The shape with the highest number of segments that a header of the store states.
fn most_segments(source: &Source, geometry: Geometry, header: &Header) -> Result<Geometry, ImageError> {
    let segment_bytes = u64::from(geometry.segment_bytes());
    let mut most = geometry;
    // The usual case needs no look at all headers: the mount finds out if another one states more.
    if geometry.medium_bytes() == source.len() {
        return Ok(geometry);
    }
    let mut bytes = [0; HEADER_BYTES_KEYED as usize];
    for segment in 0..source.len() / segment_bytes {
        for at in [geometry.header_at(), geometry.second_header_at()] {
            let offset = segment * segment_bytes + u64::from(at);
            // A header that can't be read counts for nothing. This is safe: a file with bytes beyond the known segments is not
            // made shorter.
            if source.read(offset, &mut bytes).is_ok()
                && let Ok((stated, found)) = Header::probe(&bytes)
                && stated.segment_bytes() == geometry.segment_bytes()
                && found.store.id == header.store.id
                && u64::from(stated.segment_count()) > segment
                && stated.segment_count() > most.segment_count()
            {
                most = stated;
            }
        }
    }
    Ok(most)
}

/// Tells whether a file holds nothing from a place on but the markers of segments of a shape.
///
/// Bounds: reads what the file holds there.
pub(super) fn is_blank_from(source: &Source, from: u64, shape: &Geometry) -> Result<bool, ImageError> {
    let (segment_bytes, blank) = (u64::from(shape.segment_bytes()), shape.erase_value());
    let mut chunk = Vec::new();
    for (at, bytes) in chunks(source).filter(|(at, bytes)| at + *bytes as u64 > from) {
        chunk.resize(bytes, 0);
        source.read(at, &mut chunk)?;
        let is_other = |(place, byte): (u64, &u8)| {
            *byte != blank && place >= from && place % segment_bytes >= u64::from(MARKER_BYTES)
        };
        if (at..).zip(&chunk).any(is_other) {
            return Ok(false);
        }
    }
    Ok(true)
}

pub(super) fn has_marker(source: &Source) -> bool {
    let mut marker = [0; MARKER_BYTES as usize];
    source.read(0, &mut marker).is_ok() && Marker::decode(&marker).is_some()
}

/// Tells whether a file is as it was made: the marker of its first segment, and zeroes. An emptied one has later markers; and one that
/// was cut short has them too, or the first header.
fn is_unused(source: &Source) -> Result<bool, ImageError> {
    let mut chunk = [0; MARKER_BYTES as usize];
    let least = u64::from(SEGMENT_BYTES_MIN) * u64::from(SEGMENTS_MIN);
    let is_long = source.len() >= least;
    if !is_long || source.read(0, &mut chunk).is_err() {
        return Ok(false);
    }
    if Marker::decode(&chunk) != Some(Marker { erases: 0, sequence_issued: Sequence::NONE }) {
        return Ok(false);
    }
    let mut chunk = Vec::new();
    for (at, bytes) in chunks(source) {
        chunk.resize(bytes, 0);
        source.read(at, &mut chunk)?;
        let marker = if at == 0 { MARKER_BYTES as usize } else { 0 };
        if chunk.iter().skip(marker).any(|byte| *byte != 0) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Takes a header only at a place where its shape says that one lies.
fn place(
    found: Result<(Geometry, Header), HeaderError>,
    at: u64,
    is_wanted: &dyn Fn(&Geometry) -> Result<(), ImageError>,
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
    is_wanted(&geometry).map_err(Some)?;
    Ok((geometry, header))
}

/// Tells whether at least half of the segments that are not free hold a header of the store. Markers alone do not tell: where a value
/// states a part of the real length, segments begin at those places.
fn holds(source: &Source, geometry: &Geometry, header: &Header) -> bool {
    let mut bytes = vec![0; (geometry.header_at() + HEADER_BYTES_KEYED) as usize];
    let mut second = [0; HEADER_BYTES_KEYED as usize];
    let second_bytes = (geometry.header_bytes() as usize).min(second.len());
    let (mut kept, mut others) = (0_u32, 0_u32);
    for segment in 0..geometry.segment_count() {
        let at = u64::from(segment) * u64::from(geometry.segment_bytes());
        if at >= source.len() {
            // The file may have been cut short: the segments that exist decide.
            break;
        }
        let is_read = source.read(at, &mut bytes).is_ok();
        let place = second.get_mut(..second_bytes).unwrap_or_default();
        let has_second = source.read(at + u64::from(geometry.second_header_at()), place).is_ok();
        let is_ours = |copy: &[u8]| {
            Header::decode_any(geometry, copy).is_ok_and(|(found, _)| found.store.id == header.store.id)
        };
        let copy = bytes.get(geometry.header_at() as usize..).unwrap_or_default();
        if is_read && is_ours(copy) || has_second && is_ours(&second) {
            kept += 1;
            continue;
        }
        let own = if Marker::decode(&bytes).is_some() { copy } else { &bytes[..] };
        if !is_read || own.iter().any(|byte| *byte != geometry.erase_value()) {
            others += 1;
        }
    }
    kept >= others
}
