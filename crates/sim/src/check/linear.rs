//! Linearizability: is there one order of all operations, true to their times, in which each of
//! them makes sense?
//!
//! # Method
//!
//! A depth-first search over configurations: which operations have been placed, and the state that
//! they led to. An operation may be placed next if it began before every other one that is not yet
//! placed has ended. Configurations seen before are not searched again. Two things keep the search
//! small: an operation that fits and only looks is placed at once, for it can do no harm there; and a configuration is written compactly, as a prefix and what sticks out of it.
//!
//! Operations whose outcome is unknown may be placed at any time after they began, or never.
//!
//! # Reference
//!
//! Wing and Gong, *Testing and Verifying Concurrent Objects* (1993); the memory of configurations
//! is Lowe's, *Testing for Linearizability* (2017).

use std::collections::BTreeSet;

/// What a thing does, one operation at a time.
pub trait Model {
    /// What it remembers.
    type State: Clone + Ord;
    /// An operation with what its caller saw.
    type Op;

    /// What it is at first.
    fn initial(&self) -> Self::State;

    /// Whether `op` never changes anything, in no state.
    fn only_looks(&self, op: &Self::Op) -> bool;

    /// What a state may become by itself, at any time.
    fn drifts(&self, _state: &Self::State) -> Option<Self::State> {
        None
    }

    /// The state after `op`, if a caller could have seen in `state` what this one saw.
    fn apply(&self, state: &Self::State, op: &Self::Op) -> Option<Self::State>;
}

/// One operation and its time.
#[derive(Clone, Debug)]
pub struct Call<O> {
    /// When it began.
    pub began: u64,
    /// When it ended; `None` if its outcome is unknown.
    pub ended: Option<u64>,
    /// What it did.
    pub op: O,
}

/// What the search came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict<S> {
    /// There is such an order.
    Linearizable,
    /// There is none.
    Violated {
        /// The most operations that could be placed.
        placed: usize,
        /// The state after them.
        state: S,
        /// Which operations could come next, and none of them makes sense in that state.
        stuck: Vec<usize>,
    },
    /// The search was given up.
    Undecided,
}

/// Searches an order for `calls`, in at most `budget` configurations.
pub fn linearize<M: Model>(model: &M, calls: &[Call<M::Op>], budget: usize) -> Verdict<M::State> {
    Search::new(model, calls).run(budget)
}

/// A state of the search.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Configuration<S> {
    /// This many of the known operations, in the order in which they began, are placed, …
    prefix: usize,
    /// … these beyond them, …
    beyond: Vec<usize>,
    /// … and these of the unknown ones.
    unknown: Vec<usize>,
    state: S,
}

struct Search<'a, M: Model> {
    model: &'a M,
    calls: &'a [Call<M::Op>],
    /// Operations whose end is known, in the order in which they began.
    known: Vec<usize>,
    /// The others, likewise.
    unknown: Vec<usize>,
}

impl<'a, M: Model> Search<'a, M> {
    fn new(model: &'a M, calls: &'a [Call<M::Op>]) -> Self {
        let mut order: Vec<usize> = (0..calls.len()).collect();
        order.sort_by_key(|&call| calls[call].began);
        let (known, unknown) = order.into_iter().partition(|&call| calls[call].ended.is_some());
        Self { model, calls, known, unknown }
    }

    fn run(&self, budget: usize) -> Verdict<M::State> {
        let start = Configuration {
            prefix: 0,
            beyond: Vec::new(),
            unknown: Vec::new(),
            state: self.model.initial(),
        };
        let mut seen = BTreeSet::new();
        let mut stack = vec![start];
        let mut deepest: Option<(usize, Configuration<M::State>)> = None;
        while let Some(mut at) = stack.pop() {
            self.absorb(&mut at);
            if at.prefix == self.known.len() {
                return Verdict::Linearizable;
            }
            let placed = at.prefix + at.beyond.len();
            if deepest.as_ref().is_none_or(|(most, _)| placed > *most) {
                deepest = Some((placed, at.clone()));
            }
            if !seen.insert(at.clone()) {
                continue;
            }
            if seen.len() > budget {
                return Verdict::Undecided;
            }
            self.push_successors(&at, &mut stack);
        }
        let (placed, at) = deepest.expect("the start was searched");
        let could_be_next = self.candidates(&at).map(|known| self.known[known]).collect();
        Verdict::Violated { placed, state: at.state, stuck: could_be_next }
    }

    /// Places all that fits and only looks. What would change something in another state stays: it
    /// may be needed there.
    fn absorb(&self, at: &mut Configuration<M::State>) {
        loop {
            let harmless = self.candidates(at).find(|&known| {
                let op = &self.calls[self.known[known]].op;
                self.model.only_looks(op) && self.model.apply(&at.state, op).is_some()
            });
            match harmless {
                Some(known) => self.place(at, known),
                None => return,
            }
        }
    }

    fn push_successors(
        &self,
        at: &Configuration<M::State>,
        stack: &mut Vec<Configuration<M::State>>,
    ) {
        // What is pushed last is tried first: known operations before unknown ones, and among
        // the known the one that began first, for it is most often the right one.
        let first_end = self.first_end(at);
        for (place, &call) in self.unknown.iter().enumerate() {
            let call = &self.calls[call];
            if call.began > first_end || at.unknown.contains(&place) {
                continue;
            }
            if let Some(state) = self.model.apply(&at.state, &call.op)
                && state != at.state
            {
                let mut next = Configuration { state, ..at.clone() };
                let position = next.unknown.partition_point(|&used| used < place);
                next.unknown.insert(position, place);
                stack.push(next);
            }
        }
        if let Some(state) = self.model.drifts(&at.state) {
            stack.push(Configuration { state, ..at.clone() });
        }
        let candidates: Vec<usize> = self.candidates(at).collect();
        for known in candidates.into_iter().rev() {
            let op = &self.calls[self.known[known]].op;
            if let Some(state) = self.model.apply(&at.state, op) {
                let mut next = Configuration { state, ..at.clone() };
                self.place(&mut next, known);
                stack.push(next);
            }
        }
    }

    fn place(&self, at: &mut Configuration<M::State>, known: usize) {
        let position = at.beyond.partition_point(|&placed| placed < known);
        at.beyond.insert(position, known);
        let whole = at.beyond.iter().zip(at.prefix..).take_while(|(a, b)| **a == *b).count();
        at.beyond.drain(..whole);
        at.prefix += whole;
        assert!(at.prefix <= self.known.len(), "no more is placed than there is");
    }

    /// The first moment at which some operation that is not placed has ended.
    fn first_end(&self, at: &Configuration<M::State>) -> u64 {
        let mut first = u64::MAX;
        for known in at.prefix..self.known.len() {
            let call = &self.calls[self.known[known]];
            if call.began > first {
                break;
            }
            if !at.beyond.contains(&known) {
                first = first.min(call.ended.unwrap_or(u64::MAX));
            }
        }
        first
    }

    /// Known operations that may be placed next, in the order in which they began.
    fn candidates<'b>(
        &'b self,
        at: &'b Configuration<M::State>,
    ) -> impl Iterator<Item = usize> + 'b {
        let first_end = self.first_end(at);
        (at.prefix..self.known.len())
            .take_while(move |&known| self.calls[self.known[known]].began <= first_end)
            .filter(|known| !at.beyond.contains(known))
    }
}
