//! Futures of batches that are dropped at every await point of a history: the batch happened or did not, and no later mount decides
//! otherwise.

use coldpress_tests::batches::{
    Act, Memory, SEGMENTS, Values, act, act_or_drop, built, busy, item, mounted, poll, values,
};
use coldpress_tests::driver::Driver;
use coldpress_tests::flash::Flash;
use coldpress_tests::sim::{STRIDE, in_case};

/// The call after the one whose future was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// A key is read.
    Get,
    /// A poll.
    Poll,
    /// The same call once more.
    Same,
    /// A put of another key.
    Put,
}

/// Lives a history of which one future is dropped. Returns how many ways there were to tear its change; `None` where the history has no
/// such await point.
fn live(memory: &mut Memory, history: &[Act], drop_at: u64, tear: Option<u64>, next: Next) -> Option<usize> {
    let mut flash = Flash::<8, 512>::new(SEGMENTS, 0xFF);
    let mut tier = built(memory, &mut flash, Driver::Async);
    let _ = mounted(&mut tier);
    tier.drop_after(Some(drop_at), tear);
    let (mut held, mut tears) = (Values::new(), None);
    for step in history {
        let after = step.after(&held);
        let ways = act_or_drop(&mut tier, step);
        tears = tears.or(ways);
        if ways.is_some() {
            tier.drop_after(None, None);
            match next {
                Next::Get => {}
                Next::Poll => poll(&mut tier),
                Next::Same => act(&mut tier, step),
                Next::Put => {
                    let put = Act::Single(item(9, 250));
                    act(&mut tier, &put);
                    held = put.after(&held);
                }
            }
            let other =
                if next == Next::Put { Act::Single(item(9, 250)).after(&after) } else { after.clone() };
            let found = values(&mut tier);
            let is_right = found == other || found == held && next != Next::Same;
            assert!(is_right, "{step:?}: {found:02x?}, not {held:02x?} or {other:02x?}");
            held = found;
        } else {
            held = after;
        }
        // Reads before the drop would be await points, too.
        if tears.is_some() {
            assert_eq!(values(&mut tier), held, "{step:?}");
        }
    }
    drop(tier);
    for driver in Driver::BOTH {
        let mut tier = built(memory, &mut flash, driver);
        let _ = mounted(&mut tier);
        assert_eq!(values(&mut tier), held, "{driver:?}");
    }
    tears
}

#[test]
fn batch_future_dropped_anywhere_happened_or_did_not() {
    // Segments are cleaned in it.
    let history = busy(34);
    let (mut memory, mut tried) = (Memory::new(), 0);
    for next in [Next::Get, Next::Poll, Next::Same, Next::Put] {
        let mut drop_at = 0;
        while let Some(ways) = in_case(
            || format!("dropped at {drop_at}, {next:?}"),
            || live(&mut memory, &history, drop_at, Some(0), next),
        ) {
            tried += 1;
            // Nothing of the change happens, or so much of it.
            let tears = (3..ways as u64).step_by(5 * STRIDE).map(Some).chain((ways > 0).then_some(None));
            for tear in tears {
                let case = || format!("dropped at {drop_at}, torn by {tear:?}, {next:?}");
                let _ = in_case(case, || live(&mut memory, &history, drop_at, tear, next));
                tried += 1;
            }
            drop_at += 3 * STRIDE as u64;
        }
        assert!(drop_at > 300, "{drop_at} await points");
    }
    println!("{tried} futures of batches dropped");
}
