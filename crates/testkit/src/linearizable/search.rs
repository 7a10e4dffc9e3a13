//! The search for an order: depth first through all orders that times allow (Wing and Gong), where what was tried once from
//! the same calls and the same state is not tried again (Lowe). Two things keep it short. A call that never changes anything
//! is taken as soon as its answer fits, as it is in nobody's way. And of calls that are alike, the one that was answered
//! first is taken.

use std::collections::HashSet;

use super::{Model, Operation};

/// Whether calls of one object, sorted by the time of the call, have an order.
pub fn search<M: Model>(model: &M, operations: &[Operation<M::Call, M::Answer>]) -> Result<(), String> {
    Search::new(model, operations).run()
}

struct Search<'a, M: Model> {
    model: &'a M,
    operations: &'a [Operation<M::Call, M::Answer>],
    /// Those not yet in the order: a list through the slice, in the order of calls.
    left: Left,
    /// Of these, how many were answered. Open ones need not be in the order.
    answered_left: usize,
    state: M::State,
    /// Which calls are in the order.
    taken: u128,
    tried: HashSet<(u128, M::State)>,
    /// A random number for each call: sums of different sets differ.
    marks: Vec<u128>,
    path: Vec<Step<M::State>>,
    /// What can be next and was not tried yet, best last.
    choices: Vec<usize>,
    farthest: Farthest<M::State>,
}

/// A call in the order, and how it was before it.
struct Step<S> {
    call: usize,
    state: S,
    choices: Vec<usize>,
}

/// Where the search got to, for people.
struct Farthest<S> {
    answered: usize,
    state: S,
    stuck: Vec<usize>,
}

impl<'a, M: Model> Search<'a, M> {
    fn new(model: &'a M, operations: &'a [Operation<M::Call, M::Answer>]) -> Self {
        let mut random = fastrand::Rng::with_seed(0);
        Self {
            model,
            operations,
            left: Left::new(operations.len()),
            answered_left: operations.iter().filter(|operation| operation.answer.is_some()).count(),
            state: model.initial(),
            taken: 0,
            tried: HashSet::new(),
            marks: operations.iter().map(|_| random.u128(..)).collect(),
            path: Vec::new(),
            choices: Vec::new(),
            farthest: Farthest { answered: 0, state: model.initial(), stuck: Vec::new() },
        }
    }

    fn run(mut self) -> Result<(), String> {
        let all = self.answered_left;
        self.look();
        while self.answered_left > 0 {
            if let Some(call) = self.choices.pop() {
                self.try_call(call);
            } else if let Some(step) = self.path.pop() {
                self.take_back(step);
            } else {
                return Err(self.reason(all));
            }
        }
        Ok(())
    }

    fn try_call(&mut self, call: usize) {
        let Some(next) = self.step(call) else { return };
        let taken = self.taken ^ self.marks[call];
        if !self.tried.insert((taken, next.clone())) {
            return;
        }
        let state = std::mem::replace(&mut self.state, next);
        self.path.push(Step { call, state, choices: std::mem::take(&mut self.choices) });
        self.taken = taken;
        self.left.remove(call);
        self.answered_left -= usize::from(self.operations[call].answer.is_some());
        self.look();
    }

    fn take_back(&mut self, step: Step<M::State>) {
        self.left.put_back(step.call);
        self.answered_left += usize::from(self.operations[step.call].answer.is_some());
        self.taken ^= self.marks[step.call];
        (self.state, self.choices) = (step.state, step.choices);
    }

    fn step(&self, call: usize) -> Option<M::State> {
        let operation = &self.operations[call];
        self.model.step(&self.state, &operation.call, operation.answer.as_ref())
    }

    /// Finds what can be next: what was called before any other that is left was answered.
    fn look(&mut self) {
        let mut first_answer = u64::MAX;
        let mut next = Vec::new();
        for call in self.left.iter() {
            let operation = &self.operations[call];
            if operation.called > first_answer {
                break;
            }
            first_answer = first_answer.min(operation.answered);
            next.push(call);
        }
        let answered = self.operations.len() - self.answered_left;
        if answered >= self.farthest.answered {
            self.farthest = Farthest { answered, state: self.state.clone(), stuck: next.clone() };
        }
        // What was answered first is the most urgent; of what was not, always the same is first.
        next.sort_by_key(|call| std::cmp::Reverse((self.operations[*call].answered, *call)));
        let only_observes = |call: &&usize| {
            let Operation { call: asked, answer, .. } = &self.operations[**call];
            answer.as_ref().is_some_and(|answer| self.model.only_observes(asked, answer)) && self.step(**call).is_some()
        };
        if let Some(call) = next.iter().rev().find(only_observes) {
            self.choices = vec![*call];
            return;
        }
        self.choices.clear();
        let alike = |a: usize, b: usize| {
            let (a, b) = (&self.operations[a], &self.operations[b]);
            a.call == b.call && a.answer == b.answer
        };
        for call in next.into_iter().rev() {
            if !self.choices.iter().any(|chosen| alike(*chosen, call)) {
                self.choices.push(call);
            }
        }
        self.choices.reverse();
    }

    fn reason(&self, all: usize) -> String {
        let open = self.operations.len() - all;
        let mut lines = vec![format!(
            "{} of {all} answered calls have an order, which leads to {:?}; then none of these can be next:",
            self.farthest.answered - open,
            self.farthest.state
        )];
        lines.extend(self.farthest.stuck.iter().map(|call| describe(&self.operations[*call])));
        lines.join("\n")
    }
}

/// One operation, for people.
pub fn describe<C: std::fmt::Debug, A: std::fmt::Debug>(operation: &Operation<C, A>) -> String {
    let Operation { instance, call, answer, called, answered, .. } = operation;
    match answer {
        Some(answer) => format!("  {called}..{answered} {instance}: {call:?} -> {answer:?}"),
        None => format!("  {called}.. {instance}: {call:?}, outcome unknown"),
    }
}

/// Numbers 0 to n, from which numbers are taken, and put back in the opposite order.
struct Left {
    /// The next number after number - 1; n + 1 is the end.
    next: Vec<usize>,
    previous: Vec<usize>,
}

impl Left {
    fn new(length: usize) -> Self {
        Self { next: (1..=length + 1).collect(), previous: std::iter::once(0).chain(0..=length).collect() }
    }

    fn iter(&self) -> impl Iterator<Item = usize> {
        let end = self.next.len();
        let mut at = 0;
        std::iter::from_fn(move || {
            at = self.next[at];
            (at < end).then(|| at - 1)
        })
    }

    fn remove(&mut self, number: usize) {
        let (next, previous) = (self.next[number + 1], self.previous[number + 1]);
        self.next[previous] = next;
        self.previous[next] = previous;
    }

    fn put_back(&mut self, number: usize) {
        let (next, previous) = (self.next[number + 1], self.previous[number + 1]);
        self.next[previous] = number + 1;
        self.previous[next] = number + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_taken_and_put_back() {
        let mut left = Left::new(4);
        let all = |left: &Left| left.iter().collect::<Vec<_>>();
        assert_eq!(all(&left), [0, 1, 2, 3]);
        left.remove(0);
        left.remove(2);
        left.remove(3);
        assert_eq!(all(&left), [1]);
        left.put_back(3);
        left.put_back(2);
        assert_eq!(all(&left), [1, 2, 3]);
        left.put_back(0);
        assert_eq!(all(&left), [0, 1, 2, 3]);
        assert_eq!(all(&Left::new(0)), [0; 0]);
    }
}
