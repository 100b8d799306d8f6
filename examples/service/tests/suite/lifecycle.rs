//! How the service ends, and its exit codes.

use core::time::Duration;
use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::time::Instant;

use rustix::process::Signal;

use crate::client::Answer;
use crate::started::{Started, program};

#[test]
fn signal_keeps_what_was_answered_and_exits_with_0() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    for (round, signal) in [Signal::TERM, Signal::INT].into_iter().enumerate() {
        // The clock does not sync, so it is the end that does.
        let service = Started::with(&["--dir", path, "--sync-every", "0s"]);
        let mut client = service.client();
        for key in 0..200 {
            assert_eq!(client.run(&format!("SET {round}:{key} v")), Answer::ok());
        }
        service.signal(signal);
        assert_eq!(service.exit_code(), Some(0));
    }
    let service = Started::with(&["--dir", path]);
    assert_eq!(service.client().run("DBSIZE"), Answer::Integer(400));
}

#[test]
fn request_in_progress_is_answered_before_the_end() {
    let service = Started::with(&[]);
    let mut stream = TcpStream::connect(service.http).unwrap();
    let head = format!("PUT /kv/k HTTP/1.1\r\nHost: {}\r\nContent-Length: 4\r\n\r\nva", service.http);
    stream.write_all(head.as_bytes()).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    service.signal(Signal::TERM);
    std::thread::sleep(Duration::from_millis(200));
    stream.write_all(b"lu").unwrap();
    assert_eq!(crate::client::Http::read(&mut stream).status, 204);
    assert_eq!(service.exit_code(), Some(0));
}

#[test]
fn second_signal_exits_at_once_with_1() {
    let service = Started::with(&["--drain", "60s"]);
    let mut stream = TcpStream::connect(service.http).unwrap();
    let head = format!("PUT /kv/k HTTP/1.1\r\nHost: {}\r\nContent-Length: 4\r\n\r\nva", service.http);
    stream.write_all(head.as_bytes()).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    service.signal(Signal::TERM);
    std::thread::sleep(Duration::from_millis(300));
    service.signal(Signal::TERM);
    let begun = Instant::now();
    assert_eq!(service.exit_code(), Some(1));
    assert!(begun.elapsed() < Duration::from_secs(15));
}

#[test]
fn drain_ends_requests_that_take_too_long() {
    let service = Started::with(&["--drain", "300ms"]);
    let mut stream = TcpStream::connect(service.http).unwrap();
    let head = format!("PUT /kv/k HTTP/1.1\r\nHost: {}\r\nContent-Length: 4\r\n\r\nva", service.http);
    stream.write_all(head.as_bytes()).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    service.signal(Signal::TERM);
    assert_eq!(service.exit_code(), Some(0));
}

#[test]
fn failures_to_start_have_their_exit_codes() {
    let code = |arguments: &[&str]| {
        let output = program(arguments).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let (status, said) = code(&["--resp", &taken.local_addr().unwrap().to_string()]);
    assert_eq!(status, Some(4), "{said}");
    assert!(said.contains(&taken.local_addr().unwrap().to_string()), "{said}");
    assert_eq!(code(&["--capacity", "12"]).0, Some(2));
    assert_eq!(code(&["--memory", "1m"]).0, Some(2));
    assert_eq!(code(&["--capacity", "lots"]).0, Some(2));
    assert_eq!(code(&["--buffer-bytes", "1k"]).0, Some(2));
    let (status, said) = code(&["--token-file", "/nowhere/token"]);
    assert_eq!((status, said.contains("/nowhere/token")), (Some(3), true), "{said}");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    let _running = Started::with(&["--dir", path]);
    assert_eq!(code(&["--dir", path]).0, Some(3), "the directory is in use");
}
