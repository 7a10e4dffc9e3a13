//! PEM as upstream's clients write and upstream reads it (Go's `encoding/pem`): the first block in a text,
//! whatever stands around it, with any line length, and with or without header lines.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use zeroize::Zeroizing;

/// Go ignores non-zero trailing bits; padding is required.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::RequireCanonical)
        .with_decode_allow_trailing_bits(true),
);

/// One PEM block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// What stands after `BEGIN`.
    pub label: String,
    /// The decoded bytes.
    pub contents: Vec<u8>,
}

/// The first well-formed block of a text; malformed ones before it are skipped. Of several `BEGIN` lines before an `END`
/// the last counts, so each line is looked at once, whatever strangers write.
#[must_use]
pub fn first_block(text: &str) -> Option<Block> {
    let mut begun = None;
    let mut next = 0;
    for line in text.split_inclusive('\n') {
        let start = next;
        next += line.len();
        if let Some(label) = delimiter(line, "BEGIN") {
            begun = Some((label, next));
        } else if let Some(end) = delimiter(line, "END") {
            let block = begun.take().filter(|(label, _)| *label == end);
            let contents = block.and_then(|(_, from)| contents(text.get(from..start)?));
            if let Some(contents) = contents {
                return Some(Block { label: end.to_owned(), contents });
            }
        }
    }
    None
}

/// The label of a line `-----BEGIN label-----`; white space may follow.
fn delimiter<'a>(line: &'a str, word: &str) -> Option<&'a str> {
    line.trim_end().strip_prefix("-----")?.strip_prefix(word)?.strip_prefix(' ')?.strip_suffix("-----")
}

/// Header lines (`Name: value`), then base64. May be a private key.
fn contents(body: &str) -> Option<Vec<u8>> {
    let mut encoded = Zeroizing::new(String::with_capacity(body.len()));
    for line in body.lines().skip_while(|line| line.contains(':')) {
        encoded.extend(line.chars().filter(|c| !c.is_ascii_whitespace()));
    }
    BASE64.decode(encoded.as_bytes()).ok()
}

#[cfg(test)]
mod tests {
    use super::{Block, first_block};

    fn contents(text: &str) -> Option<Vec<u8>> {
        first_block(text).map(|block| block.contents)
    }

    #[test]
    fn a_block_is_found_whatever_stands_around_it() {
        let block = "-----BEGIN A B-----\nAQID\n-----END A B-----";
        for text in [block.to_owned(), format!("text\n\n{block}\nmore"), block.replace('\n', "\r\n")] {
            assert_eq!(first_block(&text), Some(Block { label: "A B".to_owned(), contents: vec![1, 2, 3] }));
        }
    }

    #[test]
    fn the_first_of_several_blocks_counts() {
        let text = "-----BEGIN X-----\nAQ==\n-----END X-----\n-----BEGIN Y-----\nAg==\n-----END Y-----\n";
        assert_eq!(contents(text), Some(vec![1]));
    }

    #[test]
    fn lines_of_any_length_and_header_lines_are_read() {
        assert_eq!(contents("-----BEGIN X-----\nA\nQI \n D\n-----END X-----\n"), Some(vec![1, 2, 3]));
        assert_eq!(contents("-----BEGIN X-----\nName: value\n\nAQID\n-----END X-----\n"), Some(vec![1, 2, 3]));
        assert_eq!(contents("-----BEGIN X-----\n-----END X-----"), Some(vec![]));
    }

    #[test]
    fn a_malformed_block_is_skipped() {
        let good = "-----BEGIN X-----\nAQID\n-----END X-----\n";
        for bad in [
            "-----BEGIN X-----\nAQI\n-----END X-----\n",
            "-----BEGIN X-----\n!!!!\n-----END X-----\n",
            "-----BEGIN X-----\nAQID\n-----END Y-----\n",
            "-----BEGIN X----\nAQID\n-----END X-----\n",
        ] {
            assert_eq!(contents(bad), None, "{bad}");
            assert_eq!(contents(&format!("{bad}{good}")), Some(vec![1, 2, 3]), "{bad}");
        }
    }

    #[test]
    fn a_text_full_of_begin_lines_is_read_in_one_pass() {
        // Tried one after the other, these would take hours.
        let text = "-----BEGIN X-----\n".repeat(250_000);
        assert_eq!(contents(&text), None);
        assert_eq!(contents(&(text + "AQID\n-----END X-----\n")), Some(vec![1, 2, 3]));
    }

    #[test]
    fn no_block_is_found_where_there_is_none() {
        for text in ["", "x", "-----BEGIN X-----", "-----BEGIN X-----\nAQID\n", "-----END X-----"] {
            assert_eq!(contents(text), None, "{text}");
        }
    }
}
