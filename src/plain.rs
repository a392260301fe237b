//! Text of others, made safe to show: names, values and paths from manifests, caches, models and data.
//!
//! A control character in such a text could move the cursor, change the title of the terminal or begin a line that
//! looks like one of ours. Here, each becomes an escape that is only text. Nothing here prints.

use std::borrow::Cow;
use std::fmt::Write;

/// Returns a text as one line without control characters: `\n`, `\t`, `\u{1b}` stand for them.
pub fn visible(text: &str) -> Cow<'_, str> {
    escaped(text, |_, _| false)
}

/// Returns lines without control characters, except the ends of the lines and tabs.
pub fn visible_lines(text: &str) -> Cow<'_, str> {
    escaped(text, |at, c| is_layout(text, at, c))
}

/// Returns a text that has been laid out for a terminal, with nothing in it that does more than lay out or color.
pub fn only_colored(text: &str) -> Cow<'_, str> {
    let is_color = colors(text);
    escaped(text, |at, c| is_color(at, c) || is_layout(text, at, c))
}

/// Returns one line that may have colors, and nothing else that controls a terminal.
pub fn one_colored_line(text: &str) -> Cow<'_, str> {
    escaped(text, colors(text))
}

/// Returns a text of the same length in bytes, without control characters except the ends of lines and tabs: places in
/// the one are places in the other.
pub fn same_length(text: &str) -> Cow<'_, str> {
    replaced(
        text,
        |at, c| is_layout(text, at, c),
        |c, out| {
            out.push_str(match c.len_utf8() {
                1 => "?",
                2 => "·",
                _ => "\u{fffd}",
            });
        },
    )
}

/// Returns JSON of the same value without control characters. In JSON they can only be inside of strings.
pub fn json(text: &str) -> Cow<'_, str> {
    replaced(
        text,
        |at, c| is_layout(text, at, c),
        |c, out| {
            let _ = write!(out, "\\u{:04x}", u32::from(c));
        },
    )
}

/// Whether a character controls a terminal or the order of the characters: C0, DEL, C1, the line separators, and the
/// controls of text that runs from right to left.
fn is_control(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Whether the character at `at` lays out a text: the end of a line, or a tab. A carriage return alone would overwrite
/// its line.
fn is_layout(text: &str, at: usize, c: char) -> bool {
    matches!(c, '\n' | '\t') || (c == '\r' && text[at..].starts_with("\r\n"))
}

/// Returns whether the escape character at a place of `text` begins a sequence that only sets a color.
fn colors(text: &str) -> impl Fn(usize, char) -> bool + '_ {
    move |at, c| c == '\x1b' && sets_color(&text[at..])
}

fn sets_color(text: &str) -> bool {
    let is_code = |c: char| c.is_ascii_digit() || c == ';';
    text.strip_prefix("\x1b[").is_some_and(|codes| codes.trim_start_matches(is_code).starts_with('m'))
}

fn escaped(text: &str, may_stay: impl Fn(usize, char) -> bool) -> Cow<'_, str> {
    replaced(text, may_stay, |c, out| out.extend(c.escape_default()))
}

/// Replaces the control characters that may not stay.
fn replaced(
    text: &str,
    may_stay: impl Fn(usize, char) -> bool,
    replace: impl Fn(char, &mut String),
) -> Cow<'_, str> {
    if !text.contains(is_control) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    for (at, c) in text.char_indices() {
        if !is_control(c) || may_stay(at, c) { out.push(c) } else { replace(c, &mut out) }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOSTILE: &str = "a\x1b[2Jb\n done\r\u{9b}31m\u{202e}x\u{2028}\x07\t\u{7f}";

    #[test]
    fn a_value_is_one_line_without_controls() {
        assert_eq!(visible(HOSTILE), r"a\u{1b}[2Jb\n done\r\u{9b}31m\u{202e}x\u{2028}\u{7}\t\u{7f}");
        assert!(matches!(visible("résumé → 数 `x`"), Cow::Borrowed("résumé → 数 `x`")));
    }

    #[test]
    fn lines_keep_their_ends() {
        assert_eq!(visible_lines("a\r\n\tb\rc\x1b[0m\n"), "a\r\n\tb\\rc\\u{1b}[0m\n");
    }

    #[test]
    fn colors_pass_and_nothing_else_does() {
        let ours = "\x1b[1;32m finished\x1b[0m x\n";
        assert_eq!(only_colored(ours), ours);
        for hostile in ["\x1b]0;title\x07", "\x1b[2J", "\x1b[31", "\x1b", "\x1bc", "\x1b[31\x1b[Hm"] {
            let shown = only_colored(hostile);
            assert!(!shown.contains(['\x1b', '\x07']), "{shown}");
        }
    }

    #[test]
    fn json_keeps_its_value() {
        let text = serde_json::to_string_pretty(&serde_json::json!({"a\u{9b}": [HOSTILE]})).unwrap();
        let shown = json(&text);
        assert!(!shown.contains(|c| is_control(c) && c != '\n'), "{shown}");
        let [before, after] =
            [&*text, &*shown].map(|text| serde_json::from_str::<serde_json::Value>(text).unwrap());
        assert_eq!(before, after);
    }

    proptest! {
        #[test]
        fn no_control_is_left(text in any::<String>()) {
            let line = visible(&text);
            prop_assert!(!line.contains(is_control));
            let lines = visible_lines(&text);
            let controls: &[char] = &['\x1b', '\u{9b}', '\x08'];
            prop_assert!(!lines.contains(controls));
            let shown = same_length(&text);
            prop_assert_eq!(shown.len(), text.len());
            prop_assert!(text.char_indices().all(|(at, _)| shown.is_char_boundary(at)));
        }
    }
}
