//! Users, roles and permissions; and in whose name a request is.
//!
//! Who somebody is, the request says: by a token in its metadata, as clients of etcd send it, or by the
//! certificate of its connection. What he may, the nodes say; so every other service here only has to ask
//! in the right name. Passwords end here: the log holds what the guard made of them.

use std::sync::Arc;

use client::{Caller, Client, Guard};
use http::Request as HttpRequest;
use http::header::AUTHORIZATION;
use tonic::{Request, Response, Status};
use wire::{
    Access, AuthAnswer, AuthChange, AuthQuestion, Hidden, KeyRange, Permission, Principal, Refusal,
};

use crate::errors;
use crate::gateway::Service;
use crate::pb::authpb;
use crate::pb::etcdserverpb::auth_server::Auth;
use crate::pb::etcdserverpb::{
    AuthDisableRequest, AuthDisableResponse, AuthEnableRequest, AuthEnableResponse,
    AuthRoleAddRequest, AuthRoleAddResponse, AuthRoleDeleteRequest, AuthRoleDeleteResponse,
    AuthRoleGetRequest, AuthRoleGetResponse, AuthRoleGrantPermissionRequest,
    AuthRoleGrantPermissionResponse, AuthRoleListRequest, AuthRoleListResponse,
    AuthRoleRevokePermissionRequest, AuthRoleRevokePermissionResponse, AuthStatusRequest,
    AuthStatusResponse, AuthUserAddRequest, AuthUserAddResponse, AuthUserChangePasswordRequest,
    AuthUserChangePasswordResponse, AuthUserDeleteRequest, AuthUserDeleteResponse,
    AuthUserGetRequest, AuthUserGetResponse, AuthUserGrantRoleRequest, AuthUserGrantRoleResponse,
    AuthUserListRequest, AuthUserListResponse, AuthUserRevokeRoleRequest,
    AuthUserRevokeRoleResponse, AuthenticateRequest, AuthenticateResponse, ResponseHeader,
};
use crate::range::key_range;

/// Where the token of a call stands. In the JSON form it is `Authorization`.
const TOKEN: &str = "token";

/// What is answered whoever asks: a client whose token is too old sends it here all the same, and here
/// gets a new one.
const FOR_ANYBODY: [&str; 6] = [
    "/etcdserverpb.Auth/Authenticate",
    "/v3/auth/authenticate",
    "/etcdserverpb.Maintenance/Status",
    "/v3/maintenance/status",
    "/version",
    "/health",
];

/// Who asks on a stream that may outlive his token.
pub(crate) struct Asker {
    /// Asks in his name.
    pub(crate) client: Client,
    guard: Arc<dyn Guard>,
    token: Option<Arc<str>>,
}

impl Asker {
    /// Whoever this client asks for, known without a token.
    #[cfg(test)]
    pub(crate) fn of(client: Client, guard: Arc<dyn Guard>) -> Self {
        Self { client, guard, token: None }
    }

    /// Whether what proved who he is would prove it still. A certificate does as long as its connection
    /// lives.
    pub(crate) async fn is_still_known(&self) -> Result<(), Refusal> {
        match &self.token {
            None => Ok(()),
            Some(token) => self.guard.verify(token).await.map(drop),
        }
    }
}

/// What a request says of who sent it.
pub(crate) enum Proof {
    /// Nothing, or nobody wants to know.
    None,
    /// This token.
    Token(Arc<str>),
    /// The certificate of its connection, which bears this user's name.
    Certificate(Principal),
}

/// What a request says of who sent it.
pub(crate) fn proof_of<B>(request: &HttpRequest<B>) -> Proof {
    if FOR_ANYBODY.contains(&request.uri().path()) {
        return Proof::None;
    }
    match (token_of(request), certified(request)) {
        (Some(token), _) => Proof::Token(Arc::from(token)),
        (None, Some(principal)) => Proof::Certificate(principal),
        (None, None) => Proof::None,
    }
}

