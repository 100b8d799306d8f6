//! Each command, through a socket.

use core::time::Duration;

use crate::client::{Answer, frame};
use crate::started::{Started, wait_for};

/// Runs commands in turn, and compares their answers.
fn run(service: &Started, script: &[(&str, Answer)]) {
    let mut client = service.client();
    for (command, answer) in script {
        let mut found = client.run(command);
        // A second may end between two commands.
        match (&mut found, answer) {
            (Answer::Integer(found), Answer::Integer(expected)) if *expected > 40 => {
                let second = if command.starts_with("PTTL") { 1000 } else { 1 };
                *found += if *found == expected - second { second } else { 0 };
            }
            _ => {}
        }
        assert_eq!(found, *answer, "{command}");
    }
}

fn error(text: &str) -> Answer {
    Answer::Error(text.to_owned())
}

fn bulks(texts: &[&str]) -> Answer {
    Answer::Array(texts.iter().map(|text| Answer::bulk(text)).collect())
}

#[test]
fn values_are_set_read_and_removed() {
    let integer = Answer::Integer;
    run(
        &Started::with(&[]),
        &[
            ("GET k", Answer::Null),
            ("SET k v", Answer::ok()),
            ("get k", Answer::bulk("v")),
            ("SET k w NX", Answer::Null),
            ("SET n 1 NX", Answer::ok()),
            ("SET absent 1 XX", Answer::Null),
            ("SET k w XX", Answer::ok()),
            ("SET k x GET", Answer::bulk("w")),
            ("SET new x GET", Answer::Null),
            ("SET k y NX GET", Answer::bulk("x")),
            ("MSET a 1 b 2", Answer::ok()),
            ("MGET a none b", Answer::Array(vec![Answer::bulk("1"), Answer::Null, Answer::bulk("2")])),
            ("EXISTS a a none", integer(2)),
            ("DBSIZE", integer(5)),
            ("DEL a b none", integer(2)),
            ("EXISTS a", integer(0)),
            ("FLUSHDB", Answer::ok()),
            ("DBSIZE", integer(0)),
            ("GET k", Answer::Null),
        ],
    );
}

#[test]
fn lifetimes_are_kept_in_whole_seconds() {
    let integer = Answer::Integer;
    let service = Started::with(&[]);
    run(
        &service,
        &[
            ("TTL k", integer(-2)),
            ("SET k v", Answer::ok()),
            ("TTL k", integer(-1)),
            ("PTTL k", integer(-1)),
            ("EXPIRE k 100", integer(1)),
            ("TTL k", integer(100)),
            ("SET k w KEEPTTL", Answer::ok()),
            ("TTL k", integer(100)),
            ("PERSIST k", integer(1)),
            ("PERSIST k", integer(0)),
            ("SET k v PX 1500", Answer::ok()),
            ("PTTL k", integer(2000)),
            ("PEXPIRE k 99500", integer(1)),
            ("TTL k", integer(100)),
            ("GETEX k EX 50", Answer::bulk("v")),
            ("TTL k", integer(50)),
            ("GETEX k PERSIST", Answer::bulk("v")),
            ("TTL k", integer(-1)),
            ("GETEX k", Answer::bulk("v")),
            ("EXPIRE none 5", integer(0)),
            ("EXPIRE k 0", integer(1)),
            ("EXISTS k", integer(0)),
            ("SET k v EX 100", Answer::ok()),
            ("PEXPIRE k -1", integer(1)),
            ("GET k", Answer::Null),
            ("SET k v EXAT 1", Answer::ok()),
            ("GET k", Answer::Null),
            ("SET k v EX 1", Answer::ok()),
        ],
    );
    let mut client = service.client();
    wait_for("a value expires", || client.run("GET k") == Answer::Null);
}

