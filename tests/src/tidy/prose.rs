//! Rules about sentences of pages and of comments in sources.
//!
//! Markdown is read just far enough to find the sentences in it. Code blocks and headings are no sentences, a code span is one word, and
//! a link is its text.

use super::Violation;
use super::lex::{Kind, tokens};

/// The most words that a sentence of a page or a comment may have.
pub const SENTENCE_WORDS_MAX: usize = 30;

/// The marks at which a sentence ends, where a space or nothing follows.
const ENDS: [char; 5] = ['.', ':', ';', '?', '!'];

/// Marks that may stand between the end of a sentence and the space.
const CLOSING: [char; 6] = [')', '*', '_', '"', '”', '’'];

/// One line of Markdown, and its number from 1.
type Line<'a> = (usize, &'a str);

/// The line where a sentence begins, and its words.
type Sentence = (usize, Vec<String>);

/// Words that stand in for a noun where a sentence begins with them.
const STAND_INS: [&str; 5] = ["What", "That", "Who", "Whatever", "Whoever"];

/// Finds long sentences in a page.
pub fn long_sentences_in_page(page: &str) -> Vec<Violation> {
    long_sentences(page.lines().enumerate().map(|(at, text)| (at + 1, text)))
}

/// Finds long sentences in the comments of a source, documentation included.
pub fn long_sentences_in_comments(source: &str) -> Vec<Violation> {
    comments(source).into_iter().flat_map(|lines| long_sentences(lines.into_iter())).collect()
}

/// Finds sentences of a page that begin with a word that stands in for a noun.
pub fn stand_ins_in_page(page: &str) -> Vec<Violation> {
    stand_ins(page.lines().enumerate().map(|(at, text)| (at + 1, text)))
}

/// Finds sentences of comments that begin with a word that stands in for a noun.
pub fn stand_ins_in_comments(source: &str) -> Vec<Violation> {
    comments(source).into_iter().flat_map(|lines| stand_ins(lines.into_iter())).collect()
}

/// The line comments of a source, without their marks. Comments on consecutive lines are one text if they have the same mark and no
/// code stands before them.
fn comments(source: &str) -> Vec<Vec<Line<'_>>> {
    let (mut found, mut last, mut code_line) = (Vec::<Vec<Line<'_>>>::new(), None, 0);
    for token in tokens(source) {
        let marks = ["////", "///", "//!", "//"];
        let Some(mark) =
            marks.into_iter().find(|mark| token.kind == Kind::Comment && token.text.starts_with(mark))
        else {
            code_line = token.line + token.text.matches('\n').count();
            continue;
        };
        let line = (token.line, token.text[mark.len()..].trim_start_matches('/'));
        let is_alone = code_line != token.line;
        match found.last_mut() {
            Some(lines) if is_alone && last == Some((mark, token.line - 1)) => lines.push(line),
            _ => found.push(vec![line]),
        }
        last = is_alone.then_some((mark, token.line));
    }
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

fn stand_ins<'a>(lines: impl Iterator<Item = Line<'a>>) -> Vec<Violation> {
    let found = paragraphs(lines).into_iter().flat_map(|lines| sentences(&lines));
    let begins_so = |(_, words): &Sentence| {
        let first = words
            .first()
            .map_or("", |word| word.trim_start_matches(|letter: char| !letter.is_alphanumeric()));
        let first = first.split(|letter: char| !letter.is_alphanumeric()).next().unwrap_or_default();
        let is_question = words.last().is_some_and(|word| word.trim_end_matches(CLOSING).ends_with('?'));
        STAND_INS.contains(&first) && !is_question
    };
    let say = |(line, words): Sentence| {
        let start = words[..words.len().min(6)].join(" ");
        Violation::new(
            line,
            format!("a sentence begins with a noun, not with a word in place of one: {start} …"),
        )
    };
    found.filter(begins_so).map(say).collect()
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
