//! The election service, over the layer of elections: etcd's own keys, so that candidates by this
//! service and by a client's library stand in one queue.

use layer_lock::{Election as NamedElection, Leadership};
use tonic::{Request, Response, Status};
use wire::Revision;

use crate::gateway::Service;
use crate::header::signed;
use crate::lock::{Lent, cancelled, check_key, of_layer, until_dropped};
use crate::pb::v3electionpb::election_server::Election;
use crate::pb::v3electionpb::{
    CampaignRequest, CampaignResponse, LeaderKey, LeaderRequest, LeaderResponse, ProclaimRequest,
    ProclaimResponse, ResignRequest, ResignResponse,
};
use crate::range::key_value;
use crate::stream::{Answers, unfold};

/// How etcd says that a candidate's key is gone.
const NOT_LEADER: &str = "election: not leader";

#[tonic::async_trait]
impl Election for Service {
    type ObserveStream = Answers<LeaderResponse>;

    async fn campaign(
        &self,
        request: Request<CampaignRequest>,
    ) -> Result<Response<CampaignResponse>, Status> {
        let place = self.waiting_place()?;
        let CampaignRequest { name, lease, value } = request.into_inner();
        let service = self.clone();
        until_dropped(|gone| async move {
            let _place = place;
            let lease = Lent::of(&service, lease).await?;
            let election = NamedElection::new(&service.client, name.clone());
            let won = election.campaign(lease.id, value, gone).await;
            let Some(won) = lease.settle(&service, won).await? else { return Err(cancelled()) };
            let leader = LeaderKey {
                name,
                key: won.key().clone(),
                rev: signed(won.sequencer().token.0),
                lease: won.lease().cast_signed(),
            };
            let header = Some(service.header(won.revision()));
            Ok(Response::new(CampaignResponse { header, leader: Some(leader) }))
        })
        .await
    }

    async fn proclaim(
        &self,
        request: Request<ProclaimRequest>,
    ) -> Result<Response<ProclaimResponse>, Status> {
        let _place = self.place()?;
        let ProclaimRequest { leader, value } = request.into_inner();
        let done = self.leadership(leader)?.proclaim(value).await;
        let revision = done.map_err(|error| of_layer(&error, NOT_LEADER))?;
        Ok(Response::new(ProclaimResponse { header: Some(self.header(revision)) }))
    }

    async fn leader(
        &self,
        request: Request<LeaderRequest>,
    ) -> Result<Response<LeaderResponse>, Status> {
        let _place = self.place()?;
        let election = NamedElection::new(&self.client, request.into_inner().name);
        let (header, leader) =
            election.leader().await.map_err(|error| of_layer(&error, NOT_LEADER))?;
        let leader = leader.ok_or_else(|| Status::unknown("election: no leader"))?;
        let header = Some(self.header(header.revision));
        Ok(Response::new(LeaderResponse { header, kv: Some(key_value(leader)) }))
    }

    async fn observe(
        &self,
        request: Request<LeaderRequest>,
    ) -> Result<Response<Self::ObserveStream>, Status> {
        let place = self.waiting_place()?;
        let election = NamedElection::new(&self.client, request.into_inner().name);
        let state = (self.clone(), election.observe(), place);
        let seen = unfold(state, |(service, mut observer, place)| async move {
            let seen = match observer.next().await {
                Ok(seen) => Ok(LeaderResponse {
                    header: Some(service.header(seen.revision)),
                    kv: Some(key_value(seen.item)),
                }),
                Err(error) => Err(of_layer(&error, NOT_LEADER)),
            };
            (Some(seen), (service, observer, place))
        });
        Ok(Response::new(seen))
    }

    async fn resign(
        &self,
        request: Request<ResignRequest>,
    ) -> Result<Response<ResignResponse>, Status> {
        let _place = self.place()?;
        let done = self.leadership(request.into_inner().leader)?.resign().await;
        let revision = done.map_err(|error| of_layer(&error, NOT_LEADER))?;
        Ok(Response::new(ResignResponse { header: Some(self.header(revision)) }))
    }
}

impl Service {
    /// The leadership that a request names.
    fn leadership(&self, leader: Option<LeaderKey>) -> Result<Leadership, Status> {
        let Some(LeaderKey { name, key, rev, lease }) = leader else {
            return Err(Status::unknown("\"leader\" field must be provided"));
        };
        check_key(&key)?;
        // Nothing was created at a revision below 1: 0 would mean "absent", and must not slip in. So it
        // becomes one at which nothing will ever be created.
        let created = u64::try_from(rev).ok().filter(|rev| *rev > 0).unwrap_or(u64::MAX);
        let election = NamedElection::new(&self.client, name);
        Ok(election.resume(key, Revision(created), lease.cast_unsigned()))
    }
}
