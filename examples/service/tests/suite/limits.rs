//! Each limit, and its answer.

use core::time::Duration;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use crate::client::{Answer, Http, frame};
use crate::started::{Started, wait_for};

#[test]
fn bulk_beyond_the_limit_closes_the_connection() {
    let service = Started::with(&["--value-bytes", "64k"]);
    for bytes in
        [&b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$70000\r\n"[..], b"*1\r\n$-5\r\n", b"*x\r\n", b"*1\r\n:1\r\n"]
    {
        let mut client = service.client();
        client.send(bytes).unwrap();
        let answer = client.answer().unwrap();
        assert!(answer.error().starts_with("ERR Protocol error: "), "{answer:?}");
        assert!(client.is_closed());
    }
    let mut client = service.client();
    let longest = vec![b'x'; 64 << 10];
    assert_eq!(client.ask(&[b"SET", b"k", &longest]).unwrap(), Answer::ok());
    assert_eq!(client.ask(&[b"GET", b"k"]).unwrap(), Answer::Bulk(longest));
}

#[test]
fn commands_beyond_the_buffer_are_refused() {
    let service = Started::with(&["--value-bytes", "64k", "--buffer-bytes", "128k"]);
    let value = vec![b'x'; 60_000];
    let mut client = service.client();
    for key in [b"a", b"b", b"c"] {
        assert_eq!(client.ask(&[b"SET", key, &value]).unwrap(), Answer::ok());
    }
    let answer = client.run("MGET a b c");
    assert_eq!(answer.error(), "ERR the answer is longer than 131072 bytes: ask for less at once");
    assert_eq!(client.run("PING"), Answer::Simple("PONG".to_owned()), "the connection goes on");
    client.send(&frame(&[b"MSET", b"a", &value, b"b", &value, b"c", &value])).unwrap();
    assert_eq!(client.answer().unwrap().error(), "ERR Protocol error: a command has at most 131072 bytes");
}

#[test]
fn line_that_does_not_end_is_refused() {
    let service = Started::with(&[]);
    let mut client = service.client();
    client.send(&vec![b'a'; 70_000]).unwrap();
    assert_eq!(client.answer().unwrap().error(), "ERR Protocol error: too big inline request");
}

#[test]
fn key_beyond_the_limit_is_refused() {
    let service = Started::with(&["--key-bytes", "10"]);
    let mut client = service.client();
    let answer = client.run("SET 12345678901 v");
    assert_eq!(answer.error(), "ERR a key of 11 bytes: the limit is 10");
    assert!(client.run("MGET a 12345678901").error().contains("limit"));
    assert_eq!(client.run("SET 1234567890 v"), Answer::ok());
    assert_eq!(service.ask("PUT", "/kv/12345678901", &[], b"v").status, 414);
    assert_eq!(service.ask("GET", "/kv/12345678901", &[], b"").status, 414);
}

#[test]
fn http_value_and_headers_beyond_limits_are_refused() {
    let service = Started::with(&["--value-bytes", "64k"]);
    let long = service.ask("PUT", "/kv/k", &[], &vec![b'x'; 70_000]);
    assert_eq!(
        (long.status, long.text()),
        (413, "the value is too long: the limit is 65536 bytes\n".to_owned())
    );
    assert_eq!(service.ask("PUT", "/kv/k", &[], &vec![b'x'; 65_536]).status, 204);
    let mut stream = TcpStream::connect(service.http).unwrap();
    let head = format!("PUT /kv/c HTTP/1.1\r\nHost: {}\r\nTransfer-Encoding: chunked\r\n\r\n", service.http);
    stream.write_all(head.as_bytes()).unwrap();
    let chunk = [b"8000\r\n".to_vec(), vec![b'x'; 0x8000], b"\r\n".to_vec()].concat();
    for _ in 0..4 {
        // It may refuse before the last chunk.
        let _ = stream.write_all(&chunk);
    }
    assert_eq!(Http::read(&mut stream).status, 413);
    let header = format!("X-Long: {}", "x".repeat(20_000));
    assert_eq!(service.ask("GET", "/stats", &[&header], b"").status, 431);
}

#[test]
fn connections_beyond_the_limit_are_refused() {
    let service = Started::with(&["--connections", "2"]);
    let (mut one, mut two) = (service.client(), service.client());
    assert_eq!(one.run("PING"), two.run("PING"));
    let mut three = service.client();
    assert_eq!(three.answer().unwrap().error(), "ERR max number of clients reached");
    assert!(three.is_closed());
    drop(one);
    wait_for("a place becomes free", || {
        let mut next = service.client();
        next.ask(&[b"PING"]).is_ok_and(|answer| answer == Answer::Simple("PONG".to_owned()))
    });
    let _held = [TcpStream::connect(service.http).unwrap(), TcpStream::connect(service.http).unwrap()];
    let mut refused = TcpStream::connect(service.http).unwrap();
    let answer = Http::read(&mut refused);
    assert_eq!((answer.status, answer.text()), (503, "too many connections\n".to_owned()));
}

#[test]
fn idle_connections_are_closed() {
    let service = Started::with(&["--idle", "300ms"]);
    let mut client = service.client();
    assert_eq!(client.run("PING"), Answer::Simple("PONG".to_owned()));
    assert!(client.is_closed());
    let mut http = TcpStream::connect(service.http).unwrap();
    http.set_read_timeout(Some(crate::started::PATIENCE)).unwrap();
    let mut bytes = Vec::new();
    http.read_to_end(&mut bytes).unwrap();
    // A body that stops is answered, then closed.
    let mut stopped = TcpStream::connect(service.http).unwrap();
    let head = format!("PUT /kv/k HTTP/1.1\r\nHost: {}\r\nContent-Length: 9\r\n\r\nhalf", service.http);
    stopped.write_all(head.as_bytes()).unwrap();
    assert_eq!(Http::read(&mut stopped).status, 408);
}

#[test]
fn client_that_does_not_read_takes_no_memory() {
    let service = Started::with(&["--idle", "1s"]);
    let mut client = service.client();
    assert_eq!(client.ask(&[b"SET", b"k", &vec![b'x'; 1 << 20]]).unwrap(), Answer::ok());
    let resident = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", service.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok())
    };
    let before = resident();
    let mut greedy: Vec<_> = (0..4).map(|_| service.client()).collect();
    for client in &mut greedy {
        // Answers of 500 MiB are asked for, and none is read.
        client.send(&frame(&[b"GET", b"k"]).repeat(500)).unwrap();
    }
    std::thread::sleep(Duration::from_millis(500));
    if let (Some(before), Some(after)) = (before, resident()) {
        assert!(after < before + (64 << 10), "{before} kB, then {after} kB");
    } else {
        eprintln!("SKIPPED: /proc does not tell the memory of a process here");
    }
    wait_for("they are closed", || {
        service.ask("GET", "/stats", &[], b"").json()["counters"]["idle_closed"].as_u64() >= Some(4)
    });
}
