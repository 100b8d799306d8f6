//! Reads ahead of the machine, where a read of the medium is awaited.
//!
//! The machine asks its index about keys, and waits for no answer. An index that must read the medium for one notes the
//! [`Query`], and the machine comes back to the same step. Meanwhile the call that drives the machine reads, and leaves the
//! [`QueryAnswer`] here. It holds for the next poll of the machine alone, since entries change.

use coldpress_core::drive::{MediumError, Now};
use coldpress_core::format::KeyHash;
use coldpress_core::index::Due;

use super::access::Access;
use super::index::{IndexOnFlash, Match};
use super::table::COPIES_MAX;
use super::tier::FlashTier;

/// A question of the machine's index to the medium.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Query {
    /// Which entry is that of a key.
    Key(KeyHash),
    /// The same among entries with a full count.
    Full(KeyHash),
    /// How long the record at a place is.
    Record(u32),
    /// Whether the time of the record at a place is over.
    Due(u32),
}

/// The answer of the medium.
#[derive(Debug, Clone, Copy)]
pub(super) enum QueryAnswer {
    /// The entry, and the failure of a read that may be the reason for a doubt.
    Found(Match, Option<MediumError>),
    /// The bytes of a record; `None` where it is not whole.
    Record(Option<u32>),
    /// The record, if its time is over.
    Due(Option<Due>),
}

/// A question that is open, or was answered.
#[derive(Debug, Default)]
pub struct Prepared {
    wanted: Option<Query>,
    answered: Option<(Query, QueryAnswer)>,
}

impl Prepared {
    /// Makes one without a question.
    pub(super) const fn new() -> Self {
        Self { wanted: None, answered: None }
    }

    /// Whether a question is open.
    pub(super) const fn is_wanting(&self) -> bool {
        self.wanted.is_some()
    }

    /// The question that was answered, and its answer.
    pub(super) const fn answer(&self) -> Option<(Query, QueryAnswer)> {
        self.answered
    }

    /// Forgets the answer.
    pub(super) const fn forget(&mut self) {
        self.answered = None;
    }
}

impl<M: Access> IndexOnFlash<'_, '_, M> {
    /// The answer to a question; where there is none yet, or it no longer holds, the question is open from now on.
    pub(super) fn prepared(&mut self, query: Query) -> Option<QueryAnswer> {
        let prepared = self.flash.medium.prepared()?;
        if let Some((_, answer)) = prepared.answered.filter(|(answered, _)| *answered == query)
            && self.index.still_holds(&query, &answer)
        {
            return Some(answer);
        }
        prepared.wanted = Some(query);
        None
    }

    /// Whether the length of the record at a place is known.
    pub(super) fn is_record_ready(&mut self, place: u32) -> bool {
        M::READS_AT_ONCE || self.prepared(Query::Record(place)).is_some()
    }
}

impl super::index::TableIndex<'_> {
    /// Whether the entry that was found is still that of the record.
    fn still_holds(&self, query: &Query, answer: &QueryAnswer) -> bool {
        match (query, answer) {
            (
                Query::Key(hash) | Query::Full(hash),
                QueryAnswer::Found(Match { newest: Some(found), .. }, _),
            ) => self.renewed(hash, *found).is_some(),
            _ => true,
        }
    }
}

impl<M: Access> FlashTier<'_, M> {
    /// Whether the machine waits for the medium: for an operation, or for a read of its index.
    pub(super) fn is_waiting(&self) -> bool {
        self.under_way.is_some() || self.flash.medium.is_wanting()
    }

    /// Answers the open question, if there is one. A future that is dropped meanwhile leaves it open.
    pub(super) async fn prepare(&mut self, now: Now) {
        let Some(query) = self.flash.medium.prepared().and_then(|prepared| prepared.wanted) else { return };
        // Only a machine that runs has this question.
        let now_s = if matches!(query, Query::Due(_)) { self.clock_s(now) } else { 0 };
        let geometry = self.flash.geometry;
        let mut desk = self.desk();
        let answer = match query {
            Query::Key(hash) => {
                let found = desk.find(&hash).await;
                QueryAnswer::Found(found, self.flash.read_failure)
            }
            Query::Full(hash) => {
                let found = desk.find_twice(&hash, COPIES_MAX).await;
                QueryAnswer::Found(found, self.flash.read_failure)
            }
            Query::Record(place) => {
                let opened = desk.record(place).await;
                QueryAnswer::Record(opened.map(|opened| opened.record_bytes(&geometry)))
            }
            Query::Due(place) => QueryAnswer::Due(desk.due_at(place, now_s).await),
        };
        if let Some(prepared) = self.flash.medium.prepared() {
            *prepared = Prepared { wanted: None, answered: Some((query, answer)) };
        }
    }
}
