//! Messages on their way to one other node.
//!
//! Bounded in bytes: what finds no room, and what is sent while there is no connection, is dropped
//! and counted. Consensus tolerates loss and sends again what matters; to keep stale messages for a
//! node that is away would only greet it with a flood.

use std::sync::{Mutex, MutexGuard, PoisonError};

use node::{PeerEnvelope, PeerMessage};
use tokio::sync::Notify;

/// Bytes that may wait for one peer; more only as a single message.
const OUTBOX_BYTES: usize = 32 << 20;

/// What a message costs beyond its payload.
const MESSAGE_OVERHEAD_BYTES: usize = 64;

/// What an entry costs beyond its payload.
const ENTRY_OVERHEAD_BYTES: usize = 24;

/// Roughly the memory that a message takes.
pub(crate) fn weight(envelope: &PeerEnvelope) -> usize {
    let payload = match &envelope.message {
        PeerMessage::Consensus { message, .. } => {
            let (entries, bytes) = message.load();
            bytes + entries * ENTRY_OVERHEAD_BYTES
        }
        PeerMessage::Chunk { chunk, .. } => chunk.bytes.len(),
        PeerMessage::FetchChunk { .. } | PeerMessage::NoChunk { .. } => 0,
    };
    MESSAGE_OVERHEAD_BYTES + payload
}

/// The messages for one peer.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    state: Mutex<State>,
    ready: Notify,
}

#[derive(Debug, Default)]
struct State {
    messages: Vec<PeerEnvelope>,
    bytes: usize,
    open: bool,
}

impl Outbox {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in here can panic half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a message in; `false` if it was dropped.
    pub(crate) fn push(&self, message: PeerEnvelope) -> bool {
        let bytes = weight(&message);
        let mut state = self.state();
        if !state.open || (state.bytes > 0 && state.bytes + bytes > OUTBOX_BYTES) {
            return false;
        }
        state.bytes += bytes;
        let was_empty = state.messages.is_empty();
        state.messages.push(message);
        drop(state);
        if was_empty {
            self.ready.notify_one();
        }
        true
    }

    /// Waits for messages. May wake without any.
    pub(crate) async fn ready(&self) {
        self.ready.notified().await;
    }

    /// Takes all messages.
    pub(crate) fn take(&self, into: &mut Vec<PeerEnvelope>) {
        let mut state = self.state();
        into.append(&mut state.messages);
        state.bytes = 0;
    }

    /// There is a connection: messages are kept from now on.
    pub(crate) fn open(&self) {
        self.state().open = true;
    }

    /// There is none any more: what waits is dropped. Returns how many.
    pub(crate) fn close(&self) -> usize {
        let mut state = self.state();
        state.open = false;
        state.bytes = 0;
        let dropped = state.messages.len();
        state.messages.clear();
        dropped
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use wire::{GroupId, NodeId};

    use super::*;

    fn chunk(bytes: usize) -> PeerEnvelope {
        let chunk = engine::Chunk { sequence: 0, bytes: Bytes::from(vec![0; bytes]), last: false };
        let applied = consensus::Position::default();
        let message = PeerMessage::Chunk { group: GroupId(1), fetch: 1, applied, chunk };
        PeerEnvelope { cluster: 1, from: NodeId(1), to: NodeId(2), message }
    }

    #[test]
    fn nothing_is_kept_for_a_node_that_is_away() {
        let outbox = Outbox::default();
        assert!(!outbox.push(chunk(1)));
        outbox.open();
        assert!(outbox.push(chunk(1)));
        assert_eq!(outbox.close(), 1);
        let mut taken = Vec::new();
        outbox.take(&mut taken);
        assert!(taken.is_empty());
    }

    #[test]
    fn it_is_bounded_in_bytes_but_one_message_always_fits() {
        let outbox = Outbox::default();
        outbox.open();
        assert!(outbox.push(chunk(OUTBOX_BYTES + 1)));
        assert!(!outbox.push(chunk(1)));
        outbox.take(&mut Vec::new());
        assert!(outbox.push(chunk(1)));
    }
}
