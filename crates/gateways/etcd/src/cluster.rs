//! Who belongs to the cluster, and how that changes.
//!
//! etcd's clients name a member by a number of 64 bits, made from the node's own ([`crate::header`]). A
//! member that has not said yet where clients reach it has no name here, by which etcd's tools know that
//! it was never started. One that joins gets its vote by itself; a learner waits for `MemberPromote`.

use tonic::{Request, Response, Status};
use wire::{MemberChange, Members, NewPart, NodeId, Part};

use crate::errors;
use crate::gateway::Service;
use crate::pb::etcdserverpb::cluster_server::Cluster;
use crate::pb::etcdserverpb::{
    Member, MemberAddRequest, MemberAddResponse, MemberListRequest, MemberListResponse,
    MemberPromoteRequest, MemberPromoteResponse, MemberRemoveRequest, MemberRemoveResponse,
    MemberUpdateRequest, MemberUpdateResponse,
};

#[tonic::async_trait]
impl Cluster for Service {
    async fn member_add(
        &self,
        request: Request<MemberAddRequest>,
    ) -> Result<Response<MemberAddResponse>, Status> {
        let MemberAddRequest { peer_ur_ls, is_learner } = request.into_inner();
        let change = MemberChange::Add {
            peer_address: address_of(&peer_ur_ls)?,
            client_address: String::new(),
            part: if is_learner { NewPart::Learner } else { NewPart::Voter },
            priority: wire::Member::DEFAULT_PRIORITY,
        };
        let (members, added) = self.change_members(change).await?;
        let added = added.and_then(|added| members.find(added));
        let member = added.map(|member| self.member(member));
        let (header, members) = (Some(self.header_without_revision()), self.members(&members.list));
        Ok(Response::new(MemberAddResponse { header, member, members }))
    }

    /// As etcd's own: never against the majority that would be left. `cairn member remove --force` is for
    /// that.
    async fn member_remove(
        &self,
        request: Request<MemberRemoveRequest>,
    ) -> Result<Response<MemberRemoveResponse>, Status> {
        let node = self.node_of(request.get_ref().id).await?;
        let (members, _) = self.change_members(MemberChange::Remove { node, force: false }).await?;
        let (header, members) = (Some(self.header_without_revision()), self.members(&members.list));
        Ok(Response::new(MemberRemoveResponse { header, members }))
    }

    async fn member_update(
        &self,
        request: Request<MemberUpdateRequest>,
    ) -> Result<Response<MemberUpdateResponse>, Status> {
        let MemberUpdateRequest { id, peer_ur_ls } = request.into_inner();
        let change = MemberChange::Update {
            node: self.node_of(id).await?,
            peer_address: address_of(&peer_ur_ls)?,
            client_address: String::new(),
            priority: None,
        };
        let (members, _) = self.change_members(change).await?;
        let (header, members) = (Some(self.header_without_revision()), self.members(&members.list));
        Ok(Response::new(MemberUpdateResponse { header, members }))
    }

    async fn member_list(
        &self,
        request: Request<MemberListRequest>,
    ) -> Result<Response<MemberListResponse>, Status> {
        let members = if request.get_ref().linearizable {
            self.members(&self.newest_members().await?.list)
        } else {
            self.members(&self.introspect.status().members)
        };
        let header = Some(self.header_without_revision());
        Ok(Response::new(MemberListResponse { header, members }))
    }

    async fn member_promote(
        &self,
        request: Request<MemberPromoteRequest>,
    ) -> Result<Response<MemberPromoteResponse>, Status> {
        let node = self.node_of(request.get_ref().id).await?;
        let (members, _) = self.change_members(MemberChange::Promote { node }).await?;
        let (header, members) = (Some(self.header_without_revision()), self.members(&members.list));
        Ok(Response::new(MemberPromoteResponse { header, members }))
    }
}

impl Service {
    async fn newest_members(&self) -> Result<Members, Status> {
        let members = self.client.members().await;
        Ok(members.map_err(|error| errors::of_client(&error))?.value)
    }

    async fn change_members(
        &self,
        change: MemberChange,
    ) -> Result<(Members, Option<NodeId>), Status> {
        let changed = self.client.change_members(change).await;
        Ok(changed.map_err(|error| errors::of_client(&error))?.value)
    }

    /// Which node etcd's number of a member stands for.
    async fn node_of(&self, id: u64) -> Result<NodeId, Status> {
        let members = self.newest_members().await?.list;
        let found = members.iter().find(|member| self.ids.member(member.node) == id);
        found.map(|member| member.node).ok_or_else(errors::member_not_found)
    }

    fn members(&self, members: &[wire::Member]) -> Vec<Member> {
        members.iter().map(|member| self.member(member)).collect()
    }

    fn member(&self, member: &wire::Member) -> Member {
        let is_known = !member.client_address.is_empty();
        Member {
            id: self.ids.member(member.node),
            name: if is_known { member.node.to_string() } else { String::new() },
            peer_ur_ls: urls(&member.peer_address, self.config.peers_have_tls),
            client_ur_ls: urls(&member.client_address, self.config.clients_have_tls),
            is_learner: member.part == Part::Learner,
        }
    }
}

/// A node that is alone has no address for others.
fn urls(address: &str, tls: bool) -> Vec<String> {
    let scheme = if tls { "https" } else { "http" };
    if address.is_empty() { Vec::new() } else { vec![format!("{scheme}://{address}")] }
}

/// The one address that the URLs of a member name: nodes are found at one.
fn address_of(urls: &[String]) -> Result<String, Status> {
    let [url] = urls else { return Err(errors::bad_member_urls()) };
    let address = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    let address = address.filter(|address| is_address(address));
    address.map(str::to_owned).ok_or_else(errors::bad_member_urls)
}

/// Whether it is a host and a port, and nothing behind them.
fn is_address(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let is_bare_v6 = host.contains(':') && !(host.starts_with('[') && host.ends_with(']'));
    let port: Option<u16> = port.parse().ok();
    !host.is_empty()
        && !is_bare_v6
        && port.is_some_and(|port| port > 0)
        && !host.contains(['/', '@'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_found_at_one_address() {
        let of = |urls: &[&str]| {
            address_of(&urls.iter().map(|url| (*url).to_owned()).collect::<Vec<_>>()).ok()
        };
        assert_eq!(of(&["http://10.0.0.4:9000"]).as_deref(), Some("10.0.0.4:9000"));
        assert_eq!(of(&["https://[::1]:9000"]).as_deref(), Some("[::1]:9000"));
        let wrong: [&[&str]; 9] = [
            &[],
            &[""],
            &["10.0.0.4:9000"],
            &["http://10.0.0.4"],
            &["http://10.0.0.4:0"],
            &["http://10.0.0.4:9000/x"],
            &["http://::1:9000"],
            &["unix://a:1"],
            &["http://a:1", "http://b:1"],
        ];
        for urls in wrong {
            assert_eq!(of(urls), None, "{urls:?}");
        }
    }
}
