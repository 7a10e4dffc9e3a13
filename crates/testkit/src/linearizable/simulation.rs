//! Histories to test the check with: of true objects under concurrency, with lies put into them; and arbitrary ones, which
//! the trial of all orders decides.

use proptest::prelude::*;

use super::{History, Model, Operation};

/// Whether there is an order, tried without any cleverness.
pub fn by_permutation<M: Model>(model: &M, operations: &[Operation<M::Call, M::Answer>]) -> bool {
    fn go<M: Model>(model: &M, state: &M::State, left: &[&Operation<M::Call, M::Answer>]) -> bool {
        if left.iter().all(|operation| operation.answer.is_none()) {
            return true;
        }
        let first_answer = left.iter().map(|operation| operation.answered).min().unwrap();
        (0..left.len()).filter(|at| left[*at].called < first_answer).any(|at| {
            let next = model.step(state, &left[at].call, left[at].answer.as_ref());
            let others: Vec<_> = left.iter().enumerate().filter(|(other, _)| *other != at).map(|(_, o)| *o).collect();
            next.is_some_and(|next| go(model, &next, &others))
        })
    }
    go(model, &model.initial(), &operations.iter().collect::<Vec<_>>())
}

/// Times of calls, and numbers to make calls of.
#[derive(Debug, Clone)]
pub struct Choices(Vec<(u8, u64, Option<u64>)>);

/// At most that many calls, some of them open.
pub fn arbitrary(calls: usize) -> impl Strategy<Value = Choices> {
    assert!(calls < 8, "times would be equal");
    let call = (any::<u8>(), 0..10_u64, 0..8_u64, prop::bool::weighted(0.2));
    prop::collection::vec(call, 0..=calls).prop_map(|calls| {
        let timed = calls.into_iter().zip(0..).map(|((choice, called, length, is_open), number)| {
            (choice, called * 16 + number + 1, (!is_open).then_some((called + length) * 16 + number + 8))
        });
        let mut timed: Vec<_> = timed.collect();
        timed.sort_by_key(|(_, called, _)| *called);
        Choices(timed)
    })
}

impl Choices {
    /// Calls made of the numbers; told whether there is an answer.
    pub fn timed<C, A>(&self, mut make: impl FnMut(u8, bool) -> (C, Option<A>)) -> Vec<Operation<C, A>> {
        let operations = self.0.iter().map(|(choice, called, answered)| {
            let (call, answer) = make(*choice, answered.is_some());
            operation("key", call, answer, *called, answered.unwrap_or(u64::MAX))
        });
        operations.collect()
    }
}

fn operation<C, A>(key: &str, call: C, answer: Option<A>, called: u64, answered: u64) -> Operation<C, A> {
    Operation { key: key.to_owned(), instance: "simulated".to_owned(), call, answer, called, answered }
}

/// A true object for each key, and clients that use them at once.
pub struct Simulation<M: Model> {
    states: Vec<M::State>,
    /// Does a call as the object does it.
    act: fn(&M, &mut M::State, &M::Call) -> M::Answer,
    model: M,
    clients: Vec<Client<M>>,
    /// Part of the calls whose answer is lost.
    lost: f64,
    pub random: fastrand::Rng,
    clock: u64,
    operations: Vec<Operation<M::Call, M::Answer>>,
}

/// What a client is about: nothing, a call that was made, or one that has happened.
enum Client<M: Model> {
    Idle,
    Called(usize),
    Done(usize, M::Answer),
}

impl<M: Model> Simulation<M> {
    pub fn new(
        model: M,
        act: fn(&M, &mut M::State, &M::Call) -> M::Answer,
        (keys, clients): (usize, usize),
        seed: u64,
    ) -> Self {
        Self {
            states: vec![model.initial(); keys],
            act,
            model,
            clients: (0..clients).map(|_| Client::Idle).collect(),
            lost: 0.02,
            random: fastrand::Rng::with_seed(seed),
            clock: 1,
            operations: Vec::new(),
        }
    }

    /// Makes that many calls, and answers all of them but the lost ones.
    pub fn run(&mut self, calls: usize, mut choose: impl FnMut(&mut fastrand::Rng) -> M::Call) {
        let goal = self.operations.len() + calls;
        loop {
            let busy: Vec<usize> =
                (0..self.clients.len()).filter(|client| !matches!(self.clients[*client], Client::Idle)).collect();
            let more = self.operations.len() < goal;
            if !more && busy.is_empty() {
                return;
            }
            let client =
                if more { self.random.usize(..self.clients.len()) } else { *self.random.choice(&busy).unwrap() };
            let now = self.clock;
            self.clock += 1;
            let is = std::mem::replace(&mut self.clients[client], Client::Idle);
            let lost = self.random.f64() < self.lost;
            self.clients[client] = match is {
                Client::Idle => {
                    let (key, call) = (self.random.usize(..self.states.len()), choose(&mut self.random));
                    self.operations.push(operation(&key.to_string(), call, None, now, u64::MAX));
                    Client::Called(self.operations.len() - 1)
                }
                // Lost before it happens, or after.
                Client::Called(_) if lost => Client::Idle,
                Client::Called(number) => {
                    let answer = self.happen(number);
                    Client::Done(number, answer)
                }
                Client::Done(..) if lost => Client::Idle,
                Client::Done(number, answer) => {
                    (self.operations[number].answer, self.operations[number].answered) = (Some(answer), now);
                    Client::Idle
                }
            };
        }
    }

    fn happen(&mut self, number: usize) -> M::Answer {
        let operation = &self.operations[number];
        let key: usize = operation.key.parse().unwrap();
        (self.act)(&self.model, &mut self.states[key], &operation.call)
    }

    /// A call of its own time that happens, with its answer.
    pub fn truth(&mut self, key: usize, call: M::Call) -> M::Answer {
        let answer = (self.act)(&self.model, &mut self.states[key], &call);
        self.lie(key, call, answer.clone());
        answer
    }

    /// A call of its own time that does not happen, with an answer.
    pub fn lie(&mut self, key: usize, call: M::Call, answer: M::Answer) {
        let now = self.clock;
        self.clock += 2;
        self.operations.push(operation(&key.to_string(), call, Some(answer), now, now + 1));
    }

    pub fn history(&self) -> History<M::Call, M::Answer> {
        History { operations: self.operations.clone() }
    }
}
