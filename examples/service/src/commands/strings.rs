//! Commands that read and write values.

use super::arguments::{Unit, integer, lifetime};
use super::{EACH, Flow, Turn};
use crate::resp::Command;
use crate::store::{Condition, Lifetime, StoreError};

/// GET key
pub(super) fn get(turn: &mut Turn<'_>, command: Command<'_>) -> Flow {
    match bulk_of(turn, command.word(1)) {
        Ok(true) => Flow::Done,
        Ok(false) => Flow::Wait,
        Err(error) => turn.fail(&error, "get"),
    }
}

/// MGET key [key ...]
pub(super) fn mget(turn: &mut Turn<'_>, command: Command<'_>) -> Flow {
    let begun = turn.out.len();
    turn.out.array(command.len() - 1);
    for key in command.words(1) {
        match bulk_of(turn, key) {
            Ok(true) => {}
            Ok(false) => return Flow::Wait,
            Err(error) => {
                turn.out.truncate(begun);
                return turn.fail(&error, "mget");
            }
        }
        // Beyond the limit the answer is refused by the connection, so the rest need not be read.
        if turn.out.len() - begun > turn.service.config.limits.buffer_bytes {
            break;
        }
    }
    Flow::Done
}

/// Answers with the value of a key; `false` where that may wait and must not.
fn bulk_of(turn: &mut Turn<'_>, key: &[u8]) -> Result<bool, StoreError> {
    let store = turn.service.store;
    let out = &mut *turn.out;
    if store.peek(key, |value| out.bulk(value)).is_some() {
        turn.tally.memory_reads += 1;
        turn.count(true);
        return Ok(true);
    }
    if !turn.may_wait {
        // The index is in memory: a key that is not in it needs no read.
        let is_there = !turn.service.looks_inline() || store.contains(key)?;
        if !is_there {
            turn.out.null();
            turn.count(false);
        }
        return Ok(!is_there);
    }
    let found = store.get(key)?;
    match &found {
        Some(value) => turn.out.bulk(value),
        None => turn.out.null(),
    }
    turn.count(found.is_some());
    Ok(true)
}

/// MSET key value [key value ...]
pub(super) fn mset(turn: &mut Turn<'_>, command: Command<'_>) -> Flow {
    if command.len().is_multiple_of(2) {
        return turn.wrong_arity("mset");
    }
    let bytes: usize = command.words(1).map(<[u8]>::len).sum();
    if !turn.may_wait && !turn.service.writes_inline(bytes) {
        return Flow::Wait;
    }
    for at in (1..command.len()).step_by(2) {
        let (key, value) = (command.word(at), command.word(at + 1));
        let set = turn.service.store.set(key, value, Lifetime::Forever, Condition::None, EACH);
        turn.has_written = true;
        if let Err(error) = set {
            return turn.fail(&error, "mset");
        }
    }
    turn.out.ok();
    Flow::Done
}

/// The options of a SET.
#[derive(Debug, PartialEq, Eq)]
struct SetOptions {
    condition: Condition,
    unit: Option<(Unit, i64)>,
    keeps: bool,
    gets: bool,
}

/// Why options are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    Syntax,
    NoInteger,
}

impl SetOptions {
    fn read(command: Command<'_>) -> Result<Self, Refusal> {
        let mut options = Self { condition: Condition::None, unit: None, keeps: false, gets: false };
        let mut at = 3;
        while at < command.len() {
            let word = command.word(at);
            let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
            let no_lifetime = options.unit.is_none() && !options.keeps;
            if is(b"NX") && options.condition == Condition::None {
                options.condition = Condition::Absent;
            } else if is(b"XX") && options.condition == Condition::None {
                options.condition = Condition::Present;
            } else if is(b"GET") {
                options.gets = true;
            } else if is(b"KEEPTTL") && no_lifetime {
                options.keeps = true;
            } else if let (Some(unit), true) = (Unit::of(word), no_lifetime && at + 1 < command.len()) {
                at += 1;
                options.unit = Some((unit, integer(command.word(at)).ok_or(Refusal::NoInteger)?));
            } else {
                return Err(Refusal::Syntax);
            }
            at += 1;
        }
        Ok(options)
    }
}