#[test]
fn errors_are_those_of_redis() {
    let service = Started::with(&[]);
    let arity = |name: &str| error(&format!("ERR wrong number of arguments for '{name}' command"));
    let no_integer = error("ERR value is not an integer or out of range");
    let expire = |name: &str| error(&format!("ERR invalid expire time in '{name}' command"));
    let syntax = error("ERR syntax error");
    run(
        &service,
        &[
            ("GET", arity("get")),
            ("GET a b", arity("get")),
            ("MSET a", arity("mset")),
            ("MSET a 1 b", arity("mset")),
            ("PING a b", arity("ping")),
            ("INCR a", error("ERR unknown command 'INCR', with args beginning with: 'a' ")),
            ("SET a 1 EX", syntax.clone()),
            ("SET a 1 NX XX", syntax.clone()),
            ("SET a 1 EX 5 KEEPTTL", syntax.clone()),
            ("SET a 1 EX 5 PX 5", syntax.clone()),
            ("SET a 1 EX x", no_integer.clone()),
            ("SET a 1 EX 1.5", no_integer.clone()),
            ("SET a 1 EX 0", expire("set")),
            ("SET a 1 PX -1", expire("set")),
            ("SET a 1 EX 9223372036854775807", expire("set")),
            ("SET a 1 EX 99999999999", expire("set")),
            ("EXPIRE a x", no_integer.clone()),
            ("EXPIRE a 9223372036854775807", expire("expire")),
            ("EXPIRE a 10 NX", error("ERR Unsupported option NX")),
            ("GETEX a EX 0", expire("getex")),
            ("GETEX a FOO", syntax.clone()),
            ("SELECT 1", error("ERR DB index is out of range")),
            ("SELECT x", no_integer.clone()),
            ("SCAN x", error("ERR invalid cursor")),
            ("SCAN 0 COUNT 0", syntax.clone()),
            ("SCAN 0 COUNT x", no_integer),
            ("SCAN 0 MATCH", syntax.clone()),
            ("FLUSHDB NOW", syntax),
            ("HELLO 4", error("NOPROTO unsupported protocol version")),
            (
                "CONFIG SET a b",
                error("ERR unknown subcommand or wrong number of arguments for 'SET'. Try CONFIG HELP."),
            ),
        ],
    );
    assert_eq!(service.client().run("DBSIZE"), Answer::Integer(0), "an error sets nothing");
}

#[test]
fn connection_commands_answer_as_clients_expect() {
    let service = Started::with(&[]);
    run(
        &service,
        &[
            ("PING", Answer::Simple("PONG".to_owned())),
            ("PING hi", Answer::bulk("hi")),
            ("ECHO hi", Answer::bulk("hi")),
            ("SELECT 0", Answer::ok()),
            ("CLIENT SETNAME tests", Answer::ok()),
            ("CLIENT GETNAME", Answer::bulk("tests")),
            ("CLIENT SETINFO LIB-NAME tests", Answer::ok()),
            ("CONFIG GET save", bulks(&["save", ""])),
            ("CONFIG GET append*", bulks(&["appendonly", "yes", "appendfsync", "everysec"])),
            ("COMMAND COUNT", Answer::Integer(25)),
        ],
    );
    let mut client = service.client();
    let commands = client.run("COMMAND").array();
    assert_eq!(commands.len(), 25);
    assert!(commands.into_iter().all(|row| row.array().len() == 10));
    assert_eq!(client.run("COMMAND DOCS get set").array().len(), 4);
    let info = client.run("INFO server stats").text();
    assert!(info.contains("redis_version:7") && info.contains("keyspace_hits:"), "{info}");
    assert!(!info.contains("# Memory"), "{info}");
    assert_eq!(client.run("QUIT"), Answer::ok());
    assert!(client.is_closed());
}

#[test]
fn third_version_has_maps_and_nulls_of_its_own() {
    let service = Started::with(&[]);
    let mut client = service.client();
    let Answer::Map(hello) = client.run("HELLO 3 SETNAME three") else { panic!("no map") };
    assert_eq!(hello[4..6], [Answer::bulk("proto"), Answer::Integer(3)]);
    client.send(&frame(&[b"GET", b"none"])).unwrap();
    let mut null = [0; 3];
    std::io::Read::read_exact(&mut client.stream, &mut null).unwrap();
    assert_eq!(&null, b"_\r\n");
    assert!(matches!(client.run("CONFIG GET save"), Answer::Map(_)));
    assert_eq!(client.run("CLIENT GETNAME"), Answer::bulk("three"));
    assert!(matches!(client.run("HELLO 2"), Answer::Array(_)));
    assert_eq!(client.run("GET none"), Answer::Null);
}

