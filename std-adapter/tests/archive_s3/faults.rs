//! Backups in a server that throttles, fails, answers slowly, or is cut off.

use coldpress_std::archive::{self, ArchiveError, RestorePoint};

use crate::fault_proxy::{Fault, FaultProxy, Hit};
use crate::tiers::{assert_restores, check, open, put_all, restores, sound};
use crate::{RETRIES, Server, prefix, store, wait};

/// How often a call is repeated at most.
const CALLS_MAX: usize = 20;
const ALL: [Fault; 7] = [
    Fault::Refused(503),
    Fault::Refused(500),
    Fault::Answered(500),
    Fault::HalfSent,
    Fault::Unanswered,
    Fault::HalfAnswered,
    Fault::Slow,
];

/// Repeats a call that ends with an error of the store. An answer that was cut short is one: the client repeats requests, and not all
/// of them once the answer has begun.
fn again<T>(call: impl Fn() -> Result<T, ArchiveError>) -> T {
    let mut failures = 0;
    loop {
        match call() {
            Ok(done) => return done,
            Err(ArchiveError::Store(_)) if failures < CALLS_MAX => failures += 1,
            Err(error) => panic!("{error}"),
        }
    }
}

/// Faults at each third request: a client that tries again gets through, and an error is never a wrong result.
#[test]
fn backups_through_faults_are_whole_and_restored() {
    let Some(server) = Server::start() else { return };
    let proxy = FaultProxy::start(server.address);
    let (direct, faulty) = (server.store(), store(proxy.address, RETRIES));
    let dir = tempfile::tempdir().unwrap();
    let tier = open(dir.path(), "t");
    let mut numbers = Vec::new();
    for (version, fault) in (1..).zip(ALL) {
        put_all(&tier, version);
        proxy.begin(Some((Hit::Each(3), fault)));
        let made = again(|| wait(archive::backup(&tier.handle(), &faulty, &prefix())));
        assert!(proxy.hits() > 2, "{fault:?} hit {} of {} requests", proxy.hits(), proxy.requests());
        numbers.push(made.number);
        assert_eq!(sound(&direct), numbers, "{fault:?}");
        assert_restores(&direct, RestorePoint::Number(made.number), version);
        // The way back through the same faults.
        again(|| restores(&faulty, RestorePoint::Number(made.number), version));
        assert_eq!(again(|| check(&faulty)), numbers, "{fault:?}");
    }
    proxy.begin(Some((Hit::Each(3), Fault::Refused(503))));
    again(|| wait(archive::prune(&faulty, &prefix(), 2)));
    assert_eq!(sound(&direct), numbers[numbers.len() - 2..]);
    assert_restores(&direct, RestorePoint::Newest, ALL.len() as u64);
}

/// The put of the manifest is the one request that is not repeated blindly: it is made once, or known to be made.
#[test]
fn lost_answer_of_the_manifest_is_no_failure() {
    let Some(server) = Server::start() else { return };
    let proxy = FaultProxy::start(server.address);
    let direct = server.store();
    let dir = tempfile::tempdir().unwrap();
    let tier = open(dir.path(), "t");
    let mut numbers = Vec::new();
    for retries in [RETRIES, 0] {
        for fault in [Fault::Unanswered, Fault::Answered(500), Fault::Answered(503)] {
            put_all(&tier, 1 + numbers.len() as u64);
            proxy.begin(Some((Hit::First("PUT", "/manifests/"), fault)));
            let faulty = store(proxy.address, retries);
            let made = wait(archive::backup(&tier.handle(), &faulty, &prefix()));
            let made = made.unwrap_or_else(|error| panic!("{fault:?}, {retries} retries: {error}"));
            assert_eq!(proxy.hits(), 1);
            numbers.push(made.number);
            assert_eq!(sound(&direct), numbers, "it is there once");
            assert_restores(&direct, RestorePoint::Newest, numbers.len() as u64);
        }
    }
}

/// Without retries, each request fails once, in each way: the error is no backup, and the next backup is whole.
#[test]
fn backup_that_fails_at_any_request_leaves_a_sound_prefix() {
    let Some(server) = Server::start() else { return };
    let proxy = FaultProxy::start(server.address);
    let (direct, faulty) = (server.store(), store(proxy.address, 0));
    let dir = tempfile::tempdir().unwrap();
    let tier = open(dir.path(), "t");
    put_all(&tier, 1);
    wait(archive::backup(&tier.handle(), &direct, &prefix())).unwrap();
    let mut numbers = sound(&direct);
    let mut version = 1;
    for fault in [Fault::Refused(503), Fault::HalfSent, Fault::Unanswered, Fault::HalfAnswered] {
        let (mut at, mut failures) = (0, 0);
        loop {
            let before = version;
            version += 1;
            put_all(&tier, version);
            proxy.begin(Some((Hit::Only(at), fault)));
            let made = wait(archive::backup(&tier.handle(), &faulty, &prefix()));
            let is_over = proxy.hits() == 0;
            match made {
                Ok(made) => {
                    numbers.push(made.number);
                    assert_eq!(sound(&direct), numbers, "{fault:?} at {at}");
                    assert_restores(&direct, RestorePoint::Newest, version);
                }
                Err(ArchiveError::Store(_)) => {
                    failures += 1;
                    assert_eq!(sound(&direct), numbers, "{fault:?} at {at}: an error is no backup");
                    assert_restores(&direct, RestorePoint::Newest, before);
                    // The next one is whole, and every number is given out once.
                    let made = wait(archive::backup(&tier.handle(), &direct, &prefix())).unwrap();
                    assert!(numbers.last().is_some_and(|last| made.number > *last));
                    numbers.push(made.number);
                }
                Err(error) => panic!("{fault:?} at {at}: {error}"),
            }
            wait(archive::prune(&direct, &prefix(), 1)).unwrap();
            numbers = sound(&direct);
            if is_over {
                break;
            }
            // The requests in the middle put segments, and one is as the other.
            at += if (6..proxy.requests().saturating_sub(6)).contains(&at) { 4 } else { 1 };
        }
        // Few answers have a body that can be cut.
        let expected = if fault == Fault::HalfAnswered { 2 } else { 6 };
        assert!(failures >= expected, "{fault:?}: {failures}");
    }
}
