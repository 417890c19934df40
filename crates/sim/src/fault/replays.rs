//! Old messages that come once more: seconds later, after elections and restarts.

use std::time::Duration;

use super::{Fault, some_time};
use crate::rng::Rng;
use crate::world::{Happening, World};

pub(super) struct Replay {
    rng: Rng,
}

impl Replay {
    pub(super) fn new(rng: Rng) -> Self {
        Self { rng }
    }

    fn deliver(&mut self, world: &mut World, wanted: u64, fits: impl Fn(usize, bool) -> bool) {
        let letters = world.old_mail.letters();
        let fitting = letters.iter().filter(|letter| fits(letter.to, letter.is_answer));
        let mut fitting: Vec<_> = fitting.cloned().collect();
        self.rng.shuffle(&mut fitting);
        fitting.truncate(usize::try_from(wanted).unwrap_or(usize::MAX));
        for letter in fitting {
            let after = self.rng.skewed(Duration::from_micros(10), Duration::from_millis(50));
            let what = Happening::Peer { to: letter.to, bytes: letter.bytes };
            world.plan_after(after, what);
            world.struck("replay");
        }
    }
}

impl Fault for Replay {
    fn strike(&mut self, world: &mut World) -> Option<Duration> {
        let wanted = *self.rng.pick(&[1, 5, 50]);
        self.deliver(world, wanted, |_, _| true);
        Some(some_time(&mut self.rng))
    }

    /// What was answered to a node when it led before says nothing about what it leads now.
    fn leads(&mut self, world: &mut World, machine: usize) {
        let wanted = *self.rng.pick(&[0, 5, 50]);
        self.deliver(world, wanted, |to, is_answer| to == machine && is_answer);
    }
}
