//! Text layout for terminals: width, truncation, padding and sanitizing, and the formats of numbers. Widths are counted
//! in columns, one character at a time, as terminals do. Pure: reads no terminal and no locale.

mod widths;

use std::borrow::Cow;
use std::iter::Peekable;
use std::ops::RangeInclusive;
use std::str::Chars;
use std::time::Duration;

const ESCAPE: char = '\u{1b}';
const BELL: char = '\u{7}';
const STRING_TERMINATOR: char = '\u{9c}';

/// Maximum number of combining marks on one character. More are not text, but a picture over the neighboring lines.
const MAX_MARKS: usize = 8;

/// Returns the number of terminal columns of `text`.
///
/// An East Asian wide character or an emoji has 2, a combining mark or a control character 0, any other 1.
#[must_use]
pub fn width(text: &str) -> usize {
    text.chars().map(character_width).sum()
}

/// Returns the number of terminal columns of one character.
#[must_use]
pub fn character_width(character: char) -> usize {
    match character {
        ' '..='~' => 1,
        _ if in_ranges(widths::ZERO, character) => 0,
        _ if in_ranges(widths::WIDE, character) => 2,
        _ => 1,
    }
}

/// Returns true if an odd number of the sorted `turns` is at or before `character`: each toggles membership.
fn in_ranges(turns: &[u32], character: char) -> bool {
    turns.partition_point(|&turn| turn <= u32::from(character)) % 2 == 1
}

/// Truncates `text` to `max_columns`, including `ellipsis` if anything was removed. Marks stay with their character.
#[must_use]
pub fn truncate<'a>(text: &'a str, max_columns: usize, ellipsis: &str) -> Cow<'a, str> {
    if beginning(text, max_columns).len() == text.len() {
        return Cow::Borrowed(text);
    }
    let ellipsis = beginning(ellipsis, max_columns);
    let kept = beginning(text, max_columns - width(ellipsis));
    Cow::Owned(format!("{kept}{ellipsis}"))
}

/// Returns the longest beginning of `text` that fits, with all marks of its last character.
fn beginning(text: &str, max_columns: usize) -> &str {
    let mut columns = 0;
    for (end, character) in text.char_indices() {
        columns += character_width(character);
        if columns > max_columns {
            return &text[..end];
        }
    }
    text
}

/// Returns the last character boundary at or before a byte index.
#[must_use]
pub fn floor_char_boundary(text: &str, index: usize) -> usize {
    let mut end = index.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    end
}

/// Pads `text` with trailing spaces to `columns`. Wider text is unchanged.
#[must_use]
pub fn pad(text: &str, columns: usize) -> String {
    let missing = columns.saturating_sub(width(text));
    format!("{text}{:missing$}", "")
}

/// Sanitizes the output of a child to one line that is harmless for the terminal and the layout.
///
/// Removes whole escape sequences. Replaces every run of white space, including line breaks, by one space, and trims
/// both ends. Replaces other control characters by U+FFFD, so that binary data does not look like text. Removes
/// invisible characters: bidi controls, joiners, variation selectors, tags; and a mark without a base character, or
/// after eight others. The cost is linear in the length of `text`: pass no more than will be printed.
#[must_use]
pub fn sanitize_line(text: &str) -> Cow<'_, str> {
    let text = text.trim_matches(' ');
    if is_plain(text.as_bytes()) {
        return Cow::Borrowed(text);
    }
    let mut cleaned = String::with_capacity(text.len());
    let mut gap = false;
    let mut marks = MAX_MARKS;
    let mut rest = text.chars().peekable();
    while let Some(character) = rest.next() {
        if character.is_whitespace() {
            gap = !cleaned.is_empty();
        } else if let Some(kind) = escape_kind(character, &mut rest) {
            skip_escape(kind, &mut rest);
        } else if let Some(visible) = visible(character, &mut marks) {
            if std::mem::take(&mut gap) {
                cleaned.push(' ');
            }
            cleaned.push(visible);
        }
    }
    if cleaned == text { Cow::Borrowed(text) } else { Cow::Owned(cleaned) }
}

