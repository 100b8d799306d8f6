//! HTTP: keys, conditional requests, and the requests that describe the store.

use crate::client::Answer;
use crate::started::{Started, wait_for};

#[test]
fn keys_are_put_read_and_deleted_over_http() {
    let service = Started::with(&[]);
    assert_eq!(service.ask("GET", "/kv/a", &[], b"").status, 404);
    assert_eq!(service.ask("PUT", "/kv/a", &["TTL: 60"], b"one").status, 204);
    let got = service.ask("GET", "/kv/a", &[], b"");
    assert_eq!((got.status, got.body.as_slice()), (200, &b"one"[..]));
    // A second may end between two requests.
    let is_left = |left: Option<&str>| matches!(left, Some("58" | "59" | "60"));
    assert!(is_left(got.header("ttl")), "{got:?}");
    assert_eq!(got.header("x-content-type-options"), Some("nosniff"));
    let head = service.ask("HEAD", "/kv/a", &[], b"");
    assert_eq!((head.status, head.body.len(), head.header("content-length")), (200, 0, Some("3")));
    assert_eq!(service.ask("PUT", "/kv/a", &["TTL: keep"], b"two").status, 204);
    assert!(is_left(service.ask("GET", "/kv/a", &[], b"").header("ttl")));
    assert_eq!(service.ask("PUT", "/kv/a", &[], b"").status, 204);
    let empty = service.ask("GET", "/kv/a", &[], b"");
    assert_eq!((empty.status, empty.body.len(), empty.header("ttl")), (200, 0, None));
    assert_eq!(service.ask("DELETE", "/kv/a", &[], b"").status, 204);
    assert_eq!(service.ask("DELETE", "/kv/a", &[], b"").status, 404);
    assert_eq!(service.ask("PUT", "/kv/a", &["TTL: 0"], b"x").status, 400);
    assert_eq!(service.ask("PATCH", "/kv/a", &[], b"x").status, 405);
    assert_eq!(service.ask("GET", "/elsewhere", &[], b"").status, 404);
}

#[test]
fn both_ports_see_the_same_keys() {
    let service = Started::with(&[]);
    let mut client = service.client();
    assert_eq!(service.ask("PUT", "/kv/a%2Fb%00%FF", &[], b"v").status, 204);
    assert_eq!(client.ask(&[b"GET", b"a/b\0\xff"]).unwrap(), Answer::bulk("v"));
    assert_eq!(client.run("SET x/y z"), Answer::ok());
    assert_eq!(service.ask("GET", "/kv/x/y", &[], b"").body, b"z");
}

#[test]
fn conditional_requests_compare_tags() {
    let service = Started::with(&[]);
    assert_eq!(service.ask("PUT", "/kv/k", &["If-Match: *"], b"v1").status, 412);
    assert_eq!(service.ask("PUT", "/kv/k", &["If-None-Match: *"], b"v1").status, 201);
    assert_eq!(service.ask("PUT", "/kv/k", &["If-None-Match: *"], b"v2").status, 412);
    let tag = service.ask("GET", "/kv/k", &[], b"").header("etag").unwrap().to_owned();
    let same = service.ask("GET", "/kv/k", &[&format!("If-None-Match: \"x\", {tag}")], b"");
    assert_eq!((same.status, same.body.len(), same.header("etag")), (304, 0, Some(tag.as_str())));
    let matching = format!("If-Match: {tag}");
    assert_eq!(service.ask("PUT", "/kv/k", &[&matching], b"v2").status, 204);
    assert_eq!(service.ask("PUT", "/kv/k", &[&matching], b"v3").status, 412);
    assert_eq!(service.ask("GET", "/kv/k", &[&matching], b"").status, 412);
    assert_eq!(service.ask("DELETE", "/kv/k", &[&matching], b"").status, 412);
    let changed = service.ask("GET", "/kv/k", &[&format!("If-None-Match: {tag}")], b"");
    assert_eq!((changed.status, changed.body.as_slice()), (200, &b"v2"[..]));
    let matching = format!("If-Match: {}", changed.header("etag").unwrap());
    assert_eq!(service.ask("DELETE", "/kv/k", &[&matching], b"").status, 204);
    assert_eq!(service.ask("PUT", "/kv/k", &["If-Match: weird"], b"v").status, 400);
}

#[test]
fn stats_and_metrics_count_what_was_asked() {
    let service = Started::with(&[]);
    let mut client = service.client();
    for number in 0..100 {
        client.run(&format!("SET {number} {}", "x".repeat(1000)));
        client.run(&format!("GET {number}"));
    }
    client.run("GET none");
    assert_eq!(service.ask("POST", "/maintenance/flush", &[], b"").status, 200);
    let stats = service.ask("GET", "/stats", &[], b"").json();
    assert_eq!(stats["keys"], 100);
    assert_eq!(stats["counters"]["found"], 100);
    assert_eq!(stats["counters"]["missed"], 1);
    assert_eq!(stats["connections"]["resp"], 1);
    let gets = stats["latency"]["get"].as_array().unwrap().iter().filter_map(serde_json::Value::as_u64);
    assert_eq!(gets.sum::<u64>(), 101);
    let segments = stats["store"]["segments"].as_array().unwrap();
    assert!(segments.len() > 8 && segments.iter().any(|row| row[2] != "free"), "{segments:?}");
    let metrics = service.ask("GET", "/metrics", &[], b"").text();
    for line in [
        "coldpress_service_found_total 100",
        "coldpress_service_seconds_count{kind=\"get\"} 101",
        "# TYPE coldpress_service_seconds histogram",
        "# TYPE coldpress_puts_total counter",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    wait_for("a sample counts the sets", || {
        let history = service.ask("GET", "/history", &[], b"").json();
        let at = history["columns"].as_array().unwrap().iter().position(|name| name == "sets").unwrap();
        let samples = history["samples"].as_array().unwrap();
        samples.iter().filter_map(|sample| sample[at].as_u64()).sum::<u64>() == 100
    });
    assert_eq!(service.ask("GET", "/healthz", &[], b"").text(), "ok\n");
}

#[test]
fn maintenance_tasks_report_what_they_did() {
    let service = Started::with(&["--capacity", "16m"]);
    let mut client = service.client();
    for round in 0..8 {
        for key in 0..200 {
            client.run(&format!("SET {key} {round}{}", "x".repeat(4000)));
        }
    }
    let stats = service.ask("GET", "/stats", &[], b"").json();
    for task in stats["tasks"].as_array().unwrap() {
        let path = format!("/maintenance/{}", task.as_str().unwrap());
        let done = service.ask("POST", &path, &[], b"");
        assert_eq!(done.status, 200, "{path}: {}", done.text());
        assert!(!done.json()["report"].as_str().unwrap().is_empty());
    }
    let compacted = service.ask("POST", "/compact", &[], b"").json();
    assert!(compacted["report"].as_str().unwrap().contains("compact"), "{compacted}");
    assert_eq!(service.ask("POST", "/maintenance/nothing", &[], b"").status, 404);
    assert_eq!(service.ask("GET", "/compact", &[], b"").status, 405);
    for key in 0..200 {
        assert_eq!(client.run(&format!("GET {key}")), Answer::bulk(&format!("7{}", "x".repeat(4000))));
    }
}
