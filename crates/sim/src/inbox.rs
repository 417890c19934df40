//! What waits for a node's thread, in the same three queues and with the same kinds of bounds as the
//! production mailbox has.

use std::collections::VecDeque;

use node::Event;

/// How much may wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Requests, in number. Those beyond are refused as busy at once.
    pub(crate) requests: usize,
    /// Messages of other nodes, in bytes. Those beyond are lost.
    pub(crate) message_bytes: usize,
}

/// The queues.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    /// Never refused: there is one at most for each thing that was asked for.
    completions: VecDeque<Event>,
    messages: VecDeque<(usize, Event)>,
    message_bytes: usize,
    requests: VecDeque<Event>,
}

impl Inbox {
    pub(crate) fn completion(&mut self, event: Event) {
        self.completions.push_back(event);
    }

    /// Takes a message in, or lets it get lost. One is taken however large it is.
    pub(crate) fn message(&mut self, event: Event, bytes: usize, limits: Limits) {
        if self.message_bytes == 0 || self.message_bytes + bytes <= limits.message_bytes {
            self.message_bytes += bytes;
            self.messages.push_back((bytes, event));
        }
    }

    /// Whether there is room for one more request.
    pub(crate) fn takes_request(&self, limits: Limits) -> bool {
        self.requests.len() < limits.requests
    }

    pub(crate) fn request(&mut self, event: Event) {
        self.requests.push_back(event);
    }

    pub(crate) fn len(&self) -> usize {
        self.completions.len() + self.messages.len() + self.requests.len()
    }

    /// The next one: completions first, for they let out what waits for them.
    pub(crate) fn next(&mut self) -> Option<Event> {
        if let Some(event) = self.completions.pop_front() {
            return Some(event);
        }
        if let Some((bytes, event)) = self.messages.pop_front() {
            self.message_bytes -= bytes;
            return Some(event);
        }
        self.requests.pop_front()
    }
}
