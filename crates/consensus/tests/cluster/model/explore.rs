//! All worlds that can be reached, by breadth: so that the first one that is wrong is one of the nearest.

use std::any::Any;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use consensus::{Config, ReplicaId, Status};

use super::Bounds;
use super::world::{Act, Letter, Move, World};
use crate::host::Protocol;

/// What an exploration has seen.
pub(super) struct Seen {
    /// Worlds that differ.
    pub(super) worlds: usize,
    /// Moves that were made.
    pub(super) moves: usize,
    /// The most moves that any world is away from the first.
    pub(super) depth: usize,
    /// What did not hold, and a shortest way there.
    pub(super) violation: Option<Violation>,
}

pub(super) struct Violation {
    pub(super) what: String,
    pub(super) trace: Vec<Move>,
}

/// Sees all worlds within these bounds, or as many until something does not hold.
pub(super) fn explore(
    protocol: Protocol,
    bounds: Bounds,
    adjust: impl Fn(&mut Config) + Copy,
) -> Seen {
    let first = World::new(protocol, bounds, adjust);
    let mut known = BTreeSet::from([first.digest()]);
    // How each world was first reached.
    let mut reached: Vec<(usize, Option<Move>)> = vec![(0, None)];
    let mut nearest = vec![(0, first)];
    let mut seen = Seen { worlds: 1, moves: 0, depth: 0, violation: None };
    while !nearest.is_empty() {
        let mut next = Vec::new();
        for (number, world) in nearest {
            for step in world.moves() {
                let after = catch_unwind(AssertUnwindSafe(|| {
                    let after = world.after(step)?;
                    let digest = after.digest();
                    let is_new = known.insert(digest);
                    if is_new {
                        after.check();
                    }
                    Some(is_new.then_some(after))
                }));
                match after {
                    Ok(None) => {}
                    Ok(Some(after)) => {
                        seen.moves += 1;
                        if let Some(after) = after {
                            next.push((reached.len(), after));
                            reached.push((number, Some(step)));
                        }
                    }
                    Err(panic) => {
                        let what = words(panic.as_ref());
                        let mut trace = way_to(number, &reached);
                        trace.push(step);
                        seen.worlds = known.len();
                        seen.violation = Some(Violation { what, trace });
                        return seen;
                    }
                }
            }
        }
        seen.depth += usize::from(!next.is_empty());
        nearest = next;
    }
    seen.worlds = known.len();
    seen
}

fn way_to(mut number: usize, reached: &[(usize, Option<Move>)]) -> Vec<Move> {
    let mut way = Vec::new();
    while let (before, Some(step)) = reached[number] {
        way.push(step);
        number = before;
    }
    way.reverse();
    way
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned()).expect("panics bear a text")
}

impl Violation {
    /// The way there, a line for each move.
    pub(super) fn tell(
        &self,
        protocol: Protocol,
        bounds: Bounds,
        adjust: impl Fn(&mut Config),
    ) -> String {
        let mut world = World::new(protocol, bounds, adjust);
        let mut lines = vec![self.what.clone()];
        for (number, step) in self.trace.iter().enumerate() {
            let what = world.letter(step.act).map_or_else(String::new, tell_letter);
            lines.push(format!("{:>3}. {what}{step}", number + 1));
            let before = world.statuses();
            let after = catch_unwind(AssertUnwindSafe(|| world.after(*step)));
            let Ok(after) = after else { break };
            world = after.expect("it was possible before");
            let changes = before.iter().zip(world.statuses());
            lines.extend(changes.filter_map(|(before, after)| tell_change(before, &after)));
            if let Act::Crash(id, _) = step.act {
                lines.push(format!("       {id} has forgotten what its disk had not written"));
            }
        }
        lines.join("\n")
    }
}

fn tell_letter(Letter { from, to, message }: &Letter) -> String {
    let text = match message {
        consensus::Message::Raft(message) => format!("{message:?}"),
        consensus::Message::Paxos(message) => format!("{message:?}"),
        consensus::Message::Zab(message) => format!("{message:?}"),
    };
    format!("{from} → {to}: {} ", brief(&text))
}

fn tell_change(before: &Status, after: &Status) -> Option<String> {
    let view = |status: &Status| {
        let leader = status.leader.map_or(ReplicaId(0), |leader| leader);
        let last = status.last.index;
        (status.role, status.epoch, leader, last, status.commit)
    };
    let Status { id, role, epoch, last, commit, .. } = after;
    (view(before) != view(after))
        .then(|| format!("       {id} is {role} in {epoch}, log up to {last}, committed {commit}"))
}

/// What `Debug` says, with our numbers in their short form.
fn brief(text: &str) -> String {
    let text = replace(text, ["LogIndex(", ")", ""], ["", "", ""]);
    let text = replace(&text, ["ReplicaId(", ")", ""], ["r", "", ""]);
    let text = replace(&text, ["Epoch { round: ", ", proposer: ", " }"], ["", ".", ""]);
    let text = replace(&text, ["Position { index: ", ", epoch: ", " }"], ["", "@", ""]);
    let text = replace(&text, [", link: Link { session: ", ", nonce: ", " }"], [" link=", ".", ""]);
    text.replace(" link=0.0", "").replace(".0,", ",").replace(".0 ", " ")
}

/// Replaces each place where the three follow one another.
fn replace(text: &str, old: [&str; 3], new: [&str; 3]) -> String {
    let mut rest = text;
    let mut result = String::new();
    while let Some(start) = rest.find(old[0]) {
        let (before, inside) = (&rest[..start], &rest[start + old[0].len()..]);
        let Some(middle) = inside.find(old[1]) else { break };
        let behind = &inside[middle + old[1].len()..];
        let Some(end) = behind.find(old[2]) else { break };
        let parts = [before, new[0], &inside[..middle], new[1], &behind[..end], new[2]];
        result.extend(parts);
        rest = &behind[end + old[2].len()..];
    }
    result + rest
}
