//! Characters as Go sees them: UTF-8 read from bytes that need not be UTF-8, and the character
//! classes its lexer and its quoting use.

use unicode_general_category::{GeneralCategory, get_general_category};

/// What stands for a byte that is not UTF-8.
pub(super) const REPLACEMENT: char = char::REPLACEMENT_CHARACTER;

/// The first character and how many bytes it takes; a byte that starts none is [`REPLACEMENT`] of width 1.
pub(super) fn decode(bytes: &[u8]) -> Option<(char, usize)> {
    let first = *bytes.first()?;
    if first < 0x80 {
        return Some((char::from(first), 1));
    }
    let head = bytes.get(..bytes.len().min(4))?;
    let decoded = head.utf8_chunks().next().and_then(|chunk| chunk.valid().chars().next());
    Some(decoded.map_or((REPLACEMENT, 1), |c| (c, c.len_utf8())))
}

/// The characters of a byte string, each with its width.
pub(super) fn chars(mut bytes: &[u8]) -> impl Iterator<Item = (char, &[u8])> {
    std::iter::from_fn(move || {
        let (c, width) = decode(bytes)?;
        let (head, rest) = bytes.split_at_checked(width)?;
        bytes = rest;
        Some((c, head))
    })
}

/// A byte string as text; each byte that is no UTF-8 becomes one U+FFFD.
pub(super) fn lossy(bytes: &[u8]) -> String {
    chars(bytes).map(|(c, _)| c).collect()
}

/// How many characters a byte string holds; a byte that is no UTF-8 counts as one.
pub(super) fn count(bytes: &[u8]) -> usize {
    if bytes.is_ascii() { bytes.len() } else { chars(bytes).count() }
}

/// Whether decoding gave the stand-in for a bad byte (and not an encoded U+FFFD).
pub(super) fn is_bad(c: char, encoded: &[u8]) -> bool {
    c == REPLACEMENT && encoded.len() == 1
}

/// Blank, tab, carriage return, line feed.
pub(super) fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

/// Unicode letter, decimal digit, or underscore: what names are made of.
pub(super) fn is_alphanumeric(c: char) -> bool {
    if c.is_ascii() {
        return c == '_' || c.is_ascii_alphanumeric();
    }
    use GeneralCategory as G;
    matches!(
        get_general_category(c),
        G::UppercaseLetter
            | G::LowercaseLetter
            | G::TitlecaseLetter
            | G::ModifierLetter
            | G::OtherLetter
            | G::DecimalNumber
    )
}

/// Letters, marks, numbers, punctuation, symbols and the ASCII blank.
pub(super) fn is_print(c: char) -> bool {
    if c.is_ascii() {
        return matches!(c, ' '..='~');
    }
    use GeneralCategory as G;
    !matches!(
        get_general_category(c),
        G::Control
            | G::Format
            | G::Surrogate
            | G::PrivateUse
            | G::Unassigned
            | G::SpaceSeparator
            | G::LineSeparator
            | G::ParagraphSeparator
    )
}
