//! Paths in findings: `Marbles.web.Parameters.Env.KEY`, `TLS.outer.Incoming[0].Port`, `Users."a.b".Roles`.

/// Appends a field or entry name; names that would read as something else are quoted.
pub(crate) fn push_key(path: &mut String, key: &str) {
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