/// Quotes input of the user in a message: on one line, truncated, with invisible characters as JSON escapes.
#[must_use]
pub fn quote_input(text: &str) -> String {
    const MAX_COLUMNS: usize = 60;
    const MAX_CHARS: usize = 4 * MAX_COLUMNS;
    let end = end_of_chars(text, MAX_CHARS);
    let mut shown = Cow::Borrowed(&text[..end]);
    if sanitize_line(&shown) != shown.trim_matches(' ') {
        let (mut escaped, mut marks) = (String::new(), MAX_MARKS);
        for c in shown.chars() {
            match c {
                '\n' => escaped += "\\n",
                '\t' => escaped += "\\t",
                c if c == ' ' || !(c.is_control() || is_invisible(c) || c.is_whitespace()) => {
                    escaped.extend(visible(c, &mut marks));
                }
                c => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        escaped += &format!("\\u{unit:04x}");
                    }
                }
            }
        }
        shown = Cow::Owned(escaped);
    }
    let cut = truncate(&shown, MAX_COLUMNS, "...");
    if end < text.len() && cut.len() == shown.len() { format!("{cut}...") } else { cut.into_owned() }
}

/// Returns the end of the first `count` characters.
#[must_use]
pub fn end_of_chars(text: &str, count: usize) -> usize {
    match text.char_indices().nth(count) {
        Some((end, _)) => end,
        None => text.len(),
    }
}

/// Returns the position of the first lone surrogate escape, such as `\ud83d`, in a JSON text.
///
/// Parsers that skip the string accept it, but no Rust string can contain it.
#[must_use]
pub fn find_lone_surrogate(json: &str) -> Option<usize> {
    let mut from = 0;
    while let Some(offset) = json.get(from..)?.find('\\') {
        let at = from + offset;
        // A backslash belongs to the next character, even if that is another backslash.
        from = at + 1 + json[at + 1..].chars().next().map_or(0, char::len_utf8);
        match utf16_escape(json, at) {
            Some(0xd800..=0xdbff) if matches!(utf16_escape(json, at + 6), Some(0xdc00..=0xdfff)) => from = at + 12,
            Some(0xd800..=0xdfff) => return Some(at),
            _ => {}
        }
    }
    None
}

/// Parses the escape `\uXXXX` at a position.
fn utf16_escape(json: &str, at: usize) -> Option<u16> {
    let digits = json.get(at..at + 6)?.strip_prefix("\\u")?;
    u16::from_str_radix(digits, 16).ok()
}

