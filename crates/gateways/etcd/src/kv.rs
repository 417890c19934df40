//! Keys and values.

use client::{Consistent, WriteOptions};
use tonic::{Request, Response, Status};
use wire::{Body, Op, OpResult, Put, Revision, Txn, TxnResult};

use crate::errors;
use crate::fence;
use crate::gateway::Service;
use crate::header::signed;
use crate::pb::etcdserverpb::kv_server::Kv;
use crate::pb::etcdserverpb::{
    CompactionRequest, CompactionResponse, DeleteRangeRequest, DeleteRangeResponse, PutRequest,
    PutResponse, RangeRequest, RangeResponse, RangeStreamResponse, TxnRequest, TxnResponse,
};
use crate::range::{Parts, Wanted, key_range, key_value};
use crate::stream::{Answers, unfold};
use crate::txn::Plan;

#[tonic::async_trait]
impl Kv for Service {
    async fn range(
        &self,
        request: Request<RangeRequest>,
    ) -> Result<Response<RangeResponse>, Status> {
        let _place = self.place()?;
        let wanted = Wanted::of(request.get_ref())?;
        let mut share = self.budget.share();
        let answer = self.read_range(&wanted, &mut share).await?;
        Ok(share.keep(answer))
    }

    type RangeStreamStream = Answers<RangeStreamResponse>;

    async fn range_stream(
        &self,
        request: Request<RangeRequest>,
    ) -> Result<Response<Self::RangeStreamStream>, Status> {
        let place = self.place()?;
        let wanted = Wanted::of(request.get_ref())?;
        let mut share = self.budget.share();
        if !wanted.is_in_key_order() {
            let answer = self.read_range(&wanted, &mut share).await?;
            let parts = unfold((Some(answer), share, place), |(answer, share, place)| async move {
                let part = answer.map(|part| RangeStreamResponse { range_response: Some(part) });
                (part.map(Ok), (None, share, place))
            });
            return Ok(Response::new(parts));
        }
        let parts = Parts::new(self.clone(), wanted);
        let parts = unfold((parts, share, place), |(mut parts, mut share, place)| async move {
            // What was sent before has left.
            share.shrink(usize::MAX);
            let part = match parts.next().await {
                Ok(part) => part.map(|part| {
                    share.grow(prost::Message::encoded_len(&part))?;
                    Ok(RangeStreamResponse { range_response: Some(part) })
                }),
                Err(fault) => Some(Err(Status::from(fault))),
            };
            (part, (parts, share, place))
        });
        Ok(Response::new(parts))
    }

    async fn put(&self, request: Request<PutRequest>) -> Result<Response<PutResponse>, Status> {
        let _place = self.place()?;
        let fences = fence::of(request.metadata())?;
        let op = Op::Put(put_of(request.into_inner())?);
        let done = self.write(Txn { fences, ..Txn::always(vec![op]) }).await?;
        let OpResult::Put { previous } = sole(done.value.results)? else {
            return Err(mismatch());
        };
        let mut share = self.budget.share_of_done();
        share.grow_by(previous.as_slice())?;
        Ok(share.keep(PutResponse {
            header: Some(self.header(done.value.revision)),
            prev_kv: previous.map(key_value),
        }))
    }

    async fn delete_range(
        &self,
        request: Request<DeleteRangeRequest>,
    ) -> Result<Response<DeleteRangeResponse>, Status> {
        let _place = self.place()?;
        let fences = fence::of(request.metadata())?;
        let op = delete_of(request.get_ref())?;
        let done = self.write(Txn { fences, ..Txn::always(vec![op]) }).await?;
        let OpResult::Deleted { count, previous } = sole(done.value.results)? else {
            return Err(mismatch());
        };
        let mut share = self.budget.share_of_done();
        share.grow_by(&previous)?;
        Ok(share.keep(DeleteRangeResponse {
            header: Some(self.header(done.value.revision)),
            deleted: signed(count),
            prev_kvs: previous.into_iter().map(key_value).collect(),
        }))
    }

    async fn txn(&self, request: Request<TxnRequest>) -> Result<Response<TxnResponse>, Status> {
        let _place = self.place()?;
        let fences = fence::of(request.metadata())?;
        let (mut plan, txn) = Plan::of(request.into_inner(), self.config.txn_ops)?;
        let mut share = self.budget.share();
        plan.read_past(self, &mut share).await?;
        let done = self.write(Txn { fences, ..txn }).await?;
        if plan.writes() {
            share.is_done();
        }
        let answer = plan.answer(self, done, &mut share).await?;
        Ok(share.keep(answer))
    }

    async fn compact(
        &self,
        request: Request<CompactionRequest>,
    ) -> Result<Response<CompactionResponse>, Status> {
        let _place = self.place()?;
        // `physical` asks to wait until the space has come back. Here what is compacted is out of
        // sight at once, and its space comes back by itself: there is nothing to wait for.
        let revision = request.get_ref().revision;
        let before = u64::try_from(revision).map(Revision).map_err(|_| errors::compacted())?;
        let body = Body::Compact { before };
        let done = self.client.execute(body, WriteOptions::default()).await;
        let done = done.map_err(|error| errors::of_client(&error))?;
        let header = Some(self.header(done.header.revision));
        Ok(Response::new(CompactionResponse { header }))
    }
}

impl Service {
    /// Has a transaction done.
    pub(crate) async fn write(&self, txn: Txn) -> Result<Consistent<TxnResult>, Status> {
        let done = self.client.execute(Body::Txn(txn), WriteOptions::default()).await;
        done.map_err(|error| errors::of_client(&error))
    }
}

/// A put, checked.
pub(crate) fn put_of(request: PutRequest) -> Result<Put, Status> {
    if request.key.is_empty() {
        return Err(errors::empty_key());
    }
    if request.ignore_value && !request.value.is_empty() {
        return Err(errors::value_provided());
    }
    if request.ignore_lease && request.lease != 0 {
        return Err(errors::lease_provided());
    }
    Ok(Put {
        key: request.key,
        value: (!request.ignore_value).then_some(request.value),
        lease: (!request.ignore_lease).then_some(request.lease.cast_unsigned()),
        previous: request.prev_kv,
    })
}

/// A deletion, checked.
pub(crate) fn delete_of(request: &DeleteRangeRequest) -> Result<Op, Status> {
    if request.key.is_empty() {
        return Err(errors::empty_key());
    }
    let range = key_range(&request.key, &request.range_end);
    Ok(Op::Delete { range, previous: request.prev_kv })
}

fn sole(results: Vec<OpResult>) -> Result<OpResult, Status> {
    <[OpResult; 1]>::try_from(results).map(|[result]| result).map_err(|_| mismatch())
}

/// The answer belongs to another request. The write is done nevertheless.
pub(crate) fn mismatch() -> Status {
    Status::internal("etcdserver: it is done, but a node answered with something else")
}
