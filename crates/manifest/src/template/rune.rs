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
        category(c),
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
        category(c),
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

/// Characters that Unicode got after version 15.0, which Go knows: unassigned to it.
#[rustfmt::skip]
const NEWER: &[(u32, u32)] = &[
    (0x0897, 0x0897), (0x1B4E, 0x1B4F), (0x1B7F, 0x1B7F), (0x1C89, 0x1C8A), (0x2427, 0x2429), (0x2FFC, 0x2FFF),
    (0x31E4, 0x31E5), (0x31EF, 0x31EF), (0xA7CB, 0xA7CD), (0xA7DA, 0xA7DC), (0x105C0, 0x105F3), (0x10D40, 0x10D65),
    (0x10D69, 0x10D85), (0x10D8E, 0x10D8F), (0x10EC2, 0x10EC4), (0x10EFC, 0x10EFC), (0x11380, 0x11389),
    (0x1138B, 0x1138B), (0x1138E, 0x1138E), (0x11390, 0x113B5), (0x113B7, 0x113C0), (0x113C2, 0x113C2),
    (0x113C5, 0x113C5), (0x113C7, 0x113CA), (0x113CC, 0x113D5), (0x113D7, 0x113D8), (0x113E1, 0x113E2),
    (0x116D0, 0x116E3), (0x11BC0, 0x11BE1), (0x11BF0, 0x11BF9), (0x11F5A, 0x11F5A), (0x13460, 0x143FA),
    (0x16100, 0x16139), (0x16D40, 0x16D79), (0x18CFF, 0x18CFF), (0x1CC00, 0x1CCF9), (0x1CD00, 0x1CEB3),
    (0x1E5D0, 0x1E5FA), (0x1E5FF, 0x1E5FF), (0x1F8B2, 0x1F8BB), (0x1F8C0, 0x1F8C1), (0x1FA89, 0x1FA89),
    (0x1FA8F, 0x1FA8F), (0x1FABE, 0x1FABE), (0x1FAC6, 0x1FAC6), (0x1FADC, 0x1FADC), (0x1FADF, 0x1FADF),
    (0x1FAE9, 0x1FAE9), (0x1FBCB, 0x1FBEF), (0x2EBF0, 0x2EE5D),
];

fn category(c: char) -> GeneralCategory {
    let number = u32::from(c);
    let after = NEWER.partition_point(|(first, _)| *first <= number);
    if NEWER.get(after.wrapping_sub(1)).is_some_and(|(_, last)| number <= *last) {
        return GeneralCategory::Unassigned;
    }
    get_general_category(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_are_classified_as_go_does() {
        // Number and sum of the characters beyond ASCII and below the last planes, counted with Go 1.26.
        let tally = |wanted: fn(char) -> bool| {
            ('\u{80}'..'\u{40000}')
                .filter(|c| wanted(*c))
                .fold((0, 0), |(n, sum), c| (n + 1, sum + u64::from(u32::from(c))))
        };
        assert_eq!(tally(is_alphanumeric), (136_722, 14_806_561_199));
        assert_eq!(tally(is_print), (148_663, 15_530_602_139));
    }
}
