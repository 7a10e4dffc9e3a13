//! The patch: additions alone. Nothing that the author of the pod wrote is replaced or removed, so there is
//! no other operation here.

use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, Patch, PatchOperation};
use serde_json::{Map, Value};

use super::pod::{InvalidPod, Node};

/// What is added to a pod, in order.
#[derive(Debug, Default)]
pub(super) struct Additions(Vec<PatchOperation>);

impl Additions {
    pub(super) fn into_patch(self) -> Patch {
        Patch(self.0)
    }

    /// Appends to a list of that owner, which is made if there is none.
    pub(super) fn append(&mut self, owner: &Node<'_>, list: &str, values: Vec<Value>) -> Result<(), InvalidPod> {
        if values.is_empty() {
            return Ok(());
        }
        let present = owner.children(list)?.len();
        if present == 0 {
            self.add(owner.pointer_to(list), Value::Array(values));
            return Ok(());
        }
        for (index, value) in (present..).zip(values) {
            let mut pointer = owner.pointer_to(list);
            pointer.push_back(index);
            self.add(pointer, value);
        }
        Ok(())
    }

    /// Adds entries to the map at `path` below that owner; what is missing of the path is made.
    pub(super) fn insert(
        &mut self,
        owner: &Node<'_>,
        path: &[&str],
        entries: Map<String, Value>,
    ) -> Result<(), InvalidPod> {
        if entries.is_empty() {
            return Ok(());
        }
        match path {
            [] => {
                for (key, value) in entries {
                    self.add(owner.pointer_to(&key), value);
                }
            }
            [first, rest @ ..] => match owner.child(first)? {
                Some(child) => self.insert(&child, rest, entries)?,
                None => {
                    let nested = rest
                        .iter()
                        .rev()
                        .fold(entries, |inner, key| Map::from_iter([((*key).to_owned(), Value::Object(inner))]));
                    self.add(owner.pointer_to(first), Value::Object(nested));
                }
            },
        }
        Ok(())
    }

    fn add(&mut self, path: PointerBuf, value: Value) {
        self.0.push(PatchOperation::Add(AddOperation { path, value }));
    }
}
