//! What a configuration takes for granted of the cluster, held against what the node knows of it.
//!
//! Who the other nodes are the cluster says, and not the configuration. But one that names no other node
//! opens no port for them; and a node that is alone knows that no other belongs to its cluster, whatever
//! the configuration says: those would go their own way, with other data under the same name. That it
//! names those with whom the cluster began, and who have left, does no harm.

use std::path::PathBuf;

use wire::{Member, NodeId};

use super::data_dir::DataDir;
use crate::config::Config;
use crate::errors::Fault;

/// What is taken for granted.
#[derive(Debug)]
pub(super) struct Expectation {
    dir: PathBuf,
    own: NodeId,
    /// Whether it joined, and so knows no list before it is told one.
    joined: bool,
    /// With whom the cluster began.
    began_with: Vec<u64>,
    /// Whom the configuration names.
    configured: Vec<u64>,
    /// Whether others can reach it.
    has_peer_port: bool,
}

impl Expectation {
    /// That of a node with this configuration and directory.
    pub(super) fn of(config: &Config, dir: &DataDir) -> Self {
        Self {
            dir: dir.path().to_owned(),
            own: config.node,
            joined: dir.identity().joined,
            began_with: dir.identity().members.clone(),
            configured: config.members.iter().map(|member| member.node.0).collect(),
            has_peer_port: config.peer_listen.is_some(),
        }
    }

    /// Whether it can be so, with these members.
    pub(super) fn check(&self, members: &[Member]) -> Result<(), Fault> {
        let known: Vec<u64> = members.iter().map(|member| member.node.0).collect();
        let is_unreachable = !self.has_peer_port && known.len() > 1;
        let is_alone = known == [self.own.0] && !self.joined;
        let is_foreign = |number: &u64| !self.began_with.contains(number);
        let is_contradiction = is_alone && self.configured.iter().any(is_foreign);
        if !is_unreachable && !is_contradiction {
            return Ok(());
        }
        let describe = |members: &[u64]| {
            let members: Vec<String> = members.iter().map(u64::to_string).collect();
            format!("node {} of {{{}}}", self.own.0, members.join(", "))
        };
        let (theirs, ours) = (describe(&known), describe(&self.configured));
        Err(Fault::Identity { dir: self.dir.clone(), theirs, ours })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(began_with: &[u64], configured: &[u64], has_peer_port: bool, known: &[u64]) -> bool {
        let expectation = Expectation {
            dir: "d".into(),
            own: NodeId(1),
            joined: false,
            began_with: began_with.into(),
            configured: configured.into(),
            has_peer_port,
        };
        let member = |node: &u64| Member::unknown(NodeId(*node));
        expectation.check(&known.iter().map(member).collect::<Vec<_>>()).is_ok()
    }

    #[test]
    fn the_cluster_knows_better_than_the_configuration() {
        assert!(holds(&[1], &[1], false, &[1]));
        assert!(holds(&[1, 2, 3], &[1, 2, 3], true, &[1, 2, 3]));
        assert!(holds(&[1, 2, 3], &[1, 2, 3], true, &[1, 4, 5]), "it need not be kept up to date");
        assert!(holds(&[1, 2, 3], &[1, 2, 3], true, &[1]), "the others have left");
        assert!(holds(&[1], &[1, 2, 3], true, &[1, 2, 3]), "the others have joined");
    }

    #[test]
    fn a_node_that_is_alone_is_not_one_of_several() {
        assert!(!holds(&[1], &[1, 2, 3], true, &[1]));
        assert!(!holds(&[1, 2, 3], &[1], false, &[1, 2, 3]), "nobody could reach it");
        assert!(!holds(&[1], &[1], false, &[1, 2]));
    }
}
