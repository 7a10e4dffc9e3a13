//! Paths in findings: `Marbles.web.Parameters.Env.KEY`, `TLS.outer.Incoming[0].Port`, `Users."a.b".Roles`.

/// Longest name in a path that is told to people. A name stands in the path of everything below it, so a long one would
/// be repeated with every finding.
const LONGEST_KEY: usize = 256;

/// Appends a field or entry name; names that would read as something else are quoted, long ones are shortened.
pub(crate) fn push_key(path: &mut String, key: &str) {
    match key.char_indices().nth(LONGEST_KEY).and_then(|(end, _)| key.get(..end)) {
        Some(start) => {
            push_whole_key(path, start);
            path.push('…');
        }
        None => push_whole_key(path, key),
    }
}

/// Appends a name as it is, so that different names give different paths.
pub(crate) fn push_whole_key(path: &mut String, key: &str) {
    if !path.is_empty() {
        path.push('.');
    }
    let is_plain = !key.is_empty() && key.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-'));
    if is_plain {
        path.push_str(key);
    } else {
        path.push('"');
        for c in key.chars() {
            match c {
                '"' | '\\' => path.extend(['\\', c]),
                c if c.is_control() => path.extend(c.escape_default()),
                c => path.push(c),
            }
        }
        path.push('"');
    }
}

/// The path of these names.
pub(crate) fn of<'a>(keys: impl IntoIterator<Item = &'a str>) -> String {
    let mut path = String::new();
    for key in keys {
        push_key(&mut path, key);
    }
    path
}
