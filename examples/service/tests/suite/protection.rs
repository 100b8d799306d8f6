//! Access: tokens, hosts, origins.

use crate::client::Answer;
use crate::started::{Started, program};

const TOKEN: &str = "correct-horse";

#[test]
fn address_beyond_loopback_needs_a_token() {
    let output = program(&["--http", "0.0.0.0:0"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("--token"), "{said}");
    let service = Started::with(&["--http", "0.0.0.0:0", "--token", TOKEN]);
    assert!(service.http.ip().is_unspecified());
}

#[test]
fn token_is_asked_for_by_both_ports() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("{TOKEN}\nanother line")).unwrap();
    let service = Started::with(&["--token-file", file.path().to_str().unwrap()]);
    let mut client = service.client();
    assert_eq!(client.run("GET k").error(), "NOAUTH Authentication required.");
    assert!(client.run("HELLO 3").error().starts_with("NOAUTH"));
    assert!(client.run("AUTH wrong-token").error().starts_with("WRONGPASS"));
    assert!(client.run(&format!("AUTH someone {TOKEN}")).error().starts_with("WRONGPASS"));
    assert_eq!(client.run(&format!("AUTH {TOKEN}")), Answer::ok());
    assert_eq!(client.run("SET k v"), Answer::ok());
    let mut third = service.client();
    assert!(matches!(third.run(&format!("HELLO 3 AUTH default {TOKEN}")), Answer::Map(_)));
    assert_eq!(third.run("GET k"), Answer::bulk("v"));

    for path in ["/kv/k", "/stats", "/history", "/metrics"] {
        let refused = service.ask("GET", path, &[], b"");
        assert_eq!((refused.status, refused.header("www-authenticate").is_some()), (401, true), "{path}");
        assert_eq!(service.ask("GET", path, &["Authorization: Bearer wrong-token"], b"").status, 401);
        let shown = format!("Authorization: Bearer {TOKEN}");
        assert_eq!(service.ask("GET", path, &[&shown], b"").status, 200, "{path}");
    }
    assert_eq!(service.ask("POST", "/compact", &[], b"").status, 401);
    for path in ["/", "/page.css", "/page.js", "/draw.js", "/healthz"] {
        assert_eq!(service.ask("GET", path, &[], b"").status, 200, "{path}");
    }
}

#[test]
fn auth_without_a_token_says_so() {
    let service = Started::with(&[]);
    let answer = service.client().run("AUTH something");
    assert!(answer.error().starts_with("ERR AUTH <password> called without any password"), "{answer:?}");
}

#[test]
fn foreign_host_and_origin_are_refused() {
    let service = Started::with(&["--allow-host", "cache.example"]);
    let port = service.http.port();
    let ask = |method, headers: &[&str]| service.ask(method, "/kv/k", headers, b"v").status;
    assert_eq!(ask("PUT", &["Host: evil.example"]), 403);
    assert_eq!(ask("GET", &[&format!("Host: evil.example:{port}")]), 403);
    assert_eq!(ask("PUT", &["Host: cache.example"]), 204);
    assert_eq!(ask("PUT", &[&format!("Host: localhost:{port}")]), 204);
    assert_eq!(ask("PUT", &["Origin: http://evil.example"]), 403);
    assert_eq!(ask("PUT", &["Origin: null"]), 403);
    assert_eq!(ask("DELETE", &["Sec-Fetch-Site: cross-site"]), 403);
    assert_eq!(ask("PUT", &[&format!("Origin: http://{}", service.http)]), 204);
    assert_eq!(service.ask("POST", "/compact", &["Origin: http://evil.example"], b"").status, 403);
}

#[test]
fn http_request_to_the_redis_port_is_cut_off() {
    let service = Started::with(&[]);
    let mut client = service.client();
    client.send(b"POST / HTTP/1.1\r\nHost: x\r\n\r\nSET k v\r\n").unwrap();
    assert!(client.is_closed());
    assert_eq!(service.client().run("EXISTS k"), Answer::Integer(0));
}