#[test]
fn typed_lines_and_pieces_of_frames_are_answered() {
    let service = Started::with(&[]);
    let mut client = service.client();
    client.send(b"PING\r\nset k \"a b\"\n\r\nget k\r\n").unwrap();
    assert_eq!(client.answer().unwrap(), Answer::Simple("PONG".to_owned()));
    assert_eq!(client.answer().unwrap(), Answer::ok());
    assert_eq!(client.answer().unwrap(), Answer::bulk("a b"));
    for byte in frame(&[b"ECHO", b"slow"]) {
        client.send(&[byte]).unwrap();
    }
    assert_eq!(client.answer().unwrap(), Answer::bulk("slow"));
}

#[test]
fn pipeline_is_answered_in_order() {
    let service = Started::with(&[]);
    let mut client = service.client();
    let mut bytes = Vec::new();
    for number in 0..3000u32 {
        let text = number.to_string();
        bytes.extend(frame(&[b"SET", text.as_bytes(), &text.as_bytes().repeat(50)]));
        bytes.extend(frame(&[b"GET", text.as_bytes()]));
    }
    let sender = client.stream.get_ref().try_clone().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| std::io::Write::write_all(&mut &sender, &bytes).unwrap());
        for number in 0..3000u32 {
            assert_eq!(client.answer().unwrap(), Answer::ok());
            assert_eq!(client.answer().unwrap(), Answer::bulk(&number.to_string().repeat(50)));
        }
    });
}

#[test]
fn any_bytes_are_keys_and_values() {
    let service = Started::with(&[]);
    let mut client = service.client();
    let key: Vec<u8> = (0..=255).collect();
    let value: Vec<u8> = (0..=255).cycle().take(300_000).collect();
    assert_eq!(client.ask(&[b"SET", &key, &value]).unwrap(), Answer::ok());
    assert_eq!(client.ask(&[b"GET", &key]).unwrap(), Answer::Bulk(value));
    assert_eq!(client.ask(&[b"SET", b"", b""]).unwrap(), Answer::ok());
    assert_eq!(client.ask(&[b"GET", b""]).unwrap(), Answer::Bulk(Vec::new()));
}

#[test]
fn scan_sees_each_key_that_stays() {
    let service = Started::with(&[]);
    let mut client = service.client();
    for number in 0..500 {
        assert_eq!(client.run(&format!("SET user:{number} x")), Answer::ok());
        assert_eq!(client.run(&format!("SET other:{number} x")), Answer::ok());
    }
    let (mut cursor, mut seen) = ("0".to_owned(), std::collections::BTreeSet::new());
    let mut used = Vec::new();
    loop {
        let answer = client.run(&format!("SCAN {cursor} MATCH user:* COUNT 50")).array();
        used.push(cursor);
        cursor = answer[0].text();
        seen.extend(answer[1].clone().array().iter().map(Answer::text));
        // Writes meanwhile hide no key that stays.
        client.run(&format!("SET other:{} y", seen.len()));
        if cursor == "0" {
            break;
        }
    }
    assert_eq!(seen.len(), 500);
    assert!(used.len() > 10 && seen.iter().all(|key| key.starts_with("user:")));
    let again = client.run(&format!("SCAN {}", used[1]));
    assert!(again.error().starts_with("ERR invalid cursor"), "{again:?}");
    let none = client.run("SCAN 0 TYPE list COUNT 5000").array();
    assert_eq!(none[1], Answer::Array(Vec::new()));
}

#[test]
fn expired_keys_are_gone_from_every_command() {
    let service = Started::with(&[]);
    let mut client = service.client();
    assert_eq!(client.run("SET k v PX 1"), Answer::ok());
    wait_for("it expires", || client.run("EXISTS k") == Answer::Integer(0));
    std::thread::sleep(Duration::from_millis(10));
    assert_eq!(client.run("GET k"), Answer::Null);
    assert_eq!(client.run("MGET k"), Answer::Array(vec![Answer::Null]));
    assert_eq!(client.run("TTL k"), Answer::Integer(-2));
    assert_eq!(client.run("EXPIRE k 10"), Answer::Integer(0));
    assert_eq!(client.run("SET k w NX"), Answer::ok());
}
