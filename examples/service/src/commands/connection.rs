//! Commands on the connection itself.

use super::arguments::integer;
use super::{Flow, Turn, add};
use crate::resp::Command;

/// The longest name of a client.
const NAME_BYTES_MAX: usize = 256;
/// The version of Redis whose answers these are.
pub(super) const REDIS_VERSION: &str = "7.0.15";

/// PING [message]
pub(super) fn ping(turn: &mut Turn<'_>, command: Command<'_>) -> Flow {
    match command.len() {
        1 => turn.out.simple("PONG"),
        2 => turn.out.bulk(command.word(1)),
        _ => return turn.wrong_arity("ping"),
    }
    Flow::Done
}

/// ECHO message
pub(super) fn echo(turn: &mut Turn<'_>, command: Command<'_>) -> Flow {
    turn.out.bulk(command.word(1));
    Flow::Done
}

/// SELECT 0
pub(super) fn select(turn: &mut Turn<'_>, command: Command<'_>) -> Flow {
    match integer(command.word(1)) {
        Some(0) => turn.out.ok(),
        Some(_) => turn.out.error("ERR DB index is out of range"),
        None => return turn.not_an_integer(),
    }
    Flow::Done
}

/// QUIT
pub(super) fn quit(turn: &mut Turn<'_>, _: Command<'_>) -> Flow {
    turn.out.ok();
    Flow::Close
}

/// AUTH [username] token
pub(super) fn auth(turn: &mut Turn<'_>, command: Command<'_>) -> Flow {
    let (user, shown) = match command.len() {
        2 => (&b"default"[..], command.word(1)),
        3 => (command.word(1), command.word(2)),
        _ => return turn.syntax_error(),
    };
    if turn.service.config.token.is_none() && command.len() == 2 {
        turn.out.error(
            "ERR AUTH <password> called without any password configured for the default user. Are you sure your \
             configuration is correct?",
        );
        return Flow::Done;
    }
    if authenticate(turn, user, shown) {
        turn.out.ok();
    }
    Flow::Done
}

/// Checks the token, and answers with an error where it is wrong.
fn authenticate(turn: &mut Turn<'_>, user: &[u8], shown: &[u8]) -> bool {
    let is_right = turn.service.config.token.as_ref().is_none_or(|token| token.is(shown));
    let is_known = is_right && user == b"default";
    if is_known {
        turn.client.is_authenticated = true;
    } else {
        add(&turn.service.counters.denied);
        turn.out.error("WRONGPASS invalid username-password pair or user is disabled.");
    }
    is_known
}

/// HELLO [version [AUTH username token] [SETNAME name]]
pub(super) fn hello(turn: &mut Turn<'_>, command: Command<'_>) -> Flow {
    let mut version = if turn.out.is_resp3 { 3 } else { 2 };
    if command.len() > 1 {
        match integer(command.word(1)) {
            Some(asked @ 2..=3) => version = asked,
            Some(_) => {
                turn.out.error("NOPROTO unsupported protocol version");
                return Flow::Done;
            }
            None => {
                turn.out.error("ERR Protocol version is not an integer or out of range");
                return Flow::Done;
            }
        }
    }
    let mut name = None;
    let mut at = 2;
    while at < command.len() {
        if command.word(at).eq_ignore_ascii_case(b"AUTH") && at + 2 < command.len() {
            if !authenticate(turn, command.word(at + 1), command.word(at + 2)) {
                return Flow::Done;
            }
            at += 3;
        } else if command.word(at).eq_ignore_ascii_case(b"SETNAME") && at + 1 < command.len() {
            name = Some(command.word(at + 1));
            at += 2;
        } else {
            let option = command.word(at).escape_ascii();
            turn.out.error(format_args!("ERR Syntax error in HELLO option '{option}'"));
            return Flow::Done;
        }
    }
    if !turn.client.is_authenticated {
        add(&turn.service.counters.denied);
        turn.out.error(
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> \
             <pass> option can be used to authenticate the client and select the RESP protocol version at the same time",
        );
        return Flow::Done;
    }
    if let Some(name) = name
        && !set_name(turn, name)
    {
        return Flow::Done;
    }
    turn.out.is_resp3 = version == 3;
    let id = i64::try_from(turn.client.id).unwrap_or(i64::MAX);
    let out = &mut *turn.out;
    out.map(7);
    for (key, value) in [("server", "redis"), ("version", REDIS_VERSION)] {
        out.bulk(key.as_bytes());
        out.bulk(value.as_bytes());
    }
    out.bulk(b"proto");
    out.integer(version);
    out.bulk(b"id");
    out.integer(id);
    for (key, value) in [("mode", "standalone"), ("role", "master")] {
        out.bulk(key.as_bytes());
        out.bulk(value.as_bytes());
    }
    out.bulk(b"modules");
    out.array(0);
    Flow::Done
}

/// Names the client; answers with an error where the name is none.
fn set_name(turn: &mut Turn<'_>, name: &[u8]) -> bool {
    let is_name = name.len() <= NAME_BYTES_MAX && name.iter().all(u8::is_ascii_graphic);
    if is_name {
        turn.client.name = name.to_vec();
    } else {
        turn.out.error("ERR Client names cannot contain spaces, newlines or special characters.");
    }
    is_name
}

/// CLIENT ID | GETNAME | SETNAME name | SETINFO attribute value | INFO
pub(super) fn client(turn: &mut Turn<'_>, command: Command<'_>) -> Flow {
    let is = |name: &[u8], words| command.word(1).eq_ignore_ascii_case(name) && command.len() == words;
    if is(b"ID", 2) {
        turn.out.count(turn.client.id);
    } else if is(b"GETNAME", 2) {
        let name = core::mem::take(&mut turn.client.name);
        if name.is_empty() {
            turn.out.null();
        } else {
            turn.out.bulk(&name);
        }
        turn.client.name = name;
    } else if is(b"SETNAME", 3) {
        if set_name(turn, command.word(2)) {
            turn.out.ok();
        }
    } else if is(b"SETINFO", 4) {
        // Clients say their own name and version here; nothing depends on it.
        turn.out.ok();
    } else if is(b"INFO", 2) {
        let version = if turn.out.is_resp3 { 3 } else { 2 };
        let (client, name) = (&turn.client, turn.client.name.escape_ascii());
        let line = format!("id={} addr={} name={name} db=0 resp={version}\n", client.id, client.peer);
        turn.out.bulk(line.as_bytes());
    } else {
        turn.unknown_subcommand("CLIENT", command);
    }
    Flow::Done
}

impl Turn<'_> {
    pub(super) fn unknown_subcommand(&mut self, name: &str, command: Command<'_>) {
        let asked = command.word(1);
        let asked = asked.get(..asked.len().min(128)).unwrap_or_default().escape_ascii();
        self.out.error(format_args!(
            "ERR unknown subcommand or wrong number of arguments for '{asked}'. Try {name} HELP."
        ));
    }
}