/// SET key value [NX | XX] [GET] [EX seconds | PX milliseconds | EXAT unix-seconds | PXAT unix-milliseconds | KEEPTTL]
pub(super) fn set(turn: &mut Turn<'_>, command: Command<'_>) -> Flow {
    let (key, value) = (command.word(1), command.word(2));
    let max = turn.service.config.limits.value_bytes;
    if value.len() > max {
        turn.out.error(format_args!("ERR a value of {} bytes: the limit is {max}", value.len()));
        return Flow::Done;
    }
    if command.len() == 3 {
        return plain_set(turn, key, value);
    }
    let options = match SetOptions::read(command) {
        Ok(options) => options,
        Err(Refusal::Syntax) => return turn.syntax_error(),
        Err(Refusal::NoInteger) => return turn.not_an_integer(),
    };
    // A time that passed already: the key is set, and is over at once.
    let mut is_over = false;
    let how_long = match options.unit {
        Some((unit, number)) => match unit.milliseconds(number) {
            Some(ms) if number > 0 => match lifetime(ms) {
                Some(time) => Lifetime::For(time),
                None => {
                    is_over = true;
                    Lifetime::Forever
                }
            },
            _ => {
                turn.out.error("ERR invalid expire time in 'set' command");
                return Flow::Done;
            }
        },
        None if options.keeps => Lifetime::Keep,
        None => Lifetime::Forever,
    };
    let reads_log = options.gets || is_over || options.condition == Condition::Present;
    if !turn.may_wait && (reads_log || !turn.service.writes_inline(value.len())) {
        return Flow::Wait;
    }
    let store = turn.service.store;
    let set = if options.gets {
        store.replace(key, value, how_long, options.condition, EACH)
    } else {
        store.set(key, value, how_long, options.condition, EACH).map(|is_set| (is_set, None))
    };
    let set = set.and_then(|(is_set, before)| {
        if is_set && is_over {
            store.remove(key, EACH)?;
        }
        Ok((is_set, before))
    });
    turn.has_written = true;
    match set {
        Err(error) => return turn.fail(&error, "set"),
        Ok((_, Some(before))) => turn.out.bulk(&before),
        Ok((true, None)) if !options.gets => turn.out.ok(),
        Ok(_) => turn.out.null(),
    }
    Flow::Done
}

fn plain_set(turn: &mut Turn<'_>, key: &[u8], value: &[u8]) -> Flow {
    if !turn.may_wait && !turn.service.writes_inline(value.len()) {
        return Flow::Wait;
    }
    turn.has_written = true;
    match turn.service.store.set(key, value, Lifetime::Forever, Condition::None, EACH) {
        Ok(_) => turn.out.ok(),
        Err(error) => return turn.fail(&error, "set"),
    }
    Flow::Done
}

/// GETEX key [EX seconds | PX milliseconds | EXAT unix-seconds | PXAT unix-milliseconds | PERSIST]
pub(super) fn getex(turn: &mut Turn<'_>, command: Command<'_>) -> Flow {
    let key = command.word(1);
    let change = match (command.len(), command.word(2)) {
        (2, _) => return get(turn, command),
        (3, word) if word.eq_ignore_ascii_case(b"PERSIST") => Some(Lifetime::Forever),
        (4, word) => {
            let Some(unit) = Unit::of(word) else { return turn.syntax_error() };
            let Some(number) = integer(command.word(3)) else { return turn.not_an_integer() };
            match unit.milliseconds(number).filter(|_| number > 0) {
                Some(ms) => lifetime(ms).map(Lifetime::For),
                None => {
                    turn.out.error("ERR invalid expire time in 'getex' command");
                    return Flow::Done;
                }
            }
        }
        _ => return turn.syntax_error(),
    };
    if !turn.may_wait {
        return Flow::Wait;
    }
    let store = turn.service.store;
    let done = store.get(key).and_then(|found| {
        match change {
            Some(change) if found.is_some() => store.touch(key, change, EACH)?,
            None if found.is_some() => store.remove(key, EACH)?,
            _ => false,
        };
        Ok(found)
    });
    turn.has_written = true;
    match &done {
        Ok(Some(value)) => turn.out.bulk(value),
        Ok(None) => turn.out.null(),
        Err(error) => return turn.fail(error, "getex"),
    }
    turn.count(matches!(done, Ok(Some(_))));
    Flow::Done
}
