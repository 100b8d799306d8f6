//! A cell for which no caller waits.

use core::fmt;

use portable_atomic::{AtomicU32, Ordering};

/// Says that somebody else held the cell: the call did nothing and may be made again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Contended;

impl fmt::Display for Contended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the cell is held elsewhere, or was taken for good; nothing was done")
    }
}

impl core::error::Error for Contended {}

/// Shares a value between the main loop and interrupts without ever waiting for it.
///
/// On one processor, an interrupt that waits for a lock its main loop holds waits for ever. So there is no way to wait here: a
/// caller that finds the cell taken skips its step, and the skip is counted so that it can be seen. A spin lock serves as the
/// flag, through its try-lock alone.
///
/// ```
/// use coldpress_embedded::TryCell;
///
/// static COUNT: TryCell<u32> = TryCell::new(0);
///
/// COUNT.try_with(|count| *count += 1)?;
/// // Taken twice at once: the second is refused, as an interrupt would be.
/// let inner = COUNT.try_with(|_| COUNT.try_with(|count| *count += 1));
/// assert_eq!(inner, Ok(Err(coldpress_embedded::Contended)));
/// assert_eq!(COUNT.contended(), 1);
/// # Ok::<(), coldpress_embedded::Contended>(())
/// ```
#[derive(Debug)]
pub struct TryCell<T> {
    value: spin::Mutex<T>,
    contended: AtomicU32,
}

impl<T> TryCell<T> {
    /// Makes a cell that nobody holds; usable in a `static`.
    #[must_use]
    pub const fn new(value: T) -> Self {
        Self { value: spin::Mutex::new(value), contended: AtomicU32::new(0) }
    }

    /// Runs `step` on the value if nobody else holds it.
    ///
    /// # Errors
    /// [`Contended`] when somebody does; `step` did not run, and the counter went up.
    ///
    /// # Bounds
    /// One attempt, and the work of `step`. Others are refused for as long as it runs.
    pub fn try_with<R>(&self, step: impl FnOnce(&mut T) -> R) -> Result<R, Contended> {
        let Some(mut value) = self.value.try_lock() else {
            self.contended.fetch_add(1, Ordering::Relaxed);
            return Err(Contended);
        };
        Ok(step(&mut value))
    }

    /// Takes the value of a `static` for good. So a large region gets an owner without a move over the stack.
    ///
    /// ```
    /// use coldpress_embedded::{Contended, TryCell};
    ///
    /// static BUFFER: TryCell<[u8; 512]> = TryCell::new([0; 512]);
    ///
    /// let buffer: &'static mut [u8; 512] = BUFFER.take()?;
    /// buffer[0] = 1;
    /// assert_eq!(BUFFER.take(), Err(Contended));
    /// # Ok::<(), Contended>(())
    /// ```
    ///
    /// # Errors
    /// [`Contended`] when it is held or was taken; so is every attempt from then on.
    pub fn take(&'static self) -> Result<&'static mut T, Contended> {
        let Some(value) = self.value.try_lock() else {
            self.contended.fetch_add(1, Ordering::Relaxed);
            return Err(Contended);
        };
        Ok(spin::MutexGuard::leak(value))
    }

    /// Returns how many attempts found the cell taken; it wraps at 32 bits.
    #[must_use]
    pub fn contended(&self) -> u32 {
        self.contended.load(Ordering::Relaxed)
    }
}

#[cfg(feature = "defmt")]
impl<T> defmt::Format for TryCell<T> {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "TryCell({=u32} contended)", self.contended());
    }
}
