//! Which known name was probably meant?

/// The known name nearest to a mistyped one, if it is near enough to be worth a suggestion.
pub(crate) fn closest<'k>(name: &str, known: &[&'k str]) -> Option<&'k str> {
    // Distances are quadratic in length, and no known name is long.
    if name.len() > 64 {
        return None;
    }
    let limit = if name.chars().count() < 5 { 1 } else { 2 };
    known.iter().map(|k| (distance(name, k), *k)).filter(|(d, _)| *d <= limit).min_by_key(|(d, _)| *d).map(|(_, k)| k)
}

/// Insertions, deletions, replacements and swaps of neighbours between two names; letter case does not count.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().map(|c| c.to_ascii_lowercase()).collect();
    let b: Vec<char> = b.chars().map(|c| c.to_ascii_lowercase()).collect();
    let at = |row: &[usize], index: usize| row.get(index).copied().unwrap_or(usize::MAX / 2);
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, right) in b.iter().enumerate() {
            let replaced = at(&last, j) + usize::from(left != right);
            let mut best = replaced.min(at(&last, j + 1) + 1).min(at(&row, j) + 1);
            let swapped = i > 0 && j > 0 && Some(left) == b.get(j - 1) && a.get(i - 1) == Some(right);
            if swapped {
                best = best.min(at(&before_last, j - 1) + 1);
            }
            row.push(best);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    at(&last, b.len())
}

#[cfg(test)]
mod tests {
    use super::closest;

    #[test]
    fn a_typo_finds_the_name_that_was_meant() {
        let known = ["UpdateThreshold", "RecoveryThreshold", "SealMode", "TLS"];
        assert_eq!(closest("UpdateTreshold", &known), Some("UpdateThreshold"));
        assert_eq!(closest("SaelMode", &known), Some("SealMode"));
        assert_eq!(closest("TSL", &known), Some("TLS"));
    }

    #[test]
    fn a_name_of_its_own_finds_nothing() {
        assert_eq!(closest("Comment", &["Config", "Packages"]), None);
        assert_eq!(closest("", &["TLS"]), None);
    }
}
