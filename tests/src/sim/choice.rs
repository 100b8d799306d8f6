//! The decision about the next event: by a schedule, a seed, or always the first.

use super::rng::Rng;

/// Chooses among what could happen next.
#[derive(Debug, Clone, Default)]
pub enum Chooser {
    /// Always the first.
    #[default]
    Prompt,
    /// As a schedule says, and the first after its end; notes how many there were each time.
    Schedule {
        /// The choices, in turn.
        plan: Vec<usize>,
        /// How many there were to choose from, in turn.
        widths: Vec<usize>,
    },
    /// By a seed.
    Random(Rng),
}

impl Chooser {
    /// Follows a schedule.
    #[must_use]
    pub const fn schedule(plan: Vec<usize>) -> Self {
        Self::Schedule { plan, widths: Vec::new() }
    }

    /// Chooses one of `width`, at least one.
    pub fn choose(&mut self, width: usize) -> usize {
        match self {
            Self::Prompt => 0,
            Self::Schedule { plan, widths } => {
                widths.push(width);
                plan.get(widths.len() - 1).copied().unwrap_or(0).min(width.saturating_sub(1))
            }
            Self::Random(rng) => rng.index(width),
        }
    }

    /// The widths met so far, where a schedule was followed.
    #[must_use]
    pub fn widths(&self) -> &[usize] {
        match self {
            Self::Schedule { widths, .. } => widths,
            Self::Prompt | Self::Random(_) => &[],
        }
    }
}

/// Walks all schedules that choose otherwise than the first at most `deviations` times.
///
/// Starts with the empty plan; after each run, [`met`](Self::met) takes the widths of that run. Bounded by `runs_max`;
/// [`is_complete`](Self::is_complete) tells whether it ended before that.
#[derive(Debug)]
pub struct Schedules {
    pending: Vec<Vec<usize>>,
    deviations: usize,
    /// How many plans were handed out.
    pub runs: usize,
    runs_max: usize,
}

impl Schedules {
    /// Begins.
    #[must_use]
    pub fn new(deviations: usize, runs_max: usize) -> Self {
        Self { pending: vec![Vec::new()], deviations, runs: 0, runs_max }
    }

    /// The next plan to try.
    pub fn next_plan(&mut self) -> Option<Vec<usize>> {
        if self.runs >= self.runs_max {
            return None;
        }
        let plan = self.pending.pop()?;
        self.runs += 1;
        Some(plan)
    }

    /// Adds every plan that departs from `plan` once more, after its end.
    pub fn met(&mut self, plan: &[usize], widths: &[usize]) {
        if plan.iter().filter(|&&choice| choice != 0).count() >= self.deviations {
            return;
        }
        for (at, &width) in widths.iter().enumerate().skip(plan.len()) {
            for choice in 1..width {
                let mut next = plan.to_vec();
                next.resize(at, 0);
                next.push(choice);
                self.pending.push(next);
            }
        }
    }

    /// Whether all plans were handed out.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.pending.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_of_three_choices_of_two_are_all_walked_once() {
        let mut schedules = Schedules::new(3, 100);
        let mut seen = std::collections::BTreeSet::new();
        while let Some(plan) = schedules.next_plan() {
            let mut chooser = Chooser::schedule(plan.clone());
            let taken: Vec<_> = (0..3).map(|_| chooser.choose(2)).collect();
            assert!(seen.insert(taken), "walked twice: {plan:?}");
            schedules.met(&plan, chooser.widths());
        }
        assert_eq!(seen.len(), 8);
        assert!(schedules.is_complete());
    }
}