/// The services in the name of whoever proved so who he is.
pub(crate) async fn service_for(
    service: &Arc<Service>,
    proof: Proof,
) -> Result<Arc<Service>, Status> {
    let (principal, token) = match proof {
        Proof::None => return Ok(Arc::clone(service)),
        Proof::Certificate(principal) => (Some(principal), None),
        Proof::Token(token) => {
            let principal = service.guard.verify(&token).await;
            (principal.map_err(|refusal| errors::of_refusal(&refusal))?, Some(token))
        }
    };
    let client = service.client.in_name_of(principal);
    Ok(Arc::new(Service { client, token, ..Service::clone(service) }))
}

fn token_of<B>(request: &HttpRequest<B>) -> Option<&str> {
    let headers = request.headers();
    let said = headers.get(TOKEN).or_else(|| headers.get(AUTHORIZATION))?.to_str().ok()?;
    Some(said.strip_prefix("Bearer ").unwrap_or(said))
}

fn certified<B>(request: &HttpRequest<B>) -> Option<Principal> {
    let caller = request.extensions().get::<Arc<Caller>>()?;
    caller.common_name().filter(|name| !name.is_empty()).map(Principal::of_certificate)
}

impl Service {
    /// Who asks, for a stream.
    pub(crate) fn asker(&self) -> Asker {
        let (client, guard) = (self.client.clone(), Arc::clone(&self.guard));
        Asker { client, guard, token: self.token.clone() }
    }

    async fn change(&self, change: AuthChange) -> Result<Option<ResponseHeader>, Status> {
        let done = self.client.change_auth(change).await;
        let done = done.map_err(|error| errors::of_client(&error))?;
        Ok(Some(self.header(done.header.revision)))
    }

    async fn ask(
        &self,
        question: AuthQuestion,
    ) -> Result<(Option<ResponseHeader>, AuthAnswer), Status> {
        let told = self.client.ask_auth(question).await;
        let told = told.map_err(|error| errors::of_client(&error))?;
        Ok((Some(self.header(told.header.revision)), told.value))
    }

    async fn names(
        &self,
        question: AuthQuestion,
    ) -> Result<(Option<ResponseHeader>, Vec<String>), Status> {
        match self.ask(question).await? {
            (header, AuthAnswer::Names(names)) => Ok((header, names)),
            _ => Err(mismatch()),
        }
    }

    /// Refuses whoever is not root, as far as services are concerned that no node judges.
    pub(crate) async fn must_be_root(&self) -> Result<(), Status> {
        if !self.guard.is_enabled() {
            return Ok(());
        }
        self.ask(AuthQuestion::Status).await.map(drop)
    }

    async fn hash(&self, password: String) -> Result<Hidden, Status> {
        let hashed = self.guard.hash(Hidden(password.into())).await;
        hashed.map_err(|refusal| errors::of_refusal(&refusal))
    }
}

fn mismatch() -> Status {
    Status::internal("etcdserver: a node answered with something else")
}

/// A name, or etcd's words for its absence.
fn user(name: String) -> Result<String, Status> {
    if name.is_empty() { Err(errors::user_empty()) } else { Ok(name) }
}

fn role(name: String) -> Result<String, Status> {
    if name.is_empty() { Err(errors::role_empty()) } else { Ok(name) }
}

fn permission(given: &authpb::Permission) -> Result<Permission, Status> {
    let access = match authpb::permission::Type::try_from(given.perm_type) {
        Ok(authpb::permission::Type::Read) => Access::Read,
        Ok(authpb::permission::Type::Write) => Access::Write,
        Ok(authpb::permission::Type::Readwrite) => Access::ReadWrite,
        Err(_) => return Err(errors::invalid_auth_management()),
    };
    Ok(Permission { access, range: key_range(&given.key, &given.range_end) })
}

