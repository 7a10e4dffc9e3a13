//! `--set a.b[0].c=v,d=e`: values as words of a command line, read as Helm reads them.
//!
//! `{a,b}` is a list, a backslash takes the meaning from the next character; `true`, `false`, `null` and whole numbers
//! without leading zeros are what they look like, everything else is text.

use std::iter::Peekable;
use std::str::Chars;

use serde_json::{Map, Value};

/// Helm's own limit: an index makes a list of that length.
const MAX_INDEX: usize = 65_536;
/// Deeper than anything that makes sense.
const MAX_DEPTH: usize = 30;

/// What is wrong with an assignment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("--set {text}: {problem}")]
pub struct SetError {
    text: String,
    problem: &'static str,
}

/// A step on the way to a value.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Key(String),
    Index(usize),
}

/// Puts what the assignments say into `values`.
///
/// # Errors
/// If they cannot be understood; `values` may then have some of them.
pub fn assign(values: &mut Map<String, Value>, text: &str) -> Result<(), SetError> {
    let error = |problem| SetError { text: text.to_owned(), problem };
    let mut rest = text.chars().peekable();
    while rest.peek().is_some() {
        let steps = path(&mut rest).map_err(error)?;
        let value = value(&mut rest).map_err(error)?;
        let Some((Step::Key(first), below)) = steps.split_first() else {
            return Err(error("it must begin with the name of a value"));
        };
        put(values.entry(first.clone()).or_insert(Value::Null), below, value);
    }
    Ok(())
}

