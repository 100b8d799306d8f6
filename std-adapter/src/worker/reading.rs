//! The worker of a tier that is only read: it mounts, answers, and takes no step in which the machine may write.
//!
//! A mount reads, and syncs once at its end; that sync is left out here. After the mount the machine would open segments, erase
//! torn ones and sync, so it is not polled any more. Clients read through the index as of any tier.

use core::time::Duration;

use coldpress_core::drive::{Action, MediumError, Now};

use super::{End, WAIT_MS_MAX, Worker};
use crate::directory::LogDigest;

impl Worker<'_> {
    /// Serves until it is closed, or its file is lost.
    pub(super) fn serve_reads(&mut self) -> End {
        loop {
            self.take_messages();
            self.look_after_place(false);
            if self.is_file_lost() {
                return End::FileLost;
            }
            self.post_clock();
            if self.posting.is_due() {
                self.post();
            }
            self.shared.admission.alert();
            if let Some(closing) = &mut self.closing {
                // A tier that is only read leaves no note.
                closing.end(Ok(LogDigest::default()));
                return End::Closed;
            }
            if self.messages.is_empty() {
                self.wait_for_input(Duration::from_millis(WAIT_MS_MAX));
            }
        }
    }

    /// Carries out no action except a read. A sync has nothing to make durable, since this process wrote no byte.
    pub(super) fn refuse_to_write(&mut self, now: Now, action: Action) {
        let result = if matches!(action, Action::Sync { .. }) { Ok(()) } else { Err(MediumError::Io.into()) };
        self.done(now, action.ticket(), result.as_ref().copied());
    }
}