/// Replaces control characters by U+FFFD in output of several lines. Keeps line breaks and indentation.
#[must_use]
pub fn strip_controls(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// Returns true for printable ASCII with single spaces. If no space is at an end, such text is already clean.
fn is_plain(text: &[u8]) -> bool {
    let mut last = 0;
    for &byte in text {
        if !(b' '..=b'~').contains(&byte) || (byte == b' ' && last == b' ') {
            return false;
        }
        last = byte;
    }
    true
}

/// Returns the character to print, if any. `marks` counts the marks since the last base character.
fn visible(character: char, marks: &mut usize) -> Option<char> {
    if (' '..='~').contains(&character) {
        *marks = 0;
        return Some(character);
    }
    if character.is_control() {
        *marks = 0;
        return Some(char::REPLACEMENT_CHARACTER);
    }
    if is_invisible(character) {
        return None;
    }
    *marks = if character_width(character) > 0 { 0 } else { *marks + 1 };
    (*marks <= MAX_MARKS).then_some(character)
}

/// Returns true for Unicode's Default_Ignorable_Code_Point and for the interlinear annotation marks.
#[must_use]
pub fn is_invisible(character: char) -> bool {
    matches!(character,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// Returns the character that determines the kind of escape sequence, if one begins here.
///
/// A C1 control is the one-character form of ESC and the character 64 code points before it.
fn escape_kind(character: char, rest: &mut Peekable<Chars>) -> Option<char> {
    match character {
        ESCAPE => Some(skip_one(rest, ' '..='~').unwrap_or(ESCAPE)),
        '\u{80}'..='\u{9f}' => char::from_u32(u32::from(character) - 0x40),
        _ => None,
    }
}

/// Skips the rest of an escape sequence, after its kind. An unterminated one ends with its line.
fn skip_escape(kind: char, rest: &mut Peekable<Chars>) {
    match kind {
        '[' => {
            skip_range(rest, ' '..='?');
            skip_one(rest, '@'..='~');
        }
        ']' | 'P' | 'X' | '^' | '_' => {
            while rest.next_if(|next| !matches!(*next, '\n' | '\r' | ESCAPE | BELL | STRING_TERMINATOR)).is_some() {}
            rest.next_if_eq(&BELL);
        }
        ' '..='/' => {
            skip_range(rest, ' '..='/');
            skip_one(rest, '0'..='~');
        }
        _ => {}
    }
}

/// Skips one character of a range, if it is next.
fn skip_one(rest: &mut Peekable<Chars>, range: RangeInclusive<char>) -> Option<char> {
    rest.next_if(|next| range.contains(next))
}

fn skip_range(rest: &mut Peekable<Chars>, range: RangeInclusive<char>) {
    while skip_one(rest, range.clone()).is_some() {}
}

/// Converts `text` to ASCII: similar characters where they exist, else a `?` per column, so that the layout is kept.
#[must_use]
pub fn ascii(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return Cow::Borrowed(text);
    }
    let mut replaced = String::with_capacity(text.len());
    for character in text.chars() {
        match ascii_equivalent(character) {
            Some(ascii) => replaced.push(ascii),
            None => replaced.extend(std::iter::repeat_n('?', character_width(character))),
        }
    }
    Cow::Owned(replaced)
}

/// Returns an ASCII character of the same width and meaning, for the characters that agents use most.
fn ascii_equivalent(character: char) -> Option<char> {
    match character {
        _ if character.is_ascii() => Some(character),
        '\u{a0}' | '\u{202f}' => Some(' '),
        '‘' | '’' | '‚' | '′' => Some('\''),
        '“' | '”' | '„' | '″' | '«' | '»' => Some('"'),
        '‐'..='―' | '−' | '─' => Some('-'),
        '•' | '·' => Some('*'),
        '…' => Some('.'),
        '→' => Some('>'),
        '←' => Some('<'),
        '×' => Some('x'),
        '│' => Some('|'),
        _ => None,
    }
}

/// Formats a number with a comma between thousands: `1,823`.
#[must_use]
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.char_indices() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// Formats a duration: `8.2s` below 100 s, `12m05s` below an hour, then `3h02m`.
#[must_use]
pub fn format_duration(duration: Duration) -> String {
    let tenths = (duration.as_millis() + 50) / 100;
    let seconds = duration.as_secs();
    match seconds {
        _ if tenths < 1000 => format!("{}.{}s", tenths / 10, tenths % 10),
        ..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
    }
}

/// Formats micro-dollars as `$3.45`; below a cent as `$0.0042`, and any positive amount as at least `$0.0001`.
#[must_use]
pub fn dollars(micros: u64) -> String {
    match micros {
        1..10_000 => format!("$0.{:04}", rounded_half_up(micros, 100).max(1)),
        _ => {
            let cents = rounded_half_up(micros, 10_000);
            format!("${}.{:02}", thousands(cents / 100), cents % 100)
        }
    }
}

fn rounded_half_up(amount: u64, unit: u64) -> u64 {
    amount / unit + u64::from(amount % unit >= unit / 2)
}

/// Formats `part` of `whole` as `28.5%`. A `whole` of 0 counts as 1.
#[must_use]
pub fn percent(part: u64, whole: u64) -> String {
    let whole = u128::from(whole.max(1));
    let per_mille = (u128::from(part) * 1000 + whole / 2) / whole;
    format!("{}.{}%", per_mille / 10, per_mille % 10)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fmt::Write;
    use unicode_width::UnicodeWidthChar;

    /// Returns the width according to Unicode. U+17D8, the only character wider than two columns, is drawn in two.
    fn expected_width(character: char) -> usize {
        character.width().unwrap_or(0).min(2)
    }

    /// Returns the code points where characters of this width begin and end.
    fn turns(columns: usize) -> Vec<u32> {
        let mut inside = false;
        let mut turns = Vec::new();
        for character in '\0'..=char::MAX {
            if (expected_width(character) == columns) != inside {
                inside = !inside;
                turns.push(u32::from(character));
            }
        }
        turns
    }

    fn table(name: &str, says: &str, columns: usize) -> String {
        let mut source = format!("\n/// {says}\npub(super) const {name}: &[u32] = &[");
        let mut line_columns = usize::MAX;
        for turn in turns(columns) {
            let entry = format!("{turn:#x},");
            if line_columns.saturating_add(entry.len() + 1) > 119 {
                source.push_str("\n   ");
                line_columns = 3;
            }
            let _ = write!(source, " {entry}");
            line_columns += entry.len() + 1;
        }
        source.push_str("\n];\n");
        source
    }

    #[test]
    fn width_tables_are_the_generated_ones() {
        let header = "\
//! Widths of characters: sorted code points, alternately the first of a range and the first after it. Generated from
//! the crate `unicode-width` by the test `width_tables_are_the_generated_ones` (UPDATE_EXPECTED=1 rewrites them).
";
        let source = format!(
            "{header}{}{}",
            table("ZERO", "Characters that take no column: marks, controls, and invisible characters.", 0),
            table("WIDE", "Characters that take two columns.", 2),
        );
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/base/text/widths.rs");
        if std::env::var_os("UPDATE_EXPECTED").is_some() {
            std::fs::write(path, &source).unwrap();
        }
        assert!(std::fs::read_to_string(path).unwrap() == source, "run the tests with UPDATE_EXPECTED=1");
    }

    #[test]
    fn every_character_has_its_unicode_width() {
        for character in '\0'..=char::MAX {
            assert_eq!(character_width(character), expected_width(character), "{:#x}", u32::from(character));
        }
    }

    #[test]
    fn width_is_counted_in_columns() {
        assert_eq!(width("plain"), 5);
        assert_eq!(width("日本語"), 6);
        assert_eq!(width("e\u{301}"), 1);
        assert_eq!(width("⏳ ✓"), 4);
    }

    #[test]
    fn truncate_adds_an_ellipsis() {
        assert_eq!(truncate("plain", 5, "…"), "plain");
        assert_eq!(truncate("plainer", 5, "…"), "plai…");
        assert_eq!(truncate("plainer", 5, "..."), "pl...");
        assert_eq!(truncate("日本語", 4, "…"), "日…");
        assert_eq!(truncate("e\u{301}e\u{301}e\u{301}", 2, "…"), "e\u{301}…");
        assert_eq!(truncate("plain", 2, "..."), "..");
        assert_eq!(truncate("plain", 0, "…"), "");
    }

    #[test]
    fn pad_never_truncates() {
        assert_eq!(pad("日本", 6), "日本  ");
        assert_eq!(pad("日本", 3), "日本");
    }

    #[test]
    fn sanitize_removes_whole_escape_sequences() {
        assert_eq!(sanitize_line("\u{1b}[1;31mred\u{1b}[0m \u{1b}[?25lx"), "red x");
        assert_eq!(sanitize_line("\u{1b}]0;title\u{7}a\u{1b}]8;;http://x\u{1b}\\b\u{1b}P1$r\u{9c}c"), "abc");
        assert_eq!(sanitize_line("\u{9b}2Ja\u{9d}0;title\u{9c}b"), "ab");
        assert_eq!(sanitize_line("\u{1b}(Ba\u{1b}7b\u{1b}cd"), "abd");
        assert_eq!(sanitize_line("a\u{1b}"), "a");
        assert_eq!(sanitize_line("a\u{1b}["), "a");
        assert_eq!(sanitize_line("a\u{1b}]0;never ended\nb"), "a b");
        assert_eq!(sanitize_line("\u{1b}[\u{1b}[31mx"), "x");
    }

    #[test]
    fn sanitize_returns_one_line() {
        assert_eq!(sanitize_line("  one\r\n\ttwo\u{2028}three  "), "one two three");
    }

    #[test]
    fn sanitize_replaces_control_characters() {
        assert_eq!(sanitize_line("a\u{8}\u{0}b\u{7f}"), "a\u{fffd}\u{fffd}b\u{fffd}");
    }

    #[test]
    fn sanitize_removes_invisible_characters() {
        assert_eq!(sanitize_line("\u{feff}a\u{202e}b\u{2066}c\u{200f}d\u{200d}e\u{e0041}"), "abcde");
        assert_eq!(sanitize_line("❤\u{fe0f}"), "❤");
    }

    #[test]
    fn sanitize_limits_combining_marks() {
        assert_eq!(sanitize_line("e\u{301}"), "e\u{301}");
        assert_eq!(sanitize_line("\u{301}e"), "e");
        assert_eq!(
            sanitize_line(&format!("e{}x", "\u{301}".repeat(1000))),
            format!("e{}x", "\u{301}".repeat(MAX_MARKS))
        );
    }

    #[test]
    fn sanitize_borrows_plain_text() {
        assert!(matches!(sanitize_line("data-collector – 日本"), Cow::Borrowed(_)));
    }

    #[test]
    fn ascii_keeps_the_width() {
        assert_eq!(ascii("a日e\u{301}✓"), "a??e?");
        assert_eq!(ascii("“it’s” – 1 × 2 — • a → b…"), "\"it's\" - 1 x 2 - * a > b.");
        assert!(matches!(ascii("plain"), Cow::Borrowed(_)));
    }

    #[test]
    fn thousands_are_separated_by_commas() {
        assert_eq!(thousands(0), "0");
        assert_eq!(thousands(999), "999");
        assert_eq!(thousands(1823), "1,823");
        assert_eq!(thousands(u64::MAX), "18,446,744,073,709,551,615");
    }

    #[test]
    fn durations_have_the_precision_of_their_length() {
        let written = |ms| format_duration(Duration::from_millis(ms));
        assert_eq!(written(0), "0.0s");
        assert_eq!(written(8_150), "8.2s");
        assert_eq!(written(75_300), "75.3s");
        assert_eq!(written(99_949), "99.9s");
        assert_eq!(written(99_950), "1m39s");
        assert_eq!(written(725_900), "12m05s");
        assert_eq!(written(3_599_999), "59m59s");
        assert_eq!(written(10_920_000), "3h02m");
        assert_eq!(format_duration(Duration::MAX), "5124095576030431h00m");
    }

    #[test]
    fn small_amounts_are_not_rounded_to_zero() {
        assert_eq!(dollars(0), "$0.00");
        assert_eq!(dollars(1), "$0.0001");
        assert_eq!(dollars(4_249), "$0.0042");
        assert_eq!(dollars(4_250), "$0.0043");
        assert_eq!(dollars(9_999), "$0.0100");
        assert_eq!(dollars(10_000), "$0.01");
        assert_eq!(dollars(3_445_000), "$3.45");
        assert_eq!(dollars(1_234_500_000), "$1,234.50");
        assert_eq!(dollars(u64::MAX), "$18,446,744,073,709.55");
    }

    #[test]
    fn percent_has_one_decimal() {
        assert_eq!(percent(4_273, 15_000), "28.5%");
        assert_eq!(percent(1, 3), "33.3%");
        assert_eq!(percent(3, 2), "150.0%");
        assert_eq!(percent(0, 0), "0.0%");
        assert_eq!(percent(u64::MAX, u64::MAX), "100.0%");
    }

    /// Generates hostile output, in which terminal controls are as likely as text.
    fn hostile() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            "[ -~]{0,6}",
            "\\PC{0,6}",
            any::<char>().prop_map(String::from),
            prop::sample::select(vec![
                "\u{1b}", "\u{1b}[", "\u{1b}]", "\u{1b}\\", "\u{9b}", "\u{9c}", "\u{9d}", "\u{7}", "\n", "\t", " ",
                "31m", "\u{301}", "\u{200d}", "\u{202e}", "日", "🎉", "\u{feff}", "\u{85}",
            ])
            .prop_map(String::from),
        ];
        prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn truncated_text_fits_and_is_a_prefix(
            text in hostile(), max_columns in 0_usize..20, ellipsis in "…|\\.\\.\\.|"
        ) {
            let shown = truncate(&text, max_columns, &ellipsis);
            prop_assert!(width(&shown) <= max_columns);
            if shown != text {
                prop_assert!(width(&text) > max_columns);
                let kept = shown.strip_suffix(beginning(&ellipsis, max_columns)).unwrap();
                let behind = text.strip_prefix(kept).unwrap().chars().next().unwrap();
                prop_assert!(character_width(behind) > 0, "a mark was parted from its character");
            }
        }

        #[test]
        fn pad_fills_exactly(text in hostile(), columns in 0_usize..40) {
            prop_assert_eq!(width(&pad(&text, columns)), width(&text).max(columns));
        }

        #[test]
        fn sanitized_text_has_no_controls(text in hostile()) {
            let cleaned = sanitize_line(&text);
            prop_assert!(!cleaned.chars().any(|c| c.is_control() || is_invisible(c)));
            prop_assert!(cleaned.chars().all(|c| c == ' ' || !c.is_whitespace()));
            prop_assert!(!cleaned.contains("  "));
            prop_assert_eq!(cleaned.trim(), cleaned.as_ref());
        }

        #[test]
        fn sanitize_is_idempotent(text in hostile()) {
            let cleaned = sanitize_line(&text).into_owned();
            prop_assert!(matches!(sanitize_line(&cleaned), Cow::Borrowed(again) if again == cleaned));
        }

        #[test]
        fn ascii_has_the_width_of_its_input(text in hostile()) {
            let cleaned = sanitize_line(&text);
            let replaced = ascii(&cleaned);
            prop_assert!(replaced.is_ascii());
            prop_assert_eq!(width(&replaced), width(&cleaned));
        }

        #[test]
        fn thousands_keep_their_digits(number: u64) {
            prop_assert_eq!(thousands(number).replace(',', ""), number.to_string());
        }
    }
}
