//! Backups while the service runs.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;

use coldpress_std::archive::{self, ArchiveLocation, RestorePoint};
use rustix::process::Signal;

use crate::client::Answer;
use crate::started::{Started, program, wait_for};

fn metric(service: &Started, name: &str) -> Option<f64> {
    let text = service.ask("GET", "/metrics", &[], b"").text();
    let line = text.lines().find(|line| line.split(' ').next() == Some(name))?;
    line.split(' ').nth(1)?.parse().ok()
}

/// Starts a service with an archive.
fn archived(dir: &Path, url: &str, options: &[&str]) -> Started {
    Started::with(&[&["--dir", dir.to_str().unwrap(), "--archive", url], options].concat())
}

/// Restores the newest backup, and starts a service on it.
fn restored(url: &str, dir: &Path) -> Started {
    let location = ArchiveLocation::from_url(url).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let store = location.store.as_ref();
    let to = dir.join("service");
    runtime.block_on(archive::restore(store, &location.prefix, &to, RestorePoint::Newest)).unwrap();
    Started::with(&["--dir", dir.to_str().unwrap()])
}

#[test]
fn killed_service_has_in_its_archive_all_before_a_backup() {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("file://{}/archive", dir.path().display());
    let options = ["--archive-every", "100ms", "--archive-keep", "2", "--sync-every", "50ms"];
    let service = archived(&dir.path().join("data"), &url, &options);
    let mut client = service.client();
    for round in 0..3 {
        for key in 0..100 {
            assert_eq!(client.run(&format!("SET {round}:{key} value-{round}-{key}")), Answer::ok());
        }
        // All of it reaches the log, and then a backup.
        let synced = metric(&service, "coldpress_service_syncs_total").unwrap();
        wait_for("another sync", || {
            metric(&service, "coldpress_service_syncs_total").unwrap() > synced + 1.0
        });
        wait_for("a backup of it", || {
            metric(&service, "coldpress_service_archive_unsaved_bytes") == Some(0.0)
        });
    }
    assert!(metric(&service, "coldpress_service_archive_backups_total").unwrap() >= 2.0);
    assert!(metric(&service, "coldpress_service_archive_behind_seconds").unwrap() < 20.0);
    assert!(metric(&service, "coldpress_service_archive_uploaded_bytes_total").unwrap() > 5000.0);
    assert_eq!(metric(&service, "coldpress_service_archive_failures_total"), Some(0.0));
    let stats = service.ask("GET", "/stats", &[], b"").text();
    assert!(stats.contains("\"behind_s\":") && stats.contains("\"last_error\":null"), "{stats}");
    service.kill();
    let after = restored(&url, &dir.path().join("after"));
    let mut client = after.client();
    for round in 0..3 {
        for key in 0..100 {
            let value = client.run(&format!("GET {round}:{key}")).text();
            assert_eq!(value, format!("value-{round}-{key}"));
        }
    }
    assert_eq!(metric(&after, "coldpress_service_archive_behind_seconds"), None, "it has no archive");
}

#[test]
fn metrics_of_the_operating_page_are_served() {
    let page = include_str!("../../OPERATING.md");
    let dir = tempfile::tempdir().unwrap();
    let url = format!("file://{}/archive", dir.path().display());
    let service = Started::with(&["--archive", &url]);
    wait_for("a backup", || metric(&service, "coldpress_service_archive_backups_total") == Some(1.0));
    // The workers of the log report some milliseconds later.
    wait_for("the metrics of the log", || {
        service.ask("GET", "/metrics", &[], b"").text().contains("\ncoldpress_needs_reopen{")
    });
    let served = service.ask("GET", "/metrics", &[], b"").text();
    let served: Vec<_> = served
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split(['{', ' ']).next().unwrap_or_default())
        .collect();
    let is_of_a_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let words = page.split(|letter| !is_of_a_name(letter));
    // The table has one that ends so, as the start of its names.
    let named: Vec<_> = words.filter(|word| word.starts_with("coldpress_") && !word.ends_with('_')).collect();
    assert!(named.len() > 8, "{named:?}");
    for name in named {
        assert!(served.contains(&name), "{name} is not served");
    }
    // The table has every metric of the archive.
    for name in served.iter().filter_map(|name| name.strip_prefix("coldpress_service_archive_")) {
        assert!(page.contains(&format!("`{name}`")), "{name} is not in the table");
    }
}

#[test]
fn orderly_end_makes_a_last_backup() {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("file://{}/archive", dir.path().display());
    let options = ["--archive-every", "10m", "--archive-bandwidth", "64m"];
    let service = archived(&dir.path().join("data"), &url, &options);
    wait_for("the first backup", || metric(&service, "coldpress_service_archive_backups_total") == Some(1.0));
    let mut client = service.client();
    for key in 0..100 {
        assert_eq!(client.run(&format!("SET {key} value-{key}")), Answer::ok());
    }
    drop(client);
    service.signal(Signal::TERM);
    assert_eq!(service.exit_code(), Some(0));
    let after = restored(&url, &dir.path().join("after"));
    let mut client = after.client();
    for key in 0..100 {
        assert_eq!(client.run(&format!("GET {key}")).text(), format!("value-{key}"));
    }
}