/// `a.b[0].c=`
fn path(rest: &mut Peekable<Chars<'_>>) -> Result<Vec<Step>, &'static str> {
    let mut steps = Vec::new();
    let mut key = String::new();
    let mut after_index = false;
    loop {
        match rest.next() {
            None | Some(',') => return Err("expected NAME=VALUE"),
            Some('\\') => key.extend(rest.next()),
            Some(end @ ('.' | '=' | '[')) => {
                match (key.is_empty(), after_index) {
                    (false, false) => steps.push(Step::Key(std::mem::take(&mut key))),
                    (true, true) => {}
                    _ => return Err("a part of the name is empty"),
                }
                after_index = false;
                if steps.len() > MAX_DEPTH {
                    return Err("the name has too many parts");
                }
                match end {
                    '=' => return Ok(steps),
                    '[' => {
                        steps.push(Step::Index(index(rest)?));
                        after_index = true;
                    }
                    _ => {}
                }
            }
            Some(letter) => key.push(letter),
        }
    }
}

fn index(rest: &mut Peekable<Chars<'_>>) -> Result<usize, &'static str> {
    let digits: String = std::iter::from_fn(|| rest.next_if(char::is_ascii_digit)).collect();
    let index = digits.parse().map_err(|_| "an index is a whole number")?;
    if rest.next() != Some(']') {
        return Err("an index ends with ']'");
    }
    if index > MAX_INDEX { Err("the index is too large") } else { Ok(index) }
}

fn value(rest: &mut Peekable<Chars<'_>>) -> Result<Value, &'static str> {
    if rest.next_if_eq(&'{').is_none() {
        return Ok(typed(word(rest, ',').0));
    }
    let mut items = Vec::new();
    if rest.next_if_eq(&'}').is_none() {
        loop {
            let (item, end) = list_item(rest);
            items.push(typed(item));
            match end {
                Some(',') => {}
                Some(_) => break,
                None => return Err("a list ends with '}'"),
            }
        }
    }
    match rest.next() {
        None | Some(',') => Ok(Value::Array(items)),
        Some(_) => Err("a list is followed by ',' or nothing"),
    }
}

fn list_item(rest: &mut Peekable<Chars<'_>>) -> ((String, bool), Option<char>) {
    let mut text = String::new();
    let mut is_literal = false;
    loop {
        match rest.next() {
            Some('\\') => {
                is_literal = true;
                text.extend(rest.next());
            }
            end @ (None | Some(',' | '}')) => return ((text, is_literal), end),
            Some(letter) => text.push(letter),
        }
    }
}

/// Up to `end`, and whether a character of it was escaped, which makes it text.
fn word(rest: &mut Peekable<Chars<'_>>, end: char) -> ((String, bool), ()) {
    let mut text = String::new();
    let mut is_literal = false;
    while let Some(letter) = rest.next() {
        match letter {
            '\\' => {
                is_literal = true;
                text.extend(rest.next());
            }
            letter if letter == end => break,
            letter => text.push(letter),
        }
    }
    ((text, is_literal), ())
}

fn typed((text, is_literal): (String, bool)) -> Value {
    let is_number = text == "0" || !text.trim_start_matches(['-', '+']).starts_with('0');
    match text.to_lowercase().as_str() {
        _ if is_literal => Value::String(text),
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        "null" => Value::Null,
        _ => match text.parse::<i64>() {
            Ok(number) if is_number => number.into(),
            _ => Value::String(text),
        },
    }
}

fn put(place: &mut Value, steps: &[Step], value: Value) {
    match steps.split_first() {
        None => *place = value,
        Some((Step::Key(key), below)) => {
            if !place.is_object() {
                *place = Value::Object(Map::new());
            }
            if let Value::Object(map) = place {
                put(map.entry(key.clone()).or_insert(Value::Null), below, value);
            }
        }
        Some((Step::Index(index), below)) => {
            if !place.is_array() {
                *place = Value::Array(Vec::new());
            }
            if let Value::Array(list) = place {
                if list.len() <= *index {
                    list.resize(index + 1, Value::Null);
                }
                if let Some(item) = list.get_mut(*index) {
                    put(item, below, value);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn set(text: &str) -> Result<Value, SetError> {
        let mut values = Map::new();
        assign(&mut values, text)?;
        Ok(Value::Object(values))
    }

    #[test]
    fn words_become_what_helm_makes_of_them() {
        for (text, expected) in [
            ("a=1", json!({"a": 1})),
            ("a=-1,b=0,c=007,d=1.5", json!({"a": -1, "b": 0, "c": "007", "d": "1.5"})),
            ("a=true,b=False,c=null,d=", json!({"a": true, "b": false, "c": null, "d": ""})),
            ("a.b.c=x,a.b.d=y", json!({"a": {"b": {"c": "x", "d": "y"}}})),
            ("a[1].k=v", json!({"a": [null, {"k": "v"}]})),
            ("a[0][1]=v", json!({"a": [[null, "v"]]})),
            ("a={x,2,true}", json!({"a": ["x", 2, true]})),
            ("a={},b={x}", json!({"a": [], "b": ["x"]})),
            (r"a\.b=x\,y,c=z", json!({"a.b": "x,y", "c": "z"})),
            (r"limits.sgx\.intel\.com/epc=10Mi", json!({"limits": {"sgx.intel.com/epc": "10Mi"}})),
            ("a=b=c", json!({"a": "b=c"})),
            (r"a=\1", json!({"a": "1"})),
            ("", json!({})),
        ] {
            assert_eq!(set(text).as_ref(), Ok(&expected), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_an_assignment_is_refused() {
        for text in ["a", "a,b=1", "=1", "a.=1", ".a=1", "a[x]=1", "a[1=1", "a={x", "a={x}y", "[0]=1", "a[99999999]=1"]
        {
            assert!(set(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_assignment_changes_what_it_names_and_nothing_beside_it() {
        let mut values = json!({"a": {"b": 1, "c": [1, 2]}}).as_object().unwrap().clone();
        assign(&mut values, "a.c[1]=3,a.d=x").unwrap();
        assert_eq!(Value::Object(values), json!({"a": {"b": 1, "c": [1, 3], "d": "x"}}));
    }
}
