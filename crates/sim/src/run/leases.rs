//! After healing nobody keeps a lease alive any more: each ends, and soon; also where one leader follows
//! the other.

use std::time::Duration;

use super::QUIESCE;
use crate::check::Violation;
use crate::history::{Action, OpId, Outcome, Seen};
use crate::world::World;

/// How often somebody looks whether leases are left.
const EVERY: Duration = Duration::from_millis(250);

/// In so many runs of a thousand a lease has to die under one leader after the other.
const SUCCESSIONS: u64 = 250;

/// How long that lease lives. Long enough that leaders write down how much of that is left.
const SUCCESSION_TTL: Duration = Duration::from_secs(4);

/// The name of that lease: no client takes it.
const SUCCESSION_LEASE: u64 = u64::MAX;

/// Each leader leads for this much of the lease's time: longer than half of it, so that each writes
/// down that time has passed.
const REIGN: Duration = Duration::from_millis(2_400);

/// So many of them: more than the lease may outlive.
const LEADERS: usize = 3;

/// Who asks.
const REFEREE: usize = 0;

/// Leases end. Each may live for as long as it was granted for once more, after the leader that healing
/// brought; then for what that leader's successors may give it.
pub(super) fn require_end(world: &mut World) {
    if world.machines.len() > 1 && world.rng.chance(SUCCESSIONS) {
        succession(world);
    }
    let longest = longest_ttl(world);
    let deadline = world.now + 2 * longest + QUIESCE;
    while world.violations.is_empty() {
        let id = ask(world, Action::Leases);
        if let Some(Outcome::Done(_, Seen::Leases(left))) = id.map(|id| outcome(world, id)) {
            if left.is_empty() {
                return;
            }
            if world.now > deadline {
                let what = format!(
                    "nobody keeps leases alive, none lives longer than {longest:?}, and of all of \
                     them {} are left: {left:?}",
                    left.len()
                );
                world.violations.push(Violation::new("liveness", what, id.as_slice()));
            }
        }
        let until = world.now + EVERY;
        world.run(until, |_| false);
    }
}

/// A lease that nobody keeps alive ends, though no leader leads for as long as it lives.
fn succession(world: &mut World) {
    let ttl_ms = u64::try_from(SUCCESSION_TTL.as_millis()).expect("a short time");
    let lease = SUCCESSION_LEASE;
    let Some(granted) = ask(world, Action::Grant { lease, ttl_ms }) else { return };
    if !matches!(outcome(world, granted), Outcome::Done(..)) {
        return;
    }
    // Whoever comes to lead otherwise, by a rare path or for being preferred, makes some reign shorter.
    let mut as_planned = true;
    let mut wanted = None;
    for _ in 0..LEADERS {
        let elections = world.ledger.elections();
        let until = world.now + REIGN;
        world.run(until, |_| false);
        let Some(leader) = crate::fault::leader(world) else { return };
        as_planned &= wanted.is_none_or(|wanted| wanted == leader);
        as_planned &= world.ledger.elections() - elections == usize::from(wanted.is_some());
        let next = (leader + 1) % world.machines.len();
        wanted = Some(next);
        ask(world, Action::Transfer { to: world.machines[next].id() });
    }
    let Some(id) = ask(world, Action::Lease { lease }) else { return };
    if as_planned && matches!(outcome(world, id), Outcome::Done(..)) {
        let what = format!(
            "a lease of {SUCCESSION_TTL:?} is still there, though each of three leaders led for \
             {REIGN:?} and nobody kept it alive"
        );
        world.violations.push(Violation::new("leases", what, &[granted, id]));
    }
}

/// Has the referee's client do something, and waits until it is done.
fn ask(world: &mut World, action: Action) -> Option<OpId> {
    let id = OpId(world.history.operations.len());
    let client = &mut world.clients[REFEREE];
    client.orders.push_back(action);
    world.wake(REFEREE);
    let deadline = world.now + QUIESCE;
    let done = world.run(deadline, |world| {
        let client = &world.clients[REFEREE];
        client.orders.is_empty() && client.current.is_none()
    });
    done.then_some(id)
}

fn outcome(world: &World, id: OpId) -> Outcome {
    world.history.operation(id).outcome.clone()
}

fn longest_ttl(world: &World) -> Duration {
    let ttls = world.history.operations.iter().map(|operation| match operation.action {
        Action::Grant { ttl_ms, .. } => Duration::from_millis(ttl_ms),
        _ => Duration::ZERO,
    });
    ttls.max().unwrap_or_default()
}
