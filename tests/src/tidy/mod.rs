//! The house rules, as pure functions over source text.
//!
//! Each rule takes a string and returns the violations in it, so a test can plant one in a string and see that the rule finds
//! it. A rule that never fires would pass for a clean tree. The walk over the real tree is in `tests/tidy`.

mod imports;
mod layout;
mod lex;
mod manifest;
mod names;
mod prose;
mod regions;
mod sizes;
mod stats;
mod vocabulary;
mod words;

pub use imports::{CORE_LAYERS, STD_LAYERS, import_cycles, upward_imports};
pub use layout::{root_entries, test_modules};
pub use manifest::{crate_root, member_manifest, root_manifest, shared_ownership_in_manifest};
pub use names::{TEST_NAME_MAX, long_test_names, repeated_type_names, type_names};
pub use prose::{
    SENTENCE_WORDS_MAX, long_sentences_in_comments, long_sentences_in_page, stand_ins_in_comments,
    stand_ins_in_page,
};
pub use sizes::{FILE_LINES_MAX, FunctionSize, file_too_long, function_sizes};
pub use stats::{StatText, differing_stats, stat_texts};
pub use vocabulary::private_words;
pub use words::{
    allocation, allowed_lints, banned_type_names, ignored_tests, panics, shared_ownership, unfinished,
};

/// One broken rule, at one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The line, counted from 1; 0 where the rule is about a file or a folder as a whole.
    pub line: usize,
    /// The finding, and the rule.
    pub what: String,
}

impl Violation {
    fn new(line: usize, what: impl Into<String>) -> Self {
        Self { line, what: what.into() }
    }
}
