//! The command that walks through all keys.

use super::arguments::integer;
use super::{Flow, Turn};
use crate::glob::matches;
use crate::resp::Command;

/// Keys that one step looks at where no count is asked for.
const COUNT_DEFAULT: usize = 10;
/// The most keys that one step looks at.
const COUNT_MAX: usize = 10_000;

/// The options of a SCAN.
struct ScanOptions<'a> {
    pattern: Option<&'a [u8]>,
    count: usize,
    is_string: bool,
}

/// SCAN cursor [MATCH pattern] [COUNT count] [TYPE type]
pub(super) fn scan(turn: &mut Turn<'_>, command: Command<'_>) -> Flow {
    let text = core::str::from_utf8(command.word(1)).ok();
    let Some(cursor) = text.and_then(|text| text.parse::<u64>().ok()) else {
        turn.out.error("ERR invalid cursor");
        return Flow::Done;
    };
    let mut options = ScanOptions { pattern: None, count: COUNT_DEFAULT, is_string: true };
    for at in (2..command.len()).step_by(2) {
        let (name, value) = (command.word(at), command.word(at + 1));
        if at + 1 == command.len() {
            return turn.syntax_error();
        } else if name.eq_ignore_ascii_case(b"MATCH") {
            options.pattern = Some(value);
        } else if name.eq_ignore_ascii_case(b"COUNT") {
            let Some(count) = integer(value) else { return turn.not_an_integer() };
            let Some(count) = usize::try_from(count).ok().filter(|count| *count > 0) else {
                return turn.syntax_error();
            };
            options.count = count.min(COUNT_MAX);
        } else if name.eq_ignore_ascii_case(b"TYPE") {
            options.is_string = value.eq_ignore_ascii_case(b"string");
        } else {
            return turn.syntax_error();
        }
    }
    if !turn.may_wait {
        return Flow::Wait;
    }
    step(turn, cursor, &options)
}

/// Goes on with a scan, or begins one at 0. A scan that begins sees each key that is there from its begin to its end.
fn step(turn: &mut Turn<'_>, cursor: u64, options: &ScanOptions<'_>) -> Flow {
    let service = turn.service;
    let keys = match cursor {
        0 => Some(service.store.keys()),
        cursor => service.cursors.take(cursor),
    };
    let Some(mut keys) = keys else {
        // To answer that all was seen would be wrong, and to begin again might never end.
        turn.out
            .error("ERR invalid cursor: it was used already, or its scan was idle for too long; begin at 0");
        return Flow::Done;
    };
    let mut found = Vec::new();
    let mut found_bytes = 0;
    let mut is_over = false;
    for _ in 0..options.count {
        match keys.next() {
            None => {
                is_over = true;
                break;
            }
            Some(Ok(key)) => {
                if options.is_string && options.pattern.is_none_or(|pattern| matches(pattern, &key)) {
                    found_bytes += key.len() + 32;
                    found.push(key);
                }
                if found_bytes > service.config.limits.buffer_bytes / 2 {
                    break;
                }
            }
            Some(Err(error)) => return turn.fail(&error, "scan"),
        }
    }
    let next = if is_over { 0 } else { service.cursors.keep(keys) };
    turn.out.array(2);
    turn.out.bulk(next.to_string().as_bytes());
    turn.out.array(found.len());
    for key in found {
        turn.out.bulk(&key);
    }
    Flow::Done
}