/// Begins a request that does not end: its body is missing.
fn hanging_request(service: &Started) -> TcpStream {
    let mut stream = TcpStream::connect(service.http).unwrap();
    let head = format!(
        "PUT /kv/k HTTP/1.1\r\nHost: {}\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n",
        service.http
    );
    stream.write_all(head.as_bytes()).unwrap();
    // The service asks for the body, so the request is in progress.
    let asked = b"HTTP/1.1 100 Continue\r\n\r\n";
    let mut answer = vec![0; asked.len()];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer, asked, "{}", answer.escape_ascii());
    stream
}

#[test]
fn last_backup_has_time_where_requests_use_all_of_theirs() {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("file://{}/archive", dir.path().display());
    let options = ["--archive-every", "10m", "--drain", "200ms"];
    let service = archived(&dir.path().join("data"), &url, &options);
    wait_for("the first backup", || metric(&service, "coldpress_service_archive_backups_total") == Some(1.0));
    let mut client = service.client();
    for key in 0..100 {
        assert_eq!(client.run(&format!("SET {key} value-{key}")), Answer::ok());
    }
    let _hanging = hanging_request(&service);
    service.signal(Signal::TERM);
    let (code, said) = service.ended();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("longer than --drain") && !said.contains("last backup"), "{said}");
    let after = restored(&url, &dir.path().join("after"));
    let mut client = after.client();
    for key in 0..100 {
        assert_eq!(client.run(&format!("GET {key}")).text(), format!("value-{key}"));
    }
}

#[test]
fn last_backup_is_broken_off_after_its_time() {
    let dir = tempfile::tempdir().unwrap();
    let (data, url) = (dir.path().join("data"), format!("file://{}/archive", dir.path().display()));
    let service = archived(&data, &url, &["--archive-every", "10m"]);
    assert_eq!(service.client().run("SET first v"), Answer::ok());
    service.signal(Signal::TERM);
    assert_eq!(service.exit_code(), Some(0));
    // At one byte a second no manifest gets its turn behind an object. The keys take one: the manifest holds small segments alone.
    let options = ["--archive-every", "10m", "--archive-bandwidth", "1", "--archive-drain", "200ms"];
    let service = archived(&data, &url, &options);
    let mut client = service.client();
    for key in 0..100 {
        assert_eq!(client.run(&format!("SET second:{key} value-{key}")), Answer::ok());
    }
    drop(client);
    service.signal(Signal::TERM);
    let (code, said) = service.ended();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("longer than --archive-drain"), "{said}");
    let after = restored(&url, &dir.path().join("after"));
    assert_eq!(after.client().run("GET first").text(), "v");
    assert_eq!(after.client().run("GET second:7"), Answer::Null);
    let kept = Started::with(&["--dir", data.to_str().unwrap()]);
    assert_eq!(kept.client().run("GET second:7").text(), "value-7", "the log has it");
}

#[test]
fn archive_that_can_not_be_opened_is_a_wrong_option() {
    for (arguments, reason) in [
        (&["--archive", "backups"][..], "is no URL"),
        (&["--archive", "ftp://host/backups"], "ftp://host/backups"),
        (&["--archive", "memory:///b", "--archive-every", "0s"], "--archive-every"),
        (&["--archive", "memory:///b", "--archive-bandwidth", "0"], "--archive-bandwidth"),
    ] {
        let ended = program(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(reason), "{arguments:?}: {said}");
    }
}

#[test]
fn failing_archive_is_counted_and_requests_are_served() {
    let dir = tempfile::tempdir().unwrap();
    let archive = dir.path().join("archive");
    let url = format!("file://{}", archive.display());
    let service = Started::with(&["--archive", &url, "--archive-every", "50ms"]);
    wait_for("the first backup", || metric(&service, "coldpress_service_archive_backups_total") == Some(1.0));
    // Nothing can be put any more.
    std::fs::remove_dir_all(&archive).unwrap();
    std::fs::write(&archive, b"a file").unwrap();
    let mut client = service.client();
    assert_eq!(client.run("SET k v"), Answer::ok());
    let failures = || metric(&service, "coldpress_service_archive_failures_in_a_row").unwrap();
    wait_for("failures", || failures() >= 3.0);
    assert_eq!(client.run("GET k").text(), "v");
    std::fs::remove_file(&archive).unwrap();
    std::fs::create_dir(&archive).unwrap();
    wait_for("a backup again", || failures() == 0.0);
    service.signal(Signal::TERM);
    assert_eq!(service.exit_code(), Some(0));
}
