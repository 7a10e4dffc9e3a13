//! Texts of strangers on their way to the log: on one line, and not as long as they like.

/// Longest text of a stranger in the log, in characters.
const LONGEST: usize = 500;

/// Lines that one request may add to the log where it has many things to tell.
const LINES: usize = 20;

/// A text for the log: control characters escaped, cut where it is too long.
pub(crate) fn for_log(text: &str) -> String {
    let mut shown = String::new();
    for (index, c) in text.chars().enumerate() {
        match c {
            _ if index == LONGEST => {
                shown.push('…');
                break;
            }
            c if c.is_control() => shown.extend(c.escape_default()),
            c => shown.push(c),
        }
    }
    shown
}

/// The first of many texts for the log, and how many more there are.
pub(crate) fn lines_for_log(texts: &[String]) -> impl Iterator<Item = String> + '_ {
    let more = texts.len().saturating_sub(LINES);
    let rest = (more > 0).then(|| format!("{more} more like these are not in the log"));
    texts.iter().take(LINES).map(|text| for_log(text)).chain(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stranger_cannot_forge_lines_or_colours() {
        assert_eq!(for_log("a\n2026 INFO stopped\x1b[31m \"é\""), "a\\n2026 INFO stopped\\u{1b}[31m \"é\"");
    }

    #[test]
    fn a_stranger_cannot_fill_the_log() {
        assert_eq!(for_log(&"é".repeat(100_000)).chars().count(), LONGEST + 1);
        let lines: Vec<String> = lines_for_log(&vec!["finding".to_owned(); 1_000]).collect();
        assert_eq!(lines.len(), LINES + 1);
        assert_eq!(lines.last().unwrap(), "980 more like these are not in the log");
        assert_eq!(lines_for_log(&["one".to_owned()]).collect::<Vec<_>>(), ["one"]);
    }
}
