//! Which members there are. They change with a later release.

use tonic::{Request, Response, Status};
use wire::NodeStatus;

use crate::errors;
use crate::gateway::Service;
use crate::pb::etcdserverpb::cluster_server::Cluster;
use crate::pb::etcdserverpb::{
    Member, MemberAddRequest, MemberAddResponse, MemberListRequest, MemberListResponse,
    MemberPromoteRequest, MemberPromoteResponse, MemberRemoveRequest, MemberRemoveResponse,
    MemberUpdateRequest, MemberUpdateResponse,
};

/// What is answered to whoever wants to change the members.
const CHANGE: &str = "a change of members";

#[tonic::async_trait]
impl Cluster for Service {
    async fn member_add(
        &self,
        _request: Request<MemberAddRequest>,
    ) -> Result<Response<MemberAddResponse>, Status> {
        Err(errors::not_yet(CHANGE))
    }

    async fn member_remove(
        &self,
        _request: Request<MemberRemoveRequest>,
    ) -> Result<Response<MemberRemoveResponse>, Status> {
        Err(errors::not_yet(CHANGE))
    }

    async fn member_update(
        &self,
        _request: Request<MemberUpdateRequest>,
    ) -> Result<Response<MemberUpdateResponse>, Status> {
        Err(errors::not_yet(CHANGE))
    }

    async fn member_list(
        &self,
        _request: Request<MemberListRequest>,
    ) -> Result<Response<MemberListResponse>, Status> {
        // The configuration names them, and it is the same as long as the process runs: there is no
        // newer list that another node could have.
        let members = self.members(&self.introspect.status());
        let header = Some(self.header_without_revision());
        Ok(Response::new(MemberListResponse { header, members }))
    }

    async fn member_promote(
        &self,
        _request: Request<MemberPromoteRequest>,
    ) -> Result<Response<MemberPromoteResponse>, Status> {
        Err(errors::not_yet(CHANGE))
    }
}

impl Service {
    fn members(&self, status: &NodeStatus) -> Vec<Member> {
        let members = status.members.iter().map(|member| Member {
            id: self.ids.member(member.node),
            name: member.node.to_string(),
            peer_ur_ls: urls(&member.peer_address, self.config.peers_have_tls),
            client_ur_ls: urls(&member.client_address, self.config.clients_have_tls),
            is_learner: false,
        });
        members.collect()
    }
}

/// A node that is alone has no address for others.
fn urls(address: &str, tls: bool) -> Vec<String> {
    let scheme = if tls { "https" } else { "http" };
    if address.is_empty() { Vec::new() } else { vec![format!("{scheme}://{address}")] }
}
