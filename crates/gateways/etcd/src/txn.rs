//! Transactions: from the protocol's form to ours, and the answer back.
//!
//! A read of a past state can't be part of a logged command, and needs not be: the past does not
//! change, so it is read before. What one transaction may read is bounded ([`wire::Txn`] is executed by
//! every replica); a transaction that only reads has the rest read afterwards at its revision, one that
//! writes says `more` where a read was cut.

use std::collections::BTreeSet;
use std::pin::Pin;

use bytes::Bytes;
use client::Consistent;
use tonic::Status;
use wire::{
    Compare, Header, KeyRange, MAX_TXN_DEPTH, Op, OpResult, Operand, Operator, Revision, Txn,
    TxnResult,
};

use crate::budget::Share;
use crate::errors;
use crate::gateway::Service;
use crate::header::signed;
use crate::kv::{delete_of, mismatch, put_of};
use crate::pb::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use crate::pb::etcdserverpb::request_op::Request;
use crate::pb::etcdserverpb::response_op::Response;
use crate::pb::etcdserverpb::{
    self as pb, DeleteRangeRequest, DeleteRangeResponse, PutResponse, RangeResponse, RequestOp,
    ResponseHeader, ResponseOp, TxnRequest, TxnResponse,
};
use crate::range::{Gathered, Wanted, key_range, key_value};

/// How the answer of a transaction is put together.
#[derive(Debug)]
pub(crate) struct Plan {
    root: Branches,
    /// Reads of past states, wherever they stand in the transaction.
    past: Vec<Past>,
    writes: bool,
}

#[derive(Debug)]
struct Branches {
    then: Vec<Step>,
    otherwise: Vec<Step>,
}

/// One operation, as far as its answer needs to know it.
#[derive(Debug)]
enum Step {
    Put,
    Delete,
    /// A read within the transaction; `counted` if an operation that counts follows it.
    Read {
        wanted: Wanted,
        counted: bool,
    },
    /// A read of the past, by its place in [`Plan::past`].
    Past(usize),
    Txn(Branches),
}

#[derive(Debug)]
struct Past {
    wanted: Wanted,
    answer: RangeResponse,
}

impl Plan {
    /// Checks a transaction and takes it apart.
    pub(crate) fn of(request: TxnRequest, most_ops: usize) -> Result<(Self, Txn), Status> {
        check(&request, most_ops, 0)?;
        check_keys(&request)?;
        let mut making = Making { writes: writes(&request), past: Vec::new() };
        let (root, txn) = making.txn(request)?;
        Ok((Self { root, past: making.past, writes: making.writes }, txn))
    }

    /// Whether it may change something.
    pub(crate) fn writes(&self) -> bool {
        self.writes
    }

    /// Reads what is meant to be read of past states. Nothing is done if one of them is compacted or
    /// in the future.
    pub(crate) async fn read_past(
        &mut self,
        service: &Service,
        share: &mut Share,
    ) -> Result<(), Status> {
        for past in &mut self.past {
            past.answer = service.read_range(&past.wanted, share).await?;
        }
        Ok(())
    }

    /// The answer, from what the cluster says was done.
    pub(crate) async fn answer(
        self,
        service: &Service,
        done: Consistent<TxnResult>,
        share: &mut Share,
    ) -> Result<TxnResponse, Status> {
        let TxnResult { revision, succeeded, results } = done.value;
        let mut past = self.past.into_iter().map(|past| past.answer).collect();
        let mut answering = Answering {
            service,
            header: Header { revision, ..done.header },
            writes: self.writes,
            past: &mut past,
            share,
        };
        let responses = answering.branch(self.root, succeeded, results).await?;
        Ok(TxnResponse { header: Some(service.header(revision)), succeeded, responses })
    }
}

/// What every transaction must fulfil, as etcd checks it: `most` operations or comparisons on each
/// level, less those of the levels above.
fn check(txn: &TxnRequest, most: usize, depth: usize) -> Result<(), Status> {
    let count = txn.compare.len().max(txn.success.len()).max(txn.failure.len());
    if count > most {
        return Err(errors::too_many_ops());
    }
    if depth > MAX_TXN_DEPTH {
        return Err(Status::invalid_argument(format!(
            "etcdserver: transactions lie more than {MAX_TXN_DEPTH} deep in one another"
        )));
    }
    if txn.compare.iter().any(|compare| compare.key.is_empty()) {
        return Err(errors::empty_key());
    }
    for op in txn.success.iter().chain(&txn.failure) {
        match &op.request {
            Some(Request::RequestRange(range)) => drop(Wanted::of(range)?),
            Some(Request::RequestPut(put)) => drop(put_of(put.clone())?),
            Some(Request::RequestDeleteRange(delete)) => drop(delete_of(delete)?),
            Some(Request::RequestTxn(txn)) => check(txn, most - count, depth + 1)?,
            None => return Err(errors::empty_key()),
        }
    }
    Ok(())
}

/// No key is put twice, or both put and deleted, on any path through the transaction.
fn check_keys(txn: &TxnRequest) -> Result<(), Status> {
    changes(&txn.success)?;
    changes(&txn.failure)?;
    Ok(())
}

