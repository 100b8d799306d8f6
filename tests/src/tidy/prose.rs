//! Rules about sentences of pages and of documentation in sources.
//!
//! Markdown is read just far enough to find the sentences in it. Code blocks and headings are no sentences, a code span is one word, and
//! a link is its text.

use super::Violation;

/// The most words that a sentence of public documentation may have.
pub const SENTENCE_WORDS_MAX: usize = 30;

/// The marks at which a sentence ends, where a space or nothing follows.
const ENDS: [char; 5] = ['.', ':', ';', '?', '!'];

/// Marks that may stand between the end of a sentence and the space.
const CLOSING: [char; 6] = [')', '*', '_', '"', '”', '’'];

/// One line of Markdown, and its number from 1.
type Line<'a> = (usize, &'a str);

/// The line where a sentence begins, and its words.
type Sentence = (usize, Vec<String>);

/// Finds long sentences in a page.
pub fn long_sentences_in_page(page: &str) -> Vec<Violation> {
    long_sentences(page.lines().enumerate().map(|(at, text)| (at + 1, text)))
}

/// Finds long sentences in the documentation of a source: the comments with `///` and `//!`.
pub fn long_sentences_in_docs(source: &str) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut item: Vec<Line<'_>> = Vec::new();
    for (at, text) in source.lines().enumerate() {
        let text = text.trim_start();
        let is_doc = |text: &str| !text.starts_with("////");
        match text.strip_prefix("///").or_else(|| text.strip_prefix("//!")).filter(|_| is_doc(text)) {
            Some(text) => item.push((at + 1, text)),
            None => found.append(&mut long_sentences(item.drain(..))),
        }
    }
    found.append(&mut long_sentences(item.into_iter()));
    found
}

fn long_sentences<'a>(lines: impl Iterator<Item = Line<'a>>) -> Vec<Violation> {
    let found = paragraphs(lines).into_iter().flat_map(|lines| sentences(&lines));
    let long = found.filter(|(_, words)| words.len() > SENTENCE_WORDS_MAX);
    let say = |(line, words): Sentence| {
        let start = words[..6].join(" ");
        Violation::new(
            line,
            format!("a sentence of {} words, at most {SENTENCE_WORDS_MAX}: {start} …", words.len()),
        )
    };
    long.map(say).collect()
}

/// Cuts Markdown into paragraphs, list items and table cells.
fn paragraphs<'a>(lines: impl Iterator<Item = Line<'a>>) -> Vec<Vec<Line<'a>>> {
    let mut found = vec![Vec::new()];
    let mut fence: Option<&str> = None;
    for (line, text) in lines {
        let text = text.trim().trim_start_matches("> ");
        let opens = ["```", "~~~"].into_iter().find(|mark| text.starts_with(mark));
        if fence.is_some() || opens.is_some() {
            match fence {
                Some(mark) if text.starts_with(mark) => fence = None,
                Some(_) => {}
                None => fence = opens,
            }
            found.push(Vec::new());
        } else if text.is_empty() || text.starts_with('#') || is_link_definition(text) {
            found.push(Vec::new());
        } else if text.starts_with('|') {
            found.extend(cells(text).into_iter().map(|cell| vec![(line, cell)]));
            found.push(Vec::new());
        } else if let Some(item) = list_item(text) {
            found.push(vec![(line, item)]);
        } else if let Some(paragraph) = found.last_mut() {
            paragraph.push((line, text));
        }
    }
    found
}

fn is_link_definition(text: &str) -> bool {
    text.starts_with('[') && text.split_once("]: ").is_some_and(|(name, _)| !name.contains(']'))
}

/// The text of a list item behind its mark; `None` for a line that begins no item.
fn list_item(text: &str) -> Option<&str> {
    let behind_number = text.trim_start_matches(|letter: char| letter.is_ascii_digit());
    let numbered = if behind_number.len() < text.len() { behind_number.strip_prefix(". ") } else { None };
    numbered.or_else(|| ["- ", "* ", "+ "].into_iter().find_map(|mark| text.strip_prefix(mark)))
}

/// The cells of a row of a table; a bar within a code span, or behind a backslash, is none.
fn cells(row: &str) -> Vec<&str> {
    let (mut found, mut from, mut is_code, mut is_escaped) = (Vec::new(), 0, false, false);
    for (at, letter) in row.char_indices() {
        match letter {
            '`' => is_code = !is_code,
            '|' if !is_code && !is_escaped => {
                found.push(&row[from..at]);
                from = at + 1;
            }
            _ => {}
        }
        is_escaped = letter == '\\';
    }
    found.push(&row[from..]);
    found
}

/// The sentences of a paragraph.
fn sentences(lines: &[Line<'_>]) -> Vec<Sentence> {
    let text: Vec<&str> = lines.iter().map(|(_, text)| *text).collect();
    let first = lines.first().map_or(0, |(line, _)| *line);
    let mut found: Vec<Sentence> = Vec::new();
    let mut sentence: Vec<(usize, String)> = Vec::new();
    let mut end = |sentence: &mut Vec<(usize, String)>| {
        if let Some((below, _)) = sentence.first() {
            found.push((first + below, sentence.drain(..).map(|(_, word)| word).collect()));
        }
    };
    for (below, word) in words(&text.join("\n")) {
        let is_end = word.trim_end_matches(CLOSING).ends_with(ENDS);
        if word.contains(char::is_alphanumeric) {
            sentence.push((below, word));
        }
        if is_end {
            end(&mut sentence);
        }
    }
    end(&mut sentence);
    found
}

/// Cuts a paragraph into words, each with how many lines are above it.
fn words(paragraph: &str) -> Vec<(usize, String)> {
    let (mut found, mut word) = (Vec::new(), String::new());
    let (mut rest, mut line) = (paragraph, 0);
    while let Some(letter) = rest.chars().next() {
        let mut length = letter.len_utf8();
        if letter.is_whitespace() {
            if !word.is_empty() {
                found.push((line, core::mem::take(&mut word)));
            }
        } else if let Some((span, text)) = code_span(rest) {
            word.extend(text.chars().filter(|letter| !letter.is_whitespace() && !ENDS.contains(letter)));
            length = span;
        } else if let Some(target) = rest.strip_prefix(']').and_then(link_target) {
            length += target;
        } else if !['[', ']'].contains(&letter) {
            word.push(letter);
        }
        line += rest[..length].matches('\n').count();
        rest = &rest[length..];
    }
    if !word.is_empty() {
        found.push((line, word));
    }
    found
}

/// The length of the code span that starts here, and what is in it.
fn code_span(rest: &str) -> Option<(usize, &str)> {
    let marks = &rest[..rest.len() - rest.trim_start_matches('`').len()];
    let body = &rest[marks.len()..];
    let end = body.find(marks).filter(|_| !marks.is_empty())?;
    Some((end + 2 * marks.len(), &body[..end]))
}

/// The length of the target of a link, in parentheses or brackets, where one starts here.
fn link_target(rest: &str) -> Option<usize> {
    let (open, close) = if rest.starts_with('(') { ('(', ')') } else { ('[', ']') };
    let mut depth = 0usize;
    for (at, letter) in rest.char_indices().take_while(|_| rest.starts_with(open)) {
        depth = if letter == open { depth + 1 } else { depth - usize::from(letter == close) };
        if depth == 0 {
            return Some(at + 1);
        }
    }
    None
}
