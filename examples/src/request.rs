//! Requests of a trace or a generated workload to the store.

use std::path::PathBuf;

use crate::trace::{TraceError, TraceOp, TraceReader};
use crate::workload::Workload;

/// The longest key that a request names, in bytes.
pub const KEY_BYTES_MAX: usize = 128;

/// The operation of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// Stores a value of that length, for so many seconds where a time to live is given.
    Put {
        /// Bytes of the value.
        len: u32,
        /// Seconds to live.
        ttl_s: Option<u32>,
    },
    /// Stores a value unless the key has one.
    Add {
        /// Bytes of the value.
        len: u32,
        /// Seconds to live.
        ttl_s: Option<u32>,
    },
    /// Reads the value.
    Get,
    /// Removes the key.
    Remove,
}

/// One request. The key is a number; its bytes follow from number and length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// Names the key.
    pub key: u64,
    /// Bytes of the key, at least eight.
    pub key_len: u16,
    /// The operation.
    pub op: Op,
}

/// Writes the bytes of a key into `buffer`: letters as of a namespace, then the number.
#[must_use]
pub fn key_bytes(key: u64, key_len: u16, buffer: &mut [u8; KEY_BYTES_MAX]) -> &[u8] {
    let len = usize::from(key_len).clamp(8, KEY_BYTES_MAX);
    let (name, number) = buffer[..len].split_at_mut(len - 8);
    for (letter, from) in name.iter_mut().zip(b"replay:user:timeline:".iter().cycle()) {
        *letter = *from;
    }
    number.copy_from_slice(&key.to_be_bytes());
    &buffer[..len]
}

/// The source of requests. Every call of [`Source::requests`] gives the same ones again, so each thread walks all of them and
/// keeps those of its own keys: nothing is shared and no queue stands between.
#[derive(Debug, Clone)]
pub enum Source {
    /// A trace file, replayed so many times.
    Trace {
        /// The file.
        path: PathBuf,
        /// How often it is replayed.
        rounds: u32,
        /// Seconds that every value lives, where a time to live is asked for.
        ttl_s: Option<u32>,
    },
    /// A generated workload.
    Generated(Workload),
}

impl Source {
    /// Starts the requests from the first.
    ///
    /// # Errors
    ///
    /// [`TraceError`] where the trace cannot be opened. The items carry the errors of its lines.
    pub fn requests(&self) -> Result<Box<dyn Iterator<Item = Result<Request, TraceError>> + '_>, TraceError> {
        match self {
            Self::Generated(workload) => Ok(Box::new(workload.requests().map(Ok))),
            Self::Trace { path, rounds, ttl_s } => {
                // The first round is opened here, so that a missing file is reported at once.
                let first = TraceReader::open(path)?;
                let rounds = (1..*rounds).map(|_| TraceReader::open(path));
                let rows = core::iter::once(Ok(first)).chain(rounds).flat_map(rows_of);
                Ok(Box::new(rows.filter_map(|row| request_of(row, *ttl_s))))
            }
        }
    }
}

type Rows = Box<dyn Iterator<Item = Result<crate::trace::TraceRow, TraceError>>>;

fn rows_of(round: Result<TraceReader<std::io::BufReader<std::fs::File>>, TraceError>) -> Rows {
    match round {
        Ok(reader) => Box::new(reader),
        Err(error) => Box::new(core::iter::once(Err(error))),
    }
}

fn request_of(
    row: Result<crate::trace::TraceRow, TraceError>,
    ttl_s: Option<u32>,
) -> Option<Result<Request, TraceError>> {
    match row {
        Err(error) => Some(Err(error)),
        Ok(row) => {
            let op = match row.op {
                TraceOp::Write => Op::Put { len: row.size, ttl_s },
                TraceOp::Read => Op::Get,
                TraceOp::Other(_) => return None,
            };
            Some(Ok(Request { key: row.lbn, key_len: 8, op }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_any_length_differ_where_their_numbers_do() {
        let (mut one, mut two) = ([0; KEY_BYTES_MAX], [0; KEY_BYTES_MAX]);
        for len in [0, 8, 20, 44, 128, 999] {
            let (one, two) = (key_bytes(1, len, &mut one), key_bytes(2, len, &mut two));
            assert_eq!(one.len(), usize::from(len).clamp(8, KEY_BYTES_MAX));
            assert_ne!(one, two);
        }
    }

    #[test]
    fn trace_of_two_rounds_gives_its_writes_and_reads_twice() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("trace.csv");
        std::fs::write(&path, "version,time,op,size,lbn\n1,5,2a,512,7\n1,6,35,512,7\n1,6,28,512,7\n")
            .unwrap();
        let source = Source::Trace { path, rounds: 2, ttl_s: Some(9) };
        let requests: Vec<_> = source.requests().unwrap().map(Result::unwrap).collect();
        let put = Request { key: 7, key_len: 8, op: Op::Put { len: 512, ttl_s: Some(9) } };
        let get = Request { key: 7, key_len: 8, op: Op::Get };
        assert_eq!(requests, [put, get, put, get]);
    }
}