/// What a list of operations changes.
#[derive(Default)]
struct Changes {
    puts: BTreeSet<Bytes>,
    deletes: Vec<KeyRange>,
}

impl Changes {
    fn deletes(&self, key: &Bytes) -> bool {
        self.deletes.iter().any(|range| range.contains(key))
    }
}

fn changes(ops: &[RequestOp]) -> Result<Changes, Status> {
    let mut all = Changes::default();
    let requests = || ops.iter().filter_map(|op| op.request.as_ref());
    for request in requests() {
        if let Request::RequestDeleteRange(delete) = request {
            all.deletes.push(deleted(delete));
        }
    }
    for request in requests() {
        let Request::RequestTxn(txn) = request else { continue };
        let then = changes(&txn.success)?;
        let otherwise = changes(&txn.failure)?;
        for key in &then.puts {
            if all.deletes(key) || !all.puts.insert(key.clone()) {
                return Err(errors::duplicate_key());
            }
        }
        for key in otherwise.puts {
            // Only one of the branches is done, so both may put the same key.
            let twice = !all.puts.insert(key.clone()) && !then.puts.contains(&key);
            if twice || all.deletes(&key) {
                return Err(errors::duplicate_key());
            }
        }
        all.deletes.extend(then.deletes);
        all.deletes.extend(otherwise.deletes);
    }
    for request in requests() {
        if let Request::RequestPut(put) = request
            && (all.deletes(&put.key) || !all.puts.insert(put.key.clone()))
        {
            return Err(errors::duplicate_key());
        }
    }
    Ok(all)
}

/// What counts as deleted in that check. etcd sees only the first key of a range without an end, so
/// what its clients do with such ranges must go on working.
fn deleted(delete: &DeleteRangeRequest) -> KeyRange {
    match &delete.range_end[..] {
        [0] => KeyRange::single(delete.key.clone()),
        _ => key_range(&delete.key, &delete.range_end),
    }
}

/// Whether any path through it changes something.
fn writes(txn: &TxnRequest) -> bool {
    txn.success.iter().chain(&txn.failure).any(|op| match &op.request {
        Some(Request::RequestPut(_) | Request::RequestDeleteRange(_)) => true,
        Some(Request::RequestTxn(txn)) => writes(txn),
        Some(Request::RequestRange(_)) | None => false,
    })
}

/// A transaction on its way from the protocol's form to ours.
struct Making {
    writes: bool,
    past: Vec<Past>,
}

impl Making {
    fn txn(&mut self, request: TxnRequest) -> Result<(Branches, Txn), Status> {
        let mut compares = Vec::with_capacity(request.compare.len());
        for compare in request.compare {
            push_compare(compare, &mut compares)?;
        }
        let (then, then_ops) = self.branch(request.success)?;
        let (otherwise, otherwise_ops) = self.branch(request.failure)?;
        let txn = Txn { fences: Vec::new(), compares, then: then_ops, otherwise: otherwise_ops };
        Ok((Branches { then, otherwise }, txn))
    }

    fn branch(&mut self, requests: Vec<RequestOp>) -> Result<(Vec<Step>, Vec<Op>), Status> {
        let mut steps = Vec::with_capacity(requests.len());
        let mut ops = Vec::with_capacity(requests.len());
        for request in requests {
            steps.push(match request.request {
                Some(Request::RequestPut(put)) => {
                    ops.push(Op::Put(put_of(put)?));
                    Step::Put
                }
                Some(Request::RequestDeleteRange(delete)) => {
                    ops.push(delete_of(&delete)?);
                    Step::Delete
                }
                Some(Request::RequestRange(range)) => self.read(Wanted::of(&range)?, &mut ops),
                Some(Request::RequestTxn(txn)) => {
                    let (branches, txn) = self.txn(txn)?;
                    ops.push(Op::Txn(txn));
                    Step::Txn(branches)
                }
                None => return Err(errors::empty_key()),
            });
        }
        Ok((steps, ops))
    }

    fn read(&mut self, wanted: Wanted, ops: &mut Vec<Op>) -> Step {
        if wanted.revision.is_some() {
            self.past.push(Past { wanted, answer: RangeResponse::default() });
            return Step::Past(self.past.len() - 1);
        }
        ops.push(Op::Read(wanted.query()));
        // Of a transaction that writes nobody can read afterwards what a read in its midst left out.
        let counted = self.writes && wanted.may_be_cut();
        if counted {
            ops.push(Op::Read(wanted.count_query()));
        }
        Step::Read { wanted, counted }
    }
}

