//! Runs client threads and adds up their work.

use std::thread;
use std::time::Instant;

use crate::measure::Tally;
use crate::stores::Fault;

/// Runs `client` with each number below `count` on a thread of its own.
pub(super) fn run(
    count: u32,
    begun: Instant,
    client: impl Fn(u32, &mut Tally) -> Result<(), Fault> + Sync,
) -> Result<Tally, Fault> {
    let client = &client;
    thread::scope(|scope| {
        let one = |number| {
            scope.spawn(move || {
                let mut tally = Tally::new(begun)?;
                client(number, &mut tally)?;
                Ok::<_, Fault>(tally)
            })
        };
        let threads: Vec<_> = (0..count).map(one).collect();
        let mut sum = Tally::new(begun)?;
        for thread in threads {
            sum.add(&thread.join().map_err(|_| "a client has panicked")??)?;
        }
        Ok(sum)
    })
}