/// As clients of etcd know ranges: one key has no end, and one byte of 0 stands for no end at all.
fn told(permission: Permission) -> authpb::Permission {
    let Permission { access, range } = permission;
    let perm_type = match access {
        Access::Read => authpb::permission::Type::Read,
        Access::Write => authpb::permission::Type::Write,
        Access::ReadWrite => authpb::permission::Type::Readwrite,
    };
    let single = range.is_single();
    let KeyRange { start, end } = range;
    let range_end = match end {
        Some(_) if single => Vec::new().into(),
        Some(end) => end,
        None => vec![0].into(),
    };
    authpb::Permission { perm_type: i32::from(perm_type), key: start, range_end }
}

#[tonic::async_trait]
impl Auth for Service {
    async fn auth_enable(
        &self,
        _request: Request<AuthEnableRequest>,
    ) -> Result<Response<AuthEnableResponse>, Status> {
        let secret = self.guard.draw_secret();
        let header = self.change(AuthChange::Enable { secret }).await?;
        Ok(Response::new(AuthEnableResponse { header }))
    }

    async fn auth_disable(
        &self,
        _request: Request<AuthDisableRequest>,
    ) -> Result<Response<AuthDisableResponse>, Status> {
        let header = self.change(AuthChange::Disable).await?;
        Ok(Response::new(AuthDisableResponse { header }))
    }

    async fn auth_status(
        &self,
        _request: Request<AuthStatusRequest>,
    ) -> Result<Response<AuthStatusResponse>, Status> {
        match self.ask(AuthQuestion::Status).await? {
            (header, AuthAnswer::Status { enabled, revision }) => {
                let auth_revision = revision;
                Ok(Response::new(AuthStatusResponse { header, enabled, auth_revision }))
            }
            _ => Err(mismatch()),
        }
    }

    async fn authenticate(
        &self,
        request: Request<AuthenticateRequest>,
    ) -> Result<Response<AuthenticateResponse>, Status> {
        let AuthenticateRequest { name, password } = request.into_inner();
        let proven = self.client.authenticate(name, Hidden(password.into())).await;
        let proven = proven.map_err(|error| errors::of_client(&error))?;
        let token = self.guard.issue(&proven.value, &proven.header);
        let token = token.map_err(|refusal| errors::of_refusal(&refusal))?;
        let header = Some(self.header(proven.header.revision));
        Ok(Response::new(AuthenticateResponse { header, token }))
    }

    async fn user_add(
        &self,
        request: Request<AuthUserAddRequest>,
    ) -> Result<Response<AuthUserAddResponse>, Status> {
        let AuthUserAddRequest { name, password, options, .. } = request.into_inner();
        let user = user(name)?;
        let password = match options {
            Some(options) if options.no_password => None,
            _ => Some(self.hash(password).await?),
        };
        let header = self.change(AuthChange::UserAdd { user, password }).await?;
        Ok(Response::new(AuthUserAddResponse { header }))
    }

    async fn user_get(
        &self,
        request: Request<AuthUserGetRequest>,
    ) -> Result<Response<AuthUserGetResponse>, Status> {
        let (header, roles) = self.names(AuthQuestion::User(request.into_inner().name)).await?;
        Ok(Response::new(AuthUserGetResponse { header, roles }))
    }

    async fn user_list(
        &self,
        _request: Request<AuthUserListRequest>,
    ) -> Result<Response<AuthUserListResponse>, Status> {
        let (header, users) = self.names(AuthQuestion::Users).await?;
        Ok(Response::new(AuthUserListResponse { header, users }))
    }

    async fn user_delete(
        &self,
        request: Request<AuthUserDeleteRequest>,
    ) -> Result<Response<AuthUserDeleteResponse>, Status> {
        let user = user(request.into_inner().name)?;
        let header = self.change(AuthChange::UserDelete { user }).await?;
        Ok(Response::new(AuthUserDeleteResponse { header }))
    }

