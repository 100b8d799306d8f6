//! A worker that stays awake for a moment after it answered, since its client may write again at once. To wake a thread takes
//! longer than the write itself.

use core::time::Duration;
use std::time::Instant;

/// How long a client and its worker stay awake for each other. Waking a thread took 40 to 50 µs on the machine where this was chosen.
const AWAKE_MAX: Duration = Duration::from_micros(50);
/// The most turns without a look, after looks that found nothing.
const SKIPS_MAX: u32 = 256;

/// When to look, by the success of earlier looks: each one in vain doubles the number of answers until the next.
#[derive(Debug, Default)]
pub(super) struct Linger {
    skips: u32,
    skips_left: u32,
}

impl Linger {
    /// After an answer: yields the processor until `has_input`, or the time is over.
    ///
    /// # Bounds
    /// 50 µs, and other threads go first.
    pub(super) fn look_for(&mut self, has_input: impl Fn() -> bool) {
        if self.skips_left > 0 {
            self.skips_left -= 1;
            return;
        }
        let is_found = stay_awake_until(has_input);
        self.skips = if is_found { 0 } else { (self.skips * 2).clamp(1, SKIPS_MAX) };
        self.skips_left = self.skips;
    }
}

/// Yields the processor until something holds; tells whether it held in time.
///
/// # Bounds
/// 50 µs, and other threads go first.
pub(crate) fn stay_awake_until(holds: impl Fn() -> bool) -> bool {
    let begun = Instant::now();
    loop {
        if holds() {
            return true;
        }
        if begun.elapsed() >= AWAKE_MAX {
            return false;
        }
        std::thread::yield_now();
    }
}

#[cfg(test)]
mod tests {
    use core::cell::Cell;

    use super::*;

    #[test]
    fn looks_in_vain_grow_rare_until_one_finds_input() {
        let mut linger = Linger::default();
        let looks = Cell::new(0);
        let mut after_answers = |answers: u32, has_input: bool| {
            looks.set(0);
            for _ in 0..answers {
                let is_first = Cell::new(true);
                linger.look_for(|| {
                    looks.set(looks.get() + u32::from(is_first.replace(false)));
                    has_input
                });
            }
            looks.get()
        };
        assert_eq!(after_answers(100, true), 100);
        // After 0, 1, 2, 4 and so on up to 256 answers without a look.
        assert_eq!(after_answers(1 + 2 + 3 + 5 + 9 + 17, false), 6);
        assert!(after_answers(2_570, false) <= 13);
        assert!(after_answers(600, true) > 300);
    }
}
