//! Messages of long ago: a sample of what the nodes have sent each other, to be delivered once more,
//! much later, across terms and restarts.
//!
//! A network that stores packets does not do that to a connection; but the nodes' safety is not to
//! rest on what a transport promises.

use bytes::Bytes;
use node::{PeerEnvelope, PeerMessage};

use crate::rng::Rng;

/// Messages that are kept.
const KEPT: usize = 400;

/// One that was sent.
#[derive(Clone, Debug)]
pub(crate) struct Letter {
    pub(crate) to: usize,
    pub(crate) bytes: Bytes,
    /// It answers something: the kind that must not be believed too late.
    pub(crate) is_answer: bool,
}

/// The sample.
#[derive(Debug)]
pub(crate) struct OldMail {
    on: bool,
    rng: Rng,
    seen: u64,
    letters: Vec<Letter>,
}

impl OldMail {
    pub(super) fn new(on: bool, rng: Rng) -> Self {
        Self { on, rng, seen: 0, letters: Vec::new() }
    }

    /// Perhaps keeps a message: any that was ever sent is as likely to be in the sample, but answers
    /// four times as likely as others.
    pub(super) fn copy(&mut self, to: usize, envelope: &PeerEnvelope, bytes: &Bytes) {
        if !self.on {
            return;
        }
        let is_answer = is_answer(&envelope.message);
        if !is_answer && !self.rng.chance(250) {
            return;
        }
        self.seen += 1;
        let letter = || Letter { to, bytes: bytes.clone(), is_answer };
        if self.letters.len() < KEPT {
            self.letters.push(letter());
        } else if let Ok(place) = usize::try_from(self.rng.below(self.seen))
            && place < KEPT
        {
            self.letters[place] = letter();
        }
    }

    /// What was kept.
    pub(crate) fn letters(&self) -> &[Letter] {
        &self.letters
    }
}

fn is_answer(message: &PeerMessage) -> bool {
    match message {
        PeerMessage::Consensus { message, .. } => message.is_answer(),
        PeerMessage::Chunk { .. } | PeerMessage::NoChunk { .. } => true,
        PeerMessage::FetchChunk { .. } => false,
    }
}
