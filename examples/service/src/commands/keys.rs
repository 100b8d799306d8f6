//! Commands on keys, whatever their values.

use core::time::Duration;

use super::arguments::{Unit, integer, lifetime};
use super::{EACH, Flow, Turn};
use crate::resp::Command;
use crate::store::Lifetime;

/// DEL key [key ...]
pub(super) fn del(turn: &mut Turn<'_>, command: Command<'_>) -> Flow {
    if !turn.may_wait && !turn.service.writes_inline(0) {
        return Flow::Wait;
    }
    let mut removed = 0;
    turn.has_written = true;
    for key in command.words(1) {
        match turn.service.store.remove(key, EACH) {
            Ok(was_there) => removed += i64::from(was_there),
            Err(error) => return turn.fail(&error, "del"),
        }
    }
    turn.out.integer(removed);
    Flow::Done
}

/// EXISTS key [key ...]
pub(super) fn exists(turn: &mut Turn<'_>, command: Command<'_>) -> Flow {
    if !turn.may_wait && !turn.service.looks_inline() {
        return Flow::Wait;
    }
    let mut found = 0;
    for key in command.words(1) {
        match turn.service.store.contains(key) {
            Ok(is_there) => {
                turn.count(is_there);
                found += i64::from(is_there);
            }
            Err(error) => return turn.fail(&error, "exists"),
        }
    }
    turn.out.integer(found);
    Flow::Done
}

/// EXPIRE key seconds
pub(super) fn expire(turn: &mut Turn<'_>, command: Command<'_>) -> Flow {
    set_lifetime(turn, command, Unit::Seconds, "expire")
}

/// PEXPIRE key milliseconds
pub(super) fn pexpire(turn: &mut Turn<'_>, command: Command<'_>) -> Flow {
    set_lifetime(turn, command, Unit::Milliseconds, "pexpire")
}

fn set_lifetime(turn: &mut Turn<'_>, command: Command<'_>, unit: Unit, name: &str) -> Flow {
    let key = command.word(1);
    let Some(number) = integer(command.word(2)) else { return turn.not_an_integer() };
    if command.len() > 3 {
        let option = command.word(3).escape_ascii();
        turn.out.error(format_args!("ERR Unsupported option {option}"));
        return Flow::Done;
    }
    let Some(milliseconds) = unit.milliseconds(number) else {
        turn.out.error(format_args!("ERR invalid expire time in '{name}' command"));
        return Flow::Done;
    };
    if !turn.may_wait {
        return Flow::Wait;
    }
    turn.has_written = true;
    let store = turn.service.store;
    let done = match lifetime(milliseconds) {
        Some(time) => store.touch(key, Lifetime::For(time), EACH),
        None => store.remove(key, EACH),
    };
    match done {
        Ok(was_there) => turn.out.integer(i64::from(was_there)),
        Err(error) => return turn.fail(&error, name),
    }
    Flow::Done
}

/// TTL key
pub(super) fn ttl(turn: &mut Turn<'_>, command: Command<'_>) -> Flow {
    time_left(turn, command, |time| time.as_secs())
}

/// PTTL key
pub(super) fn pttl(turn: &mut Turn<'_>, command: Command<'_>) -> Flow {
    time_left(turn, command, |time| time.as_secs().saturating_mul(1000))
}

fn time_left(turn: &mut Turn<'_>, command: Command<'_>, count: fn(Duration) -> u64) -> Flow {
    if !turn.may_wait && !turn.service.looks_inline() {
        return Flow::Wait;
    }
    match turn.service.store.time_left(command.word(1)) {
        Ok(None) => turn.out.integer(-2),
        Ok(Some(None)) => turn.out.integer(-1),
        Ok(Some(Some(time))) => turn.out.count(count(time)),
        Err(error) => return turn.fail(&error, "ttl"),
    }
    Flow::Done
}

/// PERSIST key
pub(super) fn persist(turn: &mut Turn<'_>, command: Command<'_>) -> Flow {
    if !turn.may_wait {
        return Flow::Wait;
    }
    let (key, store) = (command.word(1), turn.service.store);
    let done = store.time_left(key).and_then(|left| match left {
        Some(Some(_)) => store.touch(key, Lifetime::Forever, EACH),
        _ => Ok(false),
    });
    turn.has_written = true;
    match done {
        Ok(is_changed) => turn.out.integer(i64::from(is_changed)),
        Err(error) => return turn.fail(&error, "persist"),
    }
    Flow::Done
}

/// DBSIZE
pub(super) fn dbsize(turn: &mut Turn<'_>, _: Command<'_>) -> Flow {
    if !turn.may_wait {
        return Flow::Wait;
    }
    match turn.service.store.len() {
        Ok(keys) => turn.out.count(keys),
        Err(error) => return turn.fail(&error, "dbsize"),
    }
    Flow::Done
}

/// FLUSHDB [ASYNC | SYNC]: both wait until all keys are removed.
pub(super) fn flushdb(turn: &mut Turn<'_>, command: Command<'_>) -> Flow {
    let option = command.word(1);
    let is_option = option.eq_ignore_ascii_case(b"ASYNC") || option.eq_ignore_ascii_case(b"SYNC");
    if command.len() > 2 || command.len() == 2 && !is_option {
        return turn.syntax_error();
    }
    if !turn.may_wait {
        return Flow::Wait;
    }
    turn.has_written = true;
    match turn.service.store.clear() {
        Ok(_) => turn.out.ok(),
        Err(error) => return turn.fail(&error, "flushdb"),
    }
    Flow::Done
}