    async fn user_change_password(
        &self,
        request: Request<AuthUserChangePasswordRequest>,
    ) -> Result<Response<AuthUserChangePasswordResponse>, Status> {
        let AuthUserChangePasswordRequest { name, password, .. } = request.into_inner();
        let (user, password) = (user(name)?, self.hash(password).await?);
        let header = self.change(AuthChange::UserPassword { user, password }).await?;
        Ok(Response::new(AuthUserChangePasswordResponse { header }))
    }

    async fn user_grant_role(
        &self,
        request: Request<AuthUserGrantRoleRequest>,
    ) -> Result<Response<AuthUserGrantRoleResponse>, Status> {
        let AuthUserGrantRoleRequest { user: name, role: of } = request.into_inner();
        let (user, role) = (user(name)?, role(of)?);
        let header = self.change(AuthChange::UserGrant { user, role }).await?;
        Ok(Response::new(AuthUserGrantRoleResponse { header }))
    }

    async fn user_revoke_role(
        &self,
        request: Request<AuthUserRevokeRoleRequest>,
    ) -> Result<Response<AuthUserRevokeRoleResponse>, Status> {
        let AuthUserRevokeRoleRequest { name, role: of } = request.into_inner();
        let (user, role) = (user(name)?, role(of)?);
        let header = self.change(AuthChange::UserRevoke { user, role }).await?;
        Ok(Response::new(AuthUserRevokeRoleResponse { header }))
    }

    async fn role_add(
        &self,
        request: Request<AuthRoleAddRequest>,
    ) -> Result<Response<AuthRoleAddResponse>, Status> {
        let role = role(request.into_inner().name)?;
        let header = self.change(AuthChange::RoleAdd { role }).await?;
        Ok(Response::new(AuthRoleAddResponse { header }))
    }

    async fn role_get(
        &self,
        request: Request<AuthRoleGetRequest>,
    ) -> Result<Response<AuthRoleGetResponse>, Status> {
        let role = request.into_inner().role;
        match self.ask(AuthQuestion::Role(role)).await? {
            (header, AuthAnswer::Permissions(permissions)) => {
                let perm = permissions.into_iter().map(told).collect();
                Ok(Response::new(AuthRoleGetResponse { header, perm }))
            }
            _ => Err(mismatch()),
        }
    }

    async fn role_list(
        &self,
        _request: Request<AuthRoleListRequest>,
    ) -> Result<Response<AuthRoleListResponse>, Status> {
        let (header, roles) = self.names(AuthQuestion::Roles).await?;
        Ok(Response::new(AuthRoleListResponse { header, roles }))
    }

    async fn role_delete(
        &self,
        request: Request<AuthRoleDeleteRequest>,
    ) -> Result<Response<AuthRoleDeleteResponse>, Status> {
        let role = role(request.into_inner().role)?;
        let header = self.change(AuthChange::RoleDelete { role }).await?;
        Ok(Response::new(AuthRoleDeleteResponse { header }))
    }

    async fn role_grant_permission(
        &self,
        request: Request<AuthRoleGrantPermissionRequest>,
    ) -> Result<Response<AuthRoleGrantPermissionResponse>, Status> {
        let AuthRoleGrantPermissionRequest { name, perm } = request.into_inner();
        let role = role(name)?;
        let permission = permission(&perm.ok_or_else(errors::permission_not_given)?)?;
        let header = self.change(AuthChange::RoleGrant { role, permission }).await?;
        Ok(Response::new(AuthRoleGrantPermissionResponse { header }))
    }

    async fn role_revoke_permission(
        &self,
        request: Request<AuthRoleRevokePermissionRequest>,
    ) -> Result<Response<AuthRoleRevokePermissionResponse>, Status> {
        let AuthRoleRevokePermissionRequest { role: of, key, range_end } = request.into_inner();
        let (role, range) = (role(of)?, key_range(&key, &range_end));
        let header = self.change(AuthChange::RoleRevoke { role, range }).await?;
        Ok(Response::new(AuthRoleRevokePermissionResponse { header }))
    }
}
