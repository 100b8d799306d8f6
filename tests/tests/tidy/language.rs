//! Rules about names and sentences.

use coldpress_tests::tidy;

use crate::{catches, files, hold};

#[test]
fn names_of_tests_are_short_enough_to_read() {
    hold(&files("", ".rs"), tidy::long_test_names);
}

#[test]
fn planted_long_test_names_are_caught() {
    let longest = "a".repeat(tidy::TEST_NAME_MAX);
    catches(
        tidy::long_test_names,
        &[
            &format!("#[test]\nfn {longest}b() {{}}"),
            &format!("#[test] #[should_panic] fn {longest}b() {{}}"),
            &format!("a! {{ #[test] fn {longest}b(c in 0..8) {{}} }}"),
        ],
        &[
            &format!("#[test]\nfn {longest}() {{}}\nfn {longest}b() {{}}"),
            &format!("#[cfg(test)] fn {longest}b() {{}}"),
            &format!("// #[test] fn {longest}b() {{}}"),
        ],
    );
}
