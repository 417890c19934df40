//! The paths that exist, what each takes, and how a request finds its own.

use bytes::Bytes;
use http::{Method, StatusCode};

use crate::errors::Fault;
use crate::params;

/// A path of the API.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    /// The path; a name in braces stands for the whole rest.
    pub path: &'static str,
    /// What can be done there.
    pub verbs: &'static [Verb],
}

/// A method on a path.
#[derive(Clone, Copy, Debug)]
pub struct Verb {
    /// The method. Where there is a GET there is a HEAD, but for endless streams.
    pub method: &'static str,
    /// The query parameters that it knows.
    pub params: &'static [&'static str],
    pub(crate) action: Action,
    pub(crate) body: BodyKind,
}

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    About,
    StorageNode,
    ReadKey,
    PutKey,
    DeleteKey,
    List,
    Txn,
    Watch,
    Compact,
    Leader,
    Status,
    GrantLease,
    Leases,
    ShowLease,
    KeepLeaseAlive,
    RevokeLease,
    Members,
    AddMember,
    UpdateMember,
    RemoveMember,
    Healthy,
    Ready,
    Metrics,
    OpenApi,
}

/// What a request's body is, and so how long it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyKind {
    /// Nobody reads it.
    Ignored,
    /// A value as it is.
    Value,
    /// JSON.
    Json,
}

const fn get(params: &'static [&'static str], action: Action) -> Verb {
    Verb { method: "GET", params, action, body: BodyKind::Ignored }
}

const fn post(action: Action) -> Verb {
    Verb { method: "POST", params: &[], action, body: BodyKind::Json }
}

const LIST_PARAMS: &[&str] = &[
    "prefix",
    "from",
    "to",
    "limit",
    "revision",
    "keys_only",
    "count_only",
    "consistency",
    "session",
    "page",
];

/// Every path that exists.
pub const ROUTES: &[Route] = &[
    Route { path: "/", verbs: &[get(&[], Action::About), post(Action::StorageNode)] },
    Route {
        path: "/v1/kv/{key}",
        verbs: &[
            get(&["revision", "consistency", "session"], Action::ReadKey),
            Verb {
                method: "PUT",
                params: &["lease"],
                action: Action::PutKey,
                body: BodyKind::Value,
            },
            Verb {
                method: "DELETE",
                params: &[],
                action: Action::DeleteKey,
                body: BodyKind::Ignored,
            },
        ],
    },
    Route { path: "/v1/kv", verbs: &[get(LIST_PARAMS, Action::List)] },
    Route { path: "/v1/txn", verbs: &[post(Action::Txn)] },
    Route {
        path: "/v1/watch",
        verbs: &[get(&["key", "prefix", "from", "to", "revision"], Action::Watch)],
    },
    Route {
        path: "/v1/lease/{lease}",
        verbs: &[
            get(&["keys"], Action::ShowLease),
            Verb {
                method: "POST",
                params: &[],
                action: Action::KeepLeaseAlive,
                body: BodyKind::Ignored,
            },
            Verb {
                method: "DELETE",
                params: &[],
                action: Action::RevokeLease,
                body: BodyKind::Ignored,
            },
        ],
    },
    Route { path: "/v1/lease", verbs: &[get(&[], Action::Leases), post(Action::GrantLease)] },
    Route {
        path: "/v1/members/{node}",
        verbs: &[
            post(Action::UpdateMember),
            Verb {
                method: "DELETE",
                params: &["force"],
                action: Action::RemoveMember,
                body: BodyKind::Ignored,
            },
        ],
    },
    Route { path: "/v1/members", verbs: &[get(&[], Action::Members), post(Action::AddMember)] },
    Route { path: "/v1/compact", verbs: &[post(Action::Compact)] },
    Route { path: "/v1/leader", verbs: &[post(Action::Leader)] },
    Route { path: "/v1/status", verbs: &[get(&["all"], Action::Status)] },
    Route { path: "/healthz", verbs: &[get(&[], Action::Healthy)] },
    Route { path: "/readyz", verbs: &[get(&[], Action::Ready)] },
    Route { path: "/metrics", verbs: &[get(&[], Action::Metrics)] },
    Route { path: "/openapi.json", verbs: &[get(&[], Action::OpenApi)] },
];

/// What a request came to: what to do, and the key, or the lease, that its path names.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) verb: &'static Verb,
    pub(crate) key: Bytes,
}

/// Finds what a method on a path means.
pub(crate) fn find(method: &Method, path: &str) -> Result<Found, Fault> {
    let (route, rest) = ROUTES
        .iter()
        .find_map(|route| Some((route, route.rest_of(path)?)))
        .ok_or_else(|| no_such_path(path))?;
    let name = if *method == Method::HEAD { "GET" } else { method.as_str() };
    let verb = route
        .verbs
        .iter()
        .find(|verb| verb.method == name && (verb.has_head() || *method != Method::HEAD))
        .ok_or_else(|| Fault::method(route.path, &route.allowed()))?;
    Ok(Found { verb, key: Bytes::from(params::decode_path(rest)?) })
}

impl Route {
    /// What `path` has in the place of the name in braces; `None` if it is not this route's.
    fn rest_of<'a>(&self, path: &'a str) -> Option<&'a str> {
        match self.path.split_once('{') {
            Some((before, _)) => path.strip_prefix(before),
            None => (path == self.path).then_some(""),
        }
    }

    /// What stands in `Allow`.
    fn allowed(&self) -> String {
        let names = self.verbs.iter().flat_map(|verb| {
            let head = verb.has_head().then_some("HEAD");
            std::iter::once(verb.method).chain(head)
        });
        names.collect::<Vec<_>>().join(", ")
    }
}

impl Verb {
    fn has_head(&self) -> bool {
        self.method == "GET" && self.action != Action::Watch
    }
}

fn no_such_path(path: &str) -> Fault {
    let paths: Vec<&str> = ROUTES.iter().map(|route| route.path).collect();
    let message = format!("there is no {}; there are {}", params::brief(path), paths.join(", "));
    Fault::new(StatusCode::NOT_FOUND, "no_such_path", message)
}
