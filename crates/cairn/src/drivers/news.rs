//! The node's news as log events. `cairn up` reads those of target `cairn::role`.

use node::News;
use tracing::{error, info, warn};
use wire::{NodeId, ScrubStage};

use super::refusals::REMOVED_CODE;

/// Logs what happened on node `own`. A steady cluster has no news.
pub(crate) fn log(own: NodeId, news: &News) {
    let node = own.0;
    match news {
        News::Role { group, role, epoch, leader } => {
            let leader = leader.map(|leader| leader.0);
            info!(target: "cairn::role", node, group = group.0, %role, epoch, leader, "role changed");
        }
        News::Ready { group, epoch } => {
            info!(target: "cairn::role", node, group = group.0, epoch, "leader serves");
        }
        News::SnapshotBegun { group, from } => {
            info!(node, group = group.0, from = from.0, "fetching a snapshot, for the log is gone");
        }
        News::SnapshotInstalled { group, applied } => {
            info!(node, group = group.0, applied, "snapshot installed");
        }
        News::SnapshotFailed { group, why } => {
            warn!(node, group = group.0, why, "snapshot failed; it will be tried again");
        }
        News::Dropped { from, why } => {
            warn!(node, from = from.0, why, "message dropped");
        }
        News::Truncated { group, from } => {
            info!(node, group = group.0, from, "uncommitted entries of a former leader dropped");
        }
        News::DoubtResolved { group } => {
            info!(node, group = group.0, "the journal's damage is repaired from the other nodes");
        }
        News::Removed { group } => {
            warn!(
                node,
                group = group.0,
                code = REMOVED_CODE,
                "this node was removed from the cluster"
            );
        }
        News::Scrubbed { group, index, stage } => match stage {
            ScrubStage::Broken { why } => error!(
                node,
                group = group.0,
                index,
                why,
                "a scrub found what can't be read: check the disk, then stop this node, move its \
                 `engine` directory away and start it again"
            ),
            ScrubStage::Running | ScrubStage::Finished { .. } => {
                info!(node, group = group.0, index, ?stage, "a scrub has read all");
            }
        },
        News::HandOver { group, to, why } => {
            warn!(
                node,
                group = group.0,
                to = to.0,
                why = %why,
                "leadership is handed over, for another node does better to lead"
            );
        }
        News::DiskFull(true) => {
            warn!(node, "no room on the disk: writes are refused until there is; make room");
        }
        News::DiskFull(false) => info!(node, "the disk has room again"),
        News::EngineFull(true) => {
            warn!(node, "the storage engine finds no room on the disk: make room");
        }
        News::EngineFull(false) => info!(node, "the storage engine has room again"),
    }
}
