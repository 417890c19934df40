//! The election service.

use tonic::{Request, Response, Status};

use crate::errors;
use crate::gateway::Service;
use crate::pb::v3electionpb::election_server::Election;
use crate::pb::v3electionpb::{
    CampaignRequest, CampaignResponse, LeaderRequest, LeaderResponse, ProclaimRequest,
    ProclaimResponse, ResignRequest, ResignResponse,
};
use crate::stream::Answers;

#[tonic::async_trait]
impl Election for Service {
    type ObserveStream = Answers<LeaderResponse>;

    async fn campaign(
        &self,
        _request: Request<CampaignRequest>,
    ) -> Result<Response<CampaignResponse>, Status> {
        Err(errors::not_yet("the election service"))
    }

    async fn proclaim(
        &self,
        _request: Request<ProclaimRequest>,
    ) -> Result<Response<ProclaimResponse>, Status> {
        Err(errors::not_yet("the election service"))
    }

    async fn leader(
        &self,
        _request: Request<LeaderRequest>,
    ) -> Result<Response<LeaderResponse>, Status> {
        Err(errors::not_yet("the election service"))
    }

    async fn observe(
        &self,
        _request: Request<LeaderRequest>,
    ) -> Result<Response<Self::ObserveStream>, Status> {
        Err(errors::not_yet("the election service"))
    }

    async fn resign(
        &self,
        _request: Request<ResignRequest>,
    ) -> Result<Response<ResignResponse>, Status> {
        Err(errors::not_yet("the election service"))
    }
}
