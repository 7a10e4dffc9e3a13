//! What the API server has answered: states to show again, and versions of objects to bring back.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use crate::chaos::{Call, Verb};

/// How many of each are kept.
const KEPT: usize = 16;

/// A complete answer.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// Answers to reads, and versions of objects, oldest first.
#[derive(Debug, Default)]
pub struct Memory {
    reads: BTreeMap<String, VecDeque<Answer>>,
    objects: BTreeMap<String, VecDeque<Bytes>>,
}

impl Memory {
    /// Keeps what may be shown again. `accept` tells in which form the objects are.
    pub fn keep(&mut self, call: &Call, accept: &str, answer: &Answer) {
        if !answer.status.is_success() {
            return;
        }
        if call.reads() {
            let answers = self.reads.entry(format!("{} {accept}", call.uri)).or_default();
            if answers.back().is_none_or(|newest| newest.body != answer.body) {
                push(answers, answer.clone());
            }
        }
        let whole = matches!(call.verb, Verb::Get | Verb::Update | Verb::Patch | Verb::Create);
        let in_json = !accept.contains("as=") && !accept.contains("protobuf");
        if let (true, true, Some(path)) = (whole, in_json, path(call)) {
            let versions = self.objects.entry(path).or_default();
            if versions.back() != Some(&answer.body) {
                push(versions, answer.body.clone());
            }
        }
    }

    /// The answer so many different ones before the newest.
    pub fn stale(&self, call: &Call, accept: &str, back: usize) -> Option<Answer> {
        let answers = self.reads.get(&format!("{} {accept}", call.uri))?;
        answers.get(answers.len().checked_sub(back + 1)?).cloned()
    }

    /// Path of the call's object, and its version so many before the newest.
    pub fn version(&self, call: &Call, back: usize) -> Option<(String, Bytes)> {
        let path = path(call)?;
        let versions = self.objects.get(&path)?;
        let version = versions.get(versions.len().checked_sub(back + 1)?)?.clone();
        Some((path, version))
    }
}

/// Lists and watches that select one object are about that object.
fn path(call: &Call) -> Option<String> {
    let path = call.uri.split('?').next()?;
    if call.name.is_empty() || call.resource.contains('/') {
        return None;
    }
    let about_one = path.rsplit('/').next() == Some(call.name.as_str());
    Some(if about_one { path.to_owned() } else { format!("{path}/{}", call.name) })
}

fn push<T>(kept: &mut VecDeque<T>, new: T) {
    if kept.len() == KEPT {
        kept.pop_front();
    }
    kept.push_back(new);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(method: &str, uri: &str) -> Call {
        Call::new(0, &method.parse().unwrap(), &uri.parse().unwrap())
    }

    fn answer(body: &'static str) -> Answer {
        Answer { status: StatusCode::OK, headers: HeaderMap::new(), body: Bytes::from_static(body.as_bytes()) }
    }

    const SECRET: &str = "/api/v1/namespaces/n/secrets/s";

    #[test]
    fn an_answer_is_as_old_as_the_different_ones_after_it() {
        let (mut memory, get) = (Memory::default(), call("GET", SECRET));
        for body in ["1", "1", "2", "2", "3"] {
            memory.keep(&get, "json", &answer(body));
        }
        assert_eq!(memory.stale(&get, "json", 1).unwrap().body, "2");
        assert_eq!(memory.stale(&get, "json", 2).unwrap().body, "1");
        assert!(memory.stale(&get, "json", 3).is_none());
        assert!(memory.stale(&get, "table", 1).is_none(), "another form is another answer");
    }

    #[test]
    fn versions_of_an_object_are_known_from_reads_and_writes_of_it() {
        let mut memory = Memory::default();
        memory.keep(&call("PATCH", SECRET), "application/json", &answer("1"));
        memory.keep(&call("GET", SECRET), "application/json", &answer("1"));
        memory.keep(&call("GET", SECRET), "application/json;as=PartialObjectMetadata", &answer("part"));
        memory.keep(&call("PUT", SECRET), "application/json", &answer("2"));
        let list = call("GET", "/api/v1/namespaces/n/secrets?fieldSelector=metadata.name%3Ds");
        assert_eq!(memory.version(&list, 1).unwrap(), (SECRET.to_owned(), Bytes::from_static(b"1")));
        assert!(memory.version(&list, 2).is_none());
    }
}
