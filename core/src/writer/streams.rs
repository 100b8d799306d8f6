//! Streams: which one a record goes to, whether they are merged because the log is nearly full, and how victims are chosen.

use super::log::Log;
use super::state::Parting;
use crate::config::{FREE_RESERVE, Reserve, Stream, Streams, free_reserve};
use crate::format::{SegmentIndex, Sequence, Version};
use crate::segments::{Growth, Policy, Segment, SegmentState, VictimReason, VictimTerms};

/// Streams are separated again once the log is emptier, by this part, than when they were merged. The part is a divisor.
const FILL_SLACK: u64 = 16;

/// The most live permille of a victim for which fresh records wait, and how many victims they wait for: so many give a segment.
const PARTED_LIVE_PERMILLE: u16 = 875;
const PARTED_VICTIMS_MAX: u8 = 8;

impl Log<'_> {
    /// The stream of a fresh record that replaces one of the sequence given, which lies in the segment given.
    ///
    /// By age it is expected to live as long as the one before did. Where streams are shared, it also gets hotter by at most one
    /// stream a write: a cold key that is written twice in a row is most often still cold.
    pub(super) fn fresh_stream(&self, replaces: Option<Sequence>, lies_in: Option<SegmentIndex>) -> Stream {
        let streams = &self.writer.streams;
        let by_age = match replaces {
            Some(sequence) if self.layout.config().streams == Streams::Four && !streams.is_merged => {
                self.stream_of_age(self.writer.sequence_next.since(sequence))
            }
            _ => return Stream::Warm,
        };
        if !streams.is_shared {
            return if by_age == Stream::Hot { Stream::Hot } else { Stream::Warm };
        }
        let before = lies_in.and_then(|segment| self.segments.find(segment)).map_or(0, Segment::stream);
        match by_age {
            Stream::Hot if before == Stream::Young as u8 => Stream::Warm,
            Stream::Hot | Stream::Warm if before == Stream::Old as u8 => Stream::Young,
            _ => by_age,
        }
    }

    /// The stream of a relocated record.
    pub(crate) fn relocated_stream(&self, from: u8, sequence: Sequence) -> Stream {
        let streams = &self.writer.streams;
        if self.layout.config().streams != Streams::Four || streams.is_merged {
            return Stream::Old;
        }
        let by_age = self.stream_of_age(self.writer.sequence_next.since(sequence));
        let is_young = from == Stream::Hot as u8 || matches!(by_age, Stream::Hot | Stream::Warm);
        match (streams.is_shared, is_young) {
            (true, true) => Stream::Warm,
            (true, false) => by_age,
            (false, true) => Stream::Young,
            (false, false) => Stream::Old,
        }
    }

    /// The stream of records that live so long, in sequences: the bounds are one, four and sixteen mean lifetimes.
    #[inline(never)]
    fn stream_of_age(&self, age: u32) -> Stream {
        let lifetime = self.writer.streams.lifetime;
        match age {
            _ if age < lifetime => Stream::Hot,
            _ if age / 4 < lifetime => Stream::Warm,
            _ if age / 16 < lifetime => Stream::Young,
            _ => Stream::Old,
        }
    }

    /// The bytes that clients have appended since a segment was sealed.
    pub(crate) fn age_bytes(&self, segment: SegmentIndex) -> u64 {
        self.segments.get(segment).age_bytes(self.writer.appended_bytes)
    }

    /// How victims are chosen now.
    pub(crate) fn policy(&self) -> Policy {
        self.writer.streams.ages.resolve(
            self.layout.config().policy,
            self.writer.sequence_next,
            self.layout.geometry(),
        )
    }

    /// The terms by which victims are chosen.
    pub(crate) fn terms(&self, policy: Policy) -> VictimTerms {
        // With one free segment the erase intent of a victim must fit behind its relocated records.
        let intent = if self.keeps_one_free() { self.layout.config().erase_intent_bytes() } else { 0 };
        VictimTerms {
            usable_bytes: self.layout.geometry().usable_bytes().saturating_sub(intent),
            growth: self.growth(),
            policy,
            appended: self.writer.appended_bytes,
            takes_turns: self.layout.config().has_footers,
        }
    }

    /// Bytes that a live record takes beyond its own once it is relocated now.
    pub(crate) fn growth(&self) -> Growth {
        let is_new = self.writer.streams.is_merged
            && !self.keeps_one_free()
            && (self.layout.config().streams == Streams::One || !self.keeps_versions());
        if is_new { self.layout.config().growth_merged() } else { self.layout.config().growth_apart() }
    }

    /// Whether all records share one open segment: as configured, or because the log is nearly full.
    pub(crate) const fn is_one_stream(&self) -> bool {
        self.writer.streams.is_merged
    }

    /// Measures the fill: whether all live records, relocated with origins, would leave free the reserve that several streams
    /// need. Decides, too, whether streams are shared. Bounds: one pass over the table.
    ///
    /// They are not where records are overwritten in turn: fresh records then die in their order, relocated ones do not.
    pub(crate) fn measure_fill(&mut self) {
        if self.layout.config().streams == Streams::One {
            return;
        }
        self.writer.streams.is_shared = self.policy() == Policy::CostBenefit;
        let growth = self.layout.config().growth_apart();
        // Segments for which a full disk has no blocks are not there.
        let (mut live, mut lost) = (0, self.blocks.bare() - self.blocks.to_come());
        for segment in self.segments.iter() {
            if segment.is_kept() || segment.state() == SegmentState::Quarantined {
                lost += 1;
            } else {
                live += u64::from(segment.relocation_bytes(&growth));
            }
        }
        let most = self.layout.config().apart_bytes_max(self.writer.longest_stored_bytes, lost);
        // The slack keeps a few records from merging and separating the streams again and again.
        let slack = if self.writer.streams.is_to_merge { most / FILL_SLACK } else { 0 };
        self.writer.streams.is_to_merge = live > most - slack;
    }

    /// Wants the streams to be merged, since no victim yields anything while they are apart. Tells whether that is news.
    pub(crate) fn merge_for_space(&mut self) -> bool {
        let is_news = !self.writer.streams.is_to_merge;
        self.writer.streams.is_to_merge = true;
        is_news
    }

    /// Merges the streams, or separates them again, as the last measure of the fill says. Called only between two victims.
    ///
    /// When they are merged, all open segments are sealed. So the segment that is opened next has the highest sequence, and a
    /// record that is relocated to it as new outranks every older record of its key.
    pub(crate) fn settle_streams(&mut self) {
        if self.writer.streams.is_merged == self.writer.streams.is_to_merge {
            return;
        }
        self.writer.streams.is_merged = self.writer.streams.is_to_merge;
        for index in self.writer.slots.indices() {
            if self.writer.streams.is_merged {
                self.seal_slot(index);
            } else if let Some(mut slot) = self.writer.slots.get_mut(index) {
                slot.stream = Stream::Warm;
            }
        }
        self.counters.merges += u64::from(self.writer.streams.is_merged);
    }

    /// Free segments that fresh records may not take.
    pub(crate) const fn free_reserve(&self) -> u32 {
        match self.layout.config().reserve {
            Reserve::Several => free_reserve(self.layout.config().streams),
            Reserve::One => 1,
        }
    }

    /// Whether one free segment is all the reserve.
    pub(crate) const fn keeps_one_free(&self) -> bool {
        matches!(self.layout.config().reserve, Reserve::One)
    }

    /// Tells whether only erase intents may take a free segment: of several in reserve that is the last one.
    pub(crate) fn is_kept_for_intents(&self) -> bool {
        self.free() <= if self.keeps_one_free() { 0 } else { 1 }
    }

    /// Chooses the reserve by what a mount found. Bounds: one pass over the table.
    pub(crate) fn settle_reserve(&mut self) {
        let config = *self.layout.config();
        if config.streams != Streams::One || config.has_footers {
            return;
        }
        let growth = config.growth_apart();
        let (mut live, mut with_origins) = (0, 0);
        for segment in self.segments.iter() {
            live += u64::from(segment.live_bytes());
            with_origins += u64::from(segment.relocation_bytes(&growth));
        }
        self.layout.choose_reserve(live, with_origins);
    }

    /// Tells whether all that is live in a segment, and its erase intent, have space in the free segments. They do where records
    /// can't get longer; those without an origin may.
    pub(crate) fn fits_output(&self, segment: &Segment) -> bool {
        let VictimTerms { usable_bytes, growth, .. } = self.terms(Policy::Greedy);
        !self.keeps_one_free() || self.free() > 1 || segment.relocation_bytes(&growth) <= usable_bytes
    }

    /// Tells whether cleaning a segment gives space to the fresh record that waits for it. With one free segment another victim
    /// would take that and give nothing.
    ///
    /// A batch may need more than one victim gives. Then each victim must give more than an output can lose at its end, which is
    /// less than the longest record: so the stale bytes get fewer with each, and the cleaning ends.
    pub(crate) fn is_worth_cleaning(&self, segment: &Segment) -> bool {
        if !self.keeps_one_free() || segment.live_records() == 0 {
            return true;
        }
        let VictimTerms { usable_bytes, growth, .. } = self.terms(Policy::Greedy);
        let enough = self.writer.wanted_bytes.min(self.layout.config().record_bytes_max + 1);
        let is_enough = segment.yield_bytes(usable_bytes, &growth) >= enough;
        // An output that is open may have space for the rest of its victim.
        let has_output = !self.lacks_output() || segment.relocation_bytes(&growth) <= self.rest();
        has_output && (is_enough || segment.is_suspect())
    }

    /// Tells whether cleaning a segment gives all the space that is wanted.
    pub(super) fn gives_wanted(&self, segment: &Segment) -> bool {
        let VictimTerms { usable_bytes, growth, .. } = self.terms(Policy::Greedy);
        segment.yield_bytes(usable_bytes, &growth) >= self.writer.wanted_bytes
    }

    /// Tells whether a fresh record waits for space, and nothing under way gives it any. `coming` counts the segments that are
    /// free or will be.
    pub(crate) fn lacks_space(&self, coming: u32) -> bool {
        let is_refused = self.is_parted() || self.rest() < self.writer.wanted_bytes;
        self.writer.wanted_bytes > 0 && coming <= self.free_reserve() && is_refused
    }

    /// The origin of a relocated record.
    ///
    /// With one stream it has none, except in a rescue: it is written as if a client had put it again, which saves the bytes of
    /// the origin. It is the newest of its key then. Records that a client appended before are published (see
    /// [`append_relocated`](Self::append_relocated)). Later ones lie behind it, or in a segment of a higher sequence.
    pub(crate) fn origin(&self, version: Version) -> Option<Version> {
        (!self.writer.streams.is_merged || self.keeps_versions()).then_some(version)
    }

    /// Tells whether a relocated record keeps its version though there is one stream. It does in a rescue. It also does while a
    /// newer record of its key may lie where it could not be read, since a new version would outrank that record.
    pub(super) fn keeps_versions(&self) -> bool {
        self.copies.is_withholding() || self.is_rescuing()
    }

    /// Tells whether there is a *rescue*: with one stream, relocation goes to the last free segment.
    ///
    /// With one free segment in reserve every relocation counts as one.
    ///
    /// A cut there must not leave an output that holds live records while its victim is not empty: no segment would be left to
    /// go on with (rule 12). So records keep their versions, and a mount takes the copy in the lower segment. An output that a
    /// cut ends early is then dead, and is erased.
    pub(crate) fn is_rescuing(&self) -> bool {
        self.keeps_one_free()
            || self.writer.streams.is_merged
                && match self.filling(Stream::Old) {
                    Some((_, slot)) => slot.is_rescue,
                    None => self.free() <= 1,
                }
    }

    /// Tells whether a fresh record may go into a segment that relocation opened.
    ///
    /// It may once the cleaning that opened the segment has given one back. Else power cuts in a row, each after one fresh
    /// record, would each leave one more segment that is sealed early, and no victim freed (rule 12). It may also where no
    /// segment can be opened any more. Where they are [parted](Self::part), cleaning must have given one back for fresh records alone.
    pub(super) fn may_share(&self) -> bool {
        let least = self.free_reserve() + u32::from(self.is_parted());
        !self.writer.streams.is_merged || self.free() >= least || self.is_at_end()
    }

    /// Parts fresh records from relocated ones, with one stream, where the reason of a victim says that some keys are hot and others cold.
    /// Fresh records then wait until cleaning has given back a segment, and relocated ones fill theirs by themselves.
    ///
    /// It begins only for a client that waits for space, and has no open segment: else relocated records would fill that. It ends
    /// with a victim that gives little, and after [`PARTED_VICTIMS_MAX`]; then it returns `false`.
    pub(crate) fn part(&mut self, reason: Option<VictimReason>) -> bool {
        let is_skewed =
            matches!(reason, Some(VictimReason::CostBenefit(permille)) if permille <= PARTED_LIVE_PERMILLE);
        let is_possible = self.layout.config().streams == Streams::One && !self.keeps_one_free();
        let wanted = self.writer.wanted_bytes;
        let victims = match self.writer.parting {
            Parting::None if wanted > 0 && self.rest() < self.least_rest(wanted) => 0,
            Parting::Victims(victims) if victims < PARTED_VICTIMS_MAX => victims,
            _ => PARTED_VICTIMS_MAX,
        };
        if is_skewed && is_possible && victims < PARTED_VICTIMS_MAX {
            self.writer.parting = Parting::Victims(victims + 1);
            return true;
        }
        !self.part_no_more()
    }

    /// Parts records no more, so that whoever waits goes on. Returns whether it did.
    pub(crate) fn part_no_more(&mut self) -> bool {
        let was_parted = self.is_parted();
        if was_parted {
            self.writer.parting = Parting::Over;
            self.stir(true);
        }
        was_parted
    }

    /// Whether fresh records wait for a segment that relocated ones leave to them.
    const fn is_parted(&self) -> bool {
        matches!(self.writer.parting, Parting::Victims(_))
    }

    /// Tells whether a fresh record may go to a stream of relocation now, where it needs a segment to be opened or not.
    ///
    /// The condition is that of [`may_share`](Self::may_share), for the same reason. To open a segment it needs one beyond the
    /// reserve, like any fresh record.
    pub(super) fn may_join(&self, stream: Stream, is_open: bool) -> bool {
        let is_relocated = matches!(stream, Stream::Young | Stream::Old);
        !is_relocated || self.free() >= FREE_RESERVE + u32::from(!is_open)
    }

    /// A live record was relocated as new.
    pub(crate) fn note_renewed(&mut self, now: Sequence, before: Sequence) {
        self.writer.streams.ages.renew(now, before);
    }

    /// Notes the age of a segment of short-lived records that is cleaned: a moving mean over sixteen.
    pub(crate) fn learn_lifetime(&mut self, stream: u8, sequence: Sequence) {
        if stream == Stream::Hot as u8 {
            let age = self.writer.sequence_next.since(sequence);
            let mean = (u64::from(self.writer.streams.lifetime) * 15 + u64::from(age)) / 16;
            self.writer.streams.lifetime = u32::try_from(mean).unwrap_or(u32::MAX).max(1);
        }
    }
}
