//! Which stretch of a follower's memory an acknowledgement speaks of.

/// Ties a leader's messages and their answers to one stretch of a follower's memory.
///
/// While no disk loses what it acknowledged, it is all zero. When a follower says that it is in
/// doubt, the leader opens the next session and forgets what was acknowledged in the one before:
/// replies of an older session count for nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Link {
    /// Counted by the leader, for each follower and epoch.
    pub session: u64,
    /// The nonce of the follower's doubt, as the leader was told; 0 without doubt.
    pub nonce: u64,
}
