//! The lock service, over the layer of locks: etcd's own keys, so that whoever locks by this service
//! and whoever locks by a client's library exclude one another.
//!
//! The key that is answered and the revision that created it are a fencing token; `cairn-fence` takes
//! it on every write ([`crate::fence`]).

use std::time::Duration;

use layer_lock::{Error, Lock as NamedLock, Session};
use tokio::sync::oneshot;
use tonic::{Code, Request, Response, Status};
use wire::{KeyRange, Op, Txn};

use crate::errors;
use crate::fence;
use crate::gateway::Service;
use crate::pb::v3lockpb::lock_server::Lock;
use crate::pb::v3lockpb::{LockRequest, LockResponse, UnlockRequest, UnlockResponse};

/// How long a lease lives that is granted to a client which names none.
const LENT_TTL: Duration = Duration::from_mins(1);

#[tonic::async_trait]
impl Lock for Service {
    async fn lock(&self, request: Request<LockRequest>) -> Result<Response<LockResponse>, Status> {
        let place = self.waiting_place()?;
        let LockRequest { name, lease } = request.into_inner();
        let service = self.clone();
        until_dropped(|gone| async move {
            let _place = place;
            let lease = Lent::of(&service, lease).await?;
            let held = NamedLock::new(&service.client, name).acquire(lease.id, gone).await;
            let Some(held) = lease.settle(&service, held).await? else { return Err(cancelled()) };
            Ok(Response::new(LockResponse {
                header: Some(service.header(held.revision())),
                key: held.key().clone(),
            }))
        })
        .await
    }

    async fn unlock(
        &self,
        request: Request<UnlockRequest>,
    ) -> Result<Response<UnlockResponse>, Status> {
        let _place = self.place()?;
        let fences = fence::of(request.metadata())?;
        let key = request.into_inner().key;
        check_key(&key)?;
        let delete = Op::delete(KeyRange::single(key));
        let done = self.client.txn(Txn { fences, ..Txn::always(vec![delete]) }).await;
        let done = done.map_err(|error| without_code(errors::of_client(&error)))?;
        Ok(Response::new(UnlockResponse { header: Some(self.header(done.revision)) }))
    }
}

/// Does something that must not be dropped half-way: when its caller is gone, it is told so, and goes
/// on to its end by itself.
pub(crate) async fn until_dropped<T, F, G>(work: F) -> Result<T, Status>
where
    T: Send + 'static,
    F: FnOnce(Gone) -> G,
    G: Future<Output = Result<T, Status>> + Send + 'static,
{
    let (_here, gone) = oneshot::channel::<()>();
    let work = tokio::spawn(work(Box::pin(async move {
        // Nothing is ever sent: it ends when the other half is dropped.
        let _ = gone.await;
    })));
    work.await.unwrap_or_else(|error| Err(Status::internal(format!("etcdserver: {error}"))))
}

/// Ready when the caller is gone.
pub(crate) type Gone = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

/// Nobody reads this.
pub(crate) fn cancelled() -> Status {
    Status::cancelled("context canceled")
}

/// The lease that a client names; or one that is granted to it, kept alive as long as it waits.
pub(crate) struct Lent {
    pub(crate) id: u64,
    session: Option<Session>,
}

impl Lent {
    pub(crate) async fn of(service: &Service, lease: i64) -> Result<Self, Status> {
        if lease != 0 {
            return Ok(Self { id: lease.cast_unsigned(), session: None });
        }
        // Named so that nobody can guess it: whoever knows a lease's name can end it.
        let (lease, _) = service.grant(0, LENT_TTL).await.map_err(without_code)?;
        let session = Session::adopt(&service.client, lease).await;
        let session = session.map_err(|error| of_layer(&error, SESSION_EXPIRED))?;
        Ok(Self { id: session.lease(), session: Some(session) })
    }

    /// The client waits no more. If it got what it waited for, a lease that was granted to it has all
    /// its time before it; otherwise that is revoked.
    pub(crate) async fn settle<T>(
        self,
        service: &Service,
        got: Result<Option<T>, Error>,
    ) -> Result<Option<T>, Status> {
        if let Some(session) = self.session {
            if matches!(got, Ok(Some(_))) {
                drop(session);
                // If this fails, what is left of its time must do.
                let _ = service.client.keep_alive(self.id).await;
            } else {
                // If this fails, it ends by itself.
                let _ = session.close().await;
            }
        }
        got.map_err(|error| of_layer(&error, SESSION_EXPIRED))
    }
}

/// How etcd says that the key of a lock is gone.
pub(crate) const SESSION_EXPIRED: &str = "mutex: session is expired";

/// An error of the layer in etcd's words; `gone` is what it says of a key that is gone.
pub(crate) fn of_layer(error: &Error, gone: &str) -> Status {
    match error {
        Error::Gone => Status::unknown(gone),
        Error::NotLeader => Status::unknown("election: not leader"),
        Error::Client(error) => without_code(errors::of_client(error)),
    }
}

/// A refusal as etcd's two services tell it: in the same words as elsewhere, but with no code. Only
/// what may go better on another node or later keeps its own, for clients repeat it then.
pub(crate) fn without_code(status: Status) -> Status {
    match status.code() {
        Code::InvalidArgument | Code::NotFound | Code::FailedPrecondition | Code::OutOfRange => {
            Status::unknown(status.message())
        }
        _ => status,
    }
}

/// Refuses a key that can't be one.
pub(crate) fn check_key(key: &[u8]) -> Result<(), Status> {
    if key.is_empty() {
        return Err(without_code(errors::empty_key()));
    }
    wire::check_key(key).map_err(|refusal| without_code(errors::of_refusal(&refusal)))
}
