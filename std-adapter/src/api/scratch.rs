//! The memory that a client thread keeps between operations: codec contexts and buffers.

use core::cell::Cell;

use coldpress_core::codec::{CodecError, CodecId};

use crate::codec::CodecSet;

/// A buffer that grew beyond this is not kept.
const KEPT_BYTES_MAX: usize = 4 << 20;

#[derive(Default)]
struct Scratch {
    codecs: CodecSet,
    buffer: Vec<u8>,
}

thread_local! {
    static SCRATCH: Cell<Option<Box<Scratch>>> = const { Cell::new(None) };
}

/// Runs a call on this thread's scratch, or on a new one where that is in use or gone, as it may be while a thread ends.
fn with<R>(call: impl FnOnce(&mut Scratch) -> R) -> R {
    let mut scratch = SCRATCH.try_with(Cell::take).ok().flatten().unwrap_or_default();
    let result = call(&mut scratch);
    if scratch.buffer.capacity() > KEPT_BYTES_MAX {
        scratch.buffer = Vec::new();
    }
    // A thread that ends keeps nothing.
    let _ = SCRATCH.try_with(|kept| kept.set(Some(scratch)));
    result
}

/// Encodes a value; returns the codec that made it, and key and encoded value in one.
pub(crate) fn encode(codec: CodecId, key: &[u8], value: &[u8]) -> (CodecId, Box<[u8]>) {
    let join = |value: &[u8]| {
        let mut payload = Vec::with_capacity(key.len() + value.len());
        payload.extend_from_slice(key);
        payload.extend_from_slice(value);
        payload.into_boxed_slice()
    };
    if codec == CodecId::Raw {
        return (CodecId::Raw, join(value));
    }
    with(|scratch| {
        let used = scratch.codecs.encode(codec, value, &mut scratch.buffer);
        (used, join(&scratch.buffer))
    })
}

/// Decodes a value into `out`.
pub(crate) fn decode(
    codec: CodecId,
    payload: &[u8],
    len_max: u32,
    out: &mut Vec<u8>,
) -> Result<(), CodecError> {
    with(|scratch| scratch.codecs.decode(codec, payload, len_max as usize, out))
}

/// Decodes a value behind what is in `out`; a raw one is copied once, and needs no scratch.
pub(crate) fn decode_onto(
    codec: CodecId,
    payload: &[u8],
    len_max: u32,
    out: &mut Vec<u8>,
) -> Result<(), CodecError> {
    if codec == CodecId::Raw && payload.len() <= len_max as usize {
        out.extend_from_slice(payload);
        return Ok(());
    }
    with(|scratch| scratch.codecs.decode_onto(codec, payload, len_max as usize, out))
}

/// Lends this thread's buffer.
pub(crate) fn with_buffer<R>(call: impl FnOnce(&mut Vec<u8>) -> R) -> R {
    let mut buffer = with(|scratch| core::mem::take(&mut scratch.buffer));
    let result = call(&mut buffer);
    with(|scratch| scratch.buffer = buffer);
    result
}
