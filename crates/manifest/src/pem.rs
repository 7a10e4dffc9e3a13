//! The first PEM block of a text, found as Go's `encoding/pem` finds it: text around it does not matter, header lines
//! are skipped, a block that does not hold together is passed over, and its last `BEGIN` before an `END` counts.

use crate::gojson::base64;

const BEGIN: &[u8] = b"-----BEGIN ";
const END: &[u8] = b"\n-----END ";
const DASHES: &[u8] = b"-----";

/// One PEM block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// What stands after `BEGIN`, such as `CERTIFICATE`.
    pub label: String,
    /// The decoded bytes.
    pub contents: Vec<u8>,
}

/// The first well-formed block.
#[must_use]
pub fn first_block(text: &str) -> Option<Block> {
    let text = text.as_bytes();
    let mut from = 0;
    loop {
        let end = from + find(text.get(from..)?, END)?;
        if let Some(block) = block_between(text, from, end) {
            return Some(block);
        }
        from = end + END.len();
    }
}

/// Whether a second `BEGIN` line follows the first.
#[must_use]
pub(crate) fn has_several(text: &str) -> bool {
    text.lines().filter(|line| line.starts_with("-----BEGIN ")).count() > 1
}

/// The block that ends with the line break at `end`, if there is one after `from`.
fn block_between(text: &[u8], from: usize, end: usize) -> Option<Block> {
    let window = text.get(from..end)?;
    let begin = window.windows(BEGIN.len()).rposition(|bytes| bytes == BEGIN)?;
    if begin > 0 && window.get(begin - 1) != Some(&b'\n') {
        return None;
    }
    let (label, mut at) = line(text, from + begin + BEGIN.len())?;
    let label = label.strip_suffix(DASHES)?;
    loop {
        let (header, next) = line(text, at)?;
        if !header.contains(&b':') {
            break;
        }
        at = next;
        // Lines behind the end are no headers of this block. To follow them again for each block would take hours.
        if at > end {
            return None;
        }
    }
    let trailer = text.get(end + END.len()..)?.strip_prefix(label)?.strip_prefix(DASHES)?;
    if !line(trailer, 0).is_none_or(|(rest, _)| rest.is_empty()) {
        return None;
    }
    let body: Vec<u8> =
        text.get(at..end).unwrap_or_default().iter().copied().filter(|b| !matches!(b, b' ' | b'\t')).collect();
    Some(Block { label: String::from_utf8_lossy(label).into_owned(), contents: base64::decode(body).ok()? })
}

/// The line that starts here, without trailing blanks and line break, and where the next one starts.
fn line(text: &[u8], start: usize) -> Option<(&[u8], usize)> {
    let rest = text.get(start..).filter(|rest| !rest.is_empty())?;
    let (line, next) = match rest.iter().position(|byte| *byte == b'\n') {
        Some(length) => {
            let line = rest.get(..length)?;
            (line.strip_suffix(b"\r").unwrap_or(line), start + length + 1)
        }
        None => (rest, text.len()),
    };
    let blanks = line.iter().rev().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    Some((line.get(..line.len() - blanks)?, next))
}

fn find(text: &[u8], pattern: &[u8]) -> Option<usize> {
    text.windows(pattern.len()).position(|bytes| bytes == pattern)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contents(text: &str) -> Option<Vec<u8>> {
        first_block(text).map(|block| block.contents)
    }

    #[test]
    fn the_first_block_is_found_whatever_stands_around_it() {
        let hi = Some(b"hi".to_vec());
        assert_eq!(contents("-----BEGIN A-----\naGk=\n-----END A-----\n"), hi);
        assert_eq!(contents("-----BEGIN A-----\naGk=\n-----END A-----"), hi);
        assert_eq!(contents("text\n-----BEGIN A-----\r\naG\r\nk=\r\n-----END A----- \r\nmore"), hi);
        assert_eq!(contents("-----BEGIN A-----\nProc-Type: x\nDEK: y\n\na G\tk=\n-----END A-----\n"), hi);
        assert_eq!(contents("-----BEGIN A-----\n-----END A-----\n"), Some(vec![]));
        assert_eq!(first_block("-----BEGIN X Y-----\naGk=\n-----END X Y-----").unwrap().label, "X Y");
    }

    #[test]
    fn labels_that_look_like_header_lines_are_read_in_one_pass() {
        let broken = "-----BEGIN A:-----\n-----END A:-----\n".repeat(100_000);
        assert_eq!(contents(&broken), None);
    }

    #[test]
    fn a_broken_block_is_passed_over() {
        let good = "-----BEGIN B-----\naGk=\n-----END B-----\n";
        for broken in [
            "-----BEGIN A-----\n!!\n-----END A-----\n",
            "-----BEGIN A-----\naGk=\n-----END C-----\n",
            "-----BEGIN A-----\naGk\n",
            " -----BEGIN A-----\naGk=\n-----END A-----\n",
            "-----BEGIN A----\naGk=\n-----END A----\n",
        ] {
            assert_eq!(contents(broken), None, "{broken}");
            assert_eq!(
                first_block(&format!("{broken}{good}")).map(|block| block.label).as_deref(),
                Some("B"),
                "{broken}"
            );
        }
        assert_eq!(contents(""), None);
        assert_eq!(contents("-----BEGIN A-----aGk=-----END A-----"), None);
        assert!(has_several(&format!("{good}{good}")) && !has_several(good));
    }
}