/// A comparison, in one or two of ours, or none if it holds in any case.
fn push_compare(compare: pb::Compare, compares: &mut Vec<Compare>) -> Result<(), Status> {
    let unknown = || Status::invalid_argument("etcdserver: unknown kind of comparison");
    let operator = match CompareResult::try_from(compare.result).map_err(|_| unknown())? {
        CompareResult::Equal => Operator::Equal,
        CompareResult::NotEqual => Operator::NotEqual,
        CompareResult::Greater => Operator::Greater,
        CompareResult::Less => Operator::Less,
    };
    let target = CompareTarget::try_from(compare.target).map_err(|_| unknown())?;
    let range = key_range(&compare.key, &compare.range_end);
    let exists = |range: &KeyRange| Compare {
        range: range.clone(),
        operator: Operator::Greater,
        operand: Operand::Version(0),
    };
    // An operand of another kind than the target counts as none, which is 0 or empty.
    let number = match (target, &compare.target_union) {
        (CompareTarget::Version, Some(TargetUnion::Version(number)))
        | (CompareTarget::Create, Some(TargetUnion::CreateRevision(number)))
        | (CompareTarget::Mod, Some(TargetUnion::ModRevision(number)))
        | (CompareTarget::Lease, Some(TargetUnion::Lease(number))) => *number,
        _ => 0,
    };
    let operand = match target {
        CompareTarget::Value => {
            // No comparison of values holds for an absent key, not even that it be another.
            compares.push(exists(&range));
            match compare.target_union {
                Some(TargetUnion::Value(value)) => Operand::Value(value),
                _ => Operand::Value(Bytes::new()),
            }
        }
        CompareTarget::Lease => Operand::Lease(number.cast_unsigned()),
        CompareTarget::Version | CompareTarget::Create | CompareTarget::Mod => {
            let Ok(number) = u64::try_from(number) else {
                // All our counters are greater than a negative number.
                if matches!(operator, Operator::Equal | Operator::Less) {
                    let operand = Operand::Version(0);
                    compares.push(Compare { range, operator: Operator::Less, operand });
                }
                return Ok(());
            };
            match target {
                CompareTarget::Version => Operand::Version(number),
                CompareTarget::Create => Operand::Created(Revision(number)),
                _ => Operand::Modified(Revision(number)),
            }
        }
    };
    compares.push(Compare { range, operator, operand });
    Ok(())
}

/// An answer on its way from our form to the protocol's.
struct Answering<'a> {
    service: &'a Service,
    header: Header,
    writes: bool,
    past: &'a mut Vec<RangeResponse>,
    share: &'a mut Share,
}

type Branch<'a> = Pin<Box<dyn Future<Output = Result<Vec<ResponseOp>, Status>> + Send + 'a>>;

impl Answering<'_> {
    fn branch(
        &mut self,
        branches: Branches,
        succeeded: bool,
        results: Vec<OpResult>,
    ) -> Branch<'_> {
        let steps = if succeeded { branches.then } else { branches.otherwise };
        Box::pin(async move {
            let mut responses = Vec::with_capacity(steps.len());
            let mut results = results.into_iter();
            for step in steps {
                let response = Some(self.response(step, &mut results).await?);
                responses.push(ResponseOp { response });
            }
            Ok(responses)
        })
    }

    async fn response(
        &mut self,
        step: Step,
        results: &mut impl Iterator<Item = OpResult>,
    ) -> Result<Response, Status> {
        let header = Some(self.header());
        let result = match step {
            Step::Past(at) => {
                let answer = self.past.get_mut(at).ok_or_else(mismatch)?;
                let answer = RangeResponse { header, ..std::mem::take(answer) };
                return Ok(Response::ResponseRange(answer));
            }
            _ => results.next(),
        };
        Ok(match (step, result) {
            (Step::Put, Some(OpResult::Put { previous })) => {
                self.share.grow_by(previous.as_slice())?;
                let prev_kv = previous.map(key_value);
                Response::ResponsePut(PutResponse { header, prev_kv })
            }
            (Step::Delete, Some(OpResult::Deleted { count, previous })) => {
                self.share.grow_by(&previous)?;
                let prev_kvs = previous.into_iter().map(key_value).collect();
                let deleted = signed(count);
                Response::ResponseDeleteRange(DeleteRangeResponse { header, deleted, prev_kvs })
            }
            (Step::Read { wanted, counted }, Some(OpResult::Read(page))) => {
                let count = match counted.then(|| results.next()) {
                    None => wanted.counts(&page),
                    Some(Some(OpResult::Read(page))) => Some(page.count),
                    Some(_) => return Err(mismatch()),
                };
                let mut gathered = Gathered::new(&wanted);
                gathered.take(page.items, self.share)?;
                let answer = if self.writes {
                    gathered.finish(page.more, count, self.share)
                } else {
                    let (at, share) = (self.header, &mut *self.share);
                    self.service.complete(gathered, page.more, count, at, share).await?
                };
                Response::ResponseRange(RangeResponse { header, ..answer })
            }
            (Step::Txn(branches), Some(OpResult::Txn { succeeded, results })) => {
                let responses = self.branch(branches, succeeded, results).await?;
                Response::ResponseTxn(TxnResponse { header, succeeded, responses })
            }
            _ => return Err(mismatch()),
        })
    }

    /// What stands in the answers within the answer: the revision alone.
    fn header(&self) -> ResponseHeader {
        ResponseHeader { revision: signed(self.header.revision.0), ..ResponseHeader::default() }
    }
}
