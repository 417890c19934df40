//! Leadership that finds no rest: hand-overs that are asked for every few milliseconds, and elections that all
//! voters begin at once, again and again (F20).
//!
//! An operator, or a script, asks for hand-overs to any voter, also where nobody leads, also while one is under
//! way or the members change. For elections the leader's messages are held back, for all at once and for a
//! little longer than any timeout: each voter's time runs out, the old leader knows of nothing, and what was
//! held back arrives in the middle of the election. Priorities play no part: all are equal.
//!
//! # Reference
//!
//! Ongaro, *Consensus: Bridging Theory and Practice* (2014), §3.10 (transfer), §9.2–9.3 (split votes).

use std::time::Duration;

use wire::{Frame, FrameKind, NodeId, Part, Principal, Request};

use super::{Fault, any_machine, leader, some_time};
use crate::rng::Rng;
use crate::world::World;

/// What goes on for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Storm {
    Transfers,
    Elections,
    Both,
}

pub(super) struct Transfers {
    /// What goes on, and for how many strikes more.
    storm: Option<(Storm, u64)>,
    rng: Rng,
    calls: u64,
}

impl Transfers {
    pub(super) fn new(rng: Rng) -> Self {
        Self { storm: None, rng, calls: 0 }
    }

    /// Asks a node, mostly the one that leads, to hand over to any voter, itself included.
    fn ask(&mut self, world: &mut World) {
        let any = any_machine(&mut self.rng, world);
        let asked = if self.rng.chance(700) { leader(world).unwrap_or(any) } else { any };
        if !world.machines[asked].is_up() {
            return;
        }
        let members = world.members_at(asked);
        let voters = members.list.iter().filter(|member| member.part == Part::Voter);
        let voters: Vec<NodeId> = voters.map(|member| member.node).collect();
        if voters.is_empty() {
            return;
        }
        let to = *self.rng.pick(&voters);
        self.calls += 1;
        let request = Request::Transfer { to };
        let request = if world.plan.is_guarded() { as_root(request) } else { request };
        let bytes = Frame::encode(FrameKind::Request, self.calls, |out| request.encode(out));
        world.operator_asks(asked, self.calls, bytes.into());
        world.struck("transfers");
    }

    /// Holds the leader's messages back, until every voter's time must have run out.
    fn silence(&mut self, world: &mut World) -> Duration {
        let timeout = world.plan.tuning.election_timeout;
        let Some(silent) = leader(world) else { return timeout / 2 };
        let lasts = timeout + self.rng.duration(timeout / 2, timeout * 2);
        let until = world.now + lasts;
        for other in (0..world.machines.len()).filter(|other| *other != silent) {
            world.net.clog(silent, other, until);
        }
        world.line(&world.machines[silent].id(), format_args!("is not heard for {lasts:?}"));
        world.struck("transfers");
        lasts
    }
}

/// Where everybody must say who he is, the operator shows a certificate.
fn as_root(request: Request) -> Request {
    Request::As { principal: Principal::of_certificate("root"), request: Box::new(request) }
}

impl Fault for Transfers {
    fn strike(&mut self, world: &mut World) -> Option<Duration> {
        let Some((storm, left)) = self.storm.take() else {
            let storm = *self.rng.pick(&[Storm::Transfers, Storm::Elections, Storm::Both]);
            let strikes = self.rng.between(3, if storm == Storm::Elections { 8 } else { 200 });
            self.storm = Some((storm, strikes));
            return Some(Duration::ZERO);
        };
        if left == 0 {
            return Some(some_time(&mut self.rng));
        }
        self.storm = Some((storm, left - 1));
        let pause = self.rng.skewed(Duration::from_millis(1), Duration::from_millis(50));
        Some(match storm {
            Storm::Transfers => {
                self.ask(world);
                pause
            }
            Storm::Elections => self.silence(world) + pause,
            Storm::Both => {
                self.ask(world);
                if self.rng.chance(20) {
                    self.silence(world);
                }
                pause
            }
        })
    }

    fn heal(&mut self, _world: &mut World) {
        self.storm = None;
    }
}
