//! Who may do what: users, roles, permissions, and how they are changed and asked about.
//!
//! The meaning is etcd's: a user has roles, a role has permissions on ranges of keys, and the role
//! [`ROOT`] has them all. Nothing of it holds until authentication is enabled.

use std::fmt;

use bytes::Bytes;

use crate::{DecodeError, KeyRange, Reader, Refusal, Writer};

/// The user that must exist, and the role that it must have, before authentication can be enabled.
pub const ROOT: &str = "root";

/// The longest name of a user or a role, in bytes.
pub const MAX_NAME_BYTES: usize = 1024;

/// The longest password, and the longest hash of one, in bytes.
pub const MAX_PASSWORD_BYTES: usize = 1024;

/// Bytes that no log and no error may show.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Hidden(pub Bytes);

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<hidden>")
    }
}

/// A user who has proven to be one, as the node's driver says: a node believes it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Principal {
    /// The user's name.
    pub user: String,
    /// The auth revision at which the proof was given. It does not hold for a user whose password was
    /// changed later, or who came into being later under the same name.
    pub revision: u64,
}

/// What a permission allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// To read, and to watch.
    Read,
    /// To put, and to delete.
    Write,
    /// Both.
    ReadWrite,
}

/// What a role may do with some keys.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Permission {
    /// What is allowed.
    pub access: Access,
    /// With which keys.
    pub range: KeyRange,
}

/// A change of users, roles, or whether they matter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthChange {
    /// From now on everybody must say who he is. Nothing, if that holds already.
    Enable {
        /// Drawn at random by whoever proposes it: what tokens are signed with.
        secret: Hidden,
    },
    /// Nobody is asked any more. Users and roles stay.
    Disable,
    /// A new user without roles.
    UserAdd {
        /// Its name.
        user: String,
        /// Its password's hash; a user without one can show a certificate only.
        password: Option<Hidden>,
    },
    /// A user ceases to be.
    UserDelete {
        /// Which.
        user: String,
    },
    /// Another password. What was proven by the former one holds no more.
    UserPassword {
        /// Whose.
        user: String,
        /// Its hash.
        password: Hidden,
    },
    /// A user gets a role.
    UserGrant {
        /// Who.
        user: String,
        /// Which.
        role: String,
    },
    /// A user loses a role.
    UserRevoke {
        /// Who.
        user: String,
        /// Which.
        role: String,
    },
    /// A new role without permissions.
    RoleAdd {
        /// Its name.
        role: String,
    },
    /// A role ceases to be, and whoever had it loses it.
    RoleDelete {
        /// Which.
        role: String,
    },
    /// A role gets a permission. It replaces the one on the very same range.
    RoleGrant {
        /// Which role.
        role: String,
        /// What it may do.
        permission: Permission,
    },
    /// A role loses its permission on this very range.
    RoleRevoke {
        /// Which role.
        role: String,
        /// As it was granted.
        range: KeyRange,
    },
}

/// A question about users and roles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthQuestion {
    /// Whether authentication is enabled.
    Status,
    /// Which roles a user has.
    User(String),
    /// Which users there are.
    Users,
    /// What a role may do.
    Role(String),
    /// Which roles there are.
    Roles,
}

/// The answer to an [`AuthQuestion`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthAnswer {
    /// To [`AuthQuestion::Status`].
    Status {
        /// Whether it is enabled.
        enabled: bool,
        /// Grows with every change of users and roles, and when authentication is disabled.
        revision: u64,
    },
    /// To [`AuthQuestion::Users`], [`AuthQuestion::Roles`] and [`AuthQuestion::User`], in order.
    Names(Vec<String>),
    /// To [`AuthQuestion::Role`], in the order of keys.
    Permissions(Vec<Permission>),
}

/// Why somebody may not do something, or why users and roles can't be changed so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Denial {
    /// Whoever asks has not said who he is, and must.
    #[error("authentication is enabled, and this request names no user")]
    NoUser,
    /// What proved who he is holds no more: he must prove it anew.
    #[error("the proof of identity is invalid, expired or outdated; log in again")]
    InvalidToken,
    /// He may not.
    #[error("permission denied")]
    Forbidden,
    /// No such user, or not this password.
    #[error("authentication failed: no such user, or another password")]
    Failed,
    /// There is nothing to log in to.
    #[error("authentication is not enabled")]
    NotEnabled,
    /// Authentication can't be enabled without the user `root`.
    #[error("the user root does not exist")]
    NoRootUser,
    /// Nor if that user has not the role `root`.
    #[error("the user root does not have the role root")]
    NoRootRole,
    /// Choose another name.
    #[error("there is such a user already")]
    UserExists,
    /// There is no such user.
    #[error("there is no such user")]
    UserNotFound,
    /// Choose another name.
    #[error("there is such a role already")]
    RoleExists,
    /// There is no such role.
    #[error("there is no such role")]
    RoleNotFound,
    /// The user has not this role.
    #[error("the user does not have this role")]
    RoleNotGranted,
    /// The role has no permission on this very range.
    #[error("the role has no permission on this very range")]
    PermissionNotGranted,
    /// Authentication would lose its root, or a permission is on no key at all.
    #[error(
        "root can't lose its role or cease to be while authentication is enabled, and a permission is on at least one key"
    )]
    Management,
}

const DENIALS: [Denial; 14] = [
    Denial::NoUser,
    Denial::InvalidToken,
    Denial::Forbidden,
    Denial::Failed,
    Denial::NotEnabled,
    Denial::NoRootUser,
    Denial::NoRootRole,
    Denial::UserExists,
    Denial::UserNotFound,
    Denial::RoleExists,
    Denial::RoleNotFound,
    Denial::RoleNotGranted,
    Denial::PermissionNotGranted,
    Denial::Management,
];

impl Denial {
    /// All of them, in the order of their numbers.
    pub fn all() -> impl Iterator<Item = Self> {
        DENIALS.into_iter()
    }

    /// A short stable word for it, for programs.
    pub fn code(self) -> &'static str {
        match self {
            Self::NoUser => "unauthenticated",
            Self::InvalidToken => "invalid_auth_token",
            Self::Forbidden => "permission_denied",
            Self::Failed => "auth_failed",
            Self::NotEnabled => "auth_not_enabled",
            Self::NoRootUser => "root_user_not_found",
            Self::NoRootRole => "root_role_not_granted",
            Self::UserExists => "user_exists",
            Self::UserNotFound => "user_not_found",
            Self::RoleExists => "role_exists",
            Self::RoleNotFound => "role_not_found",
            Self::RoleNotGranted => "role_not_granted",
            Self::PermissionNotGranted => "permission_not_granted",
            Self::Management => "invalid_auth_management",
        }
    }

    /// Appends its encoding.
    pub fn encode(self, out: &mut Writer) {
        let place = DENIALS.iter().position(|denial| *denial == self);
        let number = place.map_or(0, |place| place + 1);
        out.varint(number as u64);
    }

    /// Reads its encoding.
    pub fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        let number = input.varint("denial")?;
        let place = number.checked_sub(1).and_then(|place| usize::try_from(place).ok());
        let denial = place.and_then(|place| DENIALS.get(place));
        denial.copied().ok_or_else(|| input.malformed("denial"))
    }
}

impl From<Denial> for Refusal {
    fn from(denial: Denial) -> Self {
        Self::Denied { denial }
    }
}

impl Principal {
    /// Somebody whose certificate bears this user's name: that is shown anew on each connection, so
    /// no later change makes it old.
    pub fn of_certificate(user: impl Into<String>) -> Self {
        Self { user: user.into(), revision: u64::MAX }
    }

    /// A node itself, which does in one go for all what it then hands to each by what he may. It bears no
    /// name that a user can have, and whoever comes from outside can't claim it.
    pub fn node_itself() -> Self {
        Self { user: String::new(), revision: u64::MAX }
    }

    /// Whether it is a node itself.
    pub fn is_node_itself(&self) -> bool {
        self.user.is_empty()
    }

    /// Whether it was proven by a certificate.
    pub fn is_of_certificate(&self) -> bool {
        self.revision == u64::MAX
    }

    /// Appends its encoding.
    pub fn encode(&self, out: &mut Writer) {
        out.bytes(self.user.as_bytes()).varint(self.revision);
    }

    /// Reads its encoding.
    pub fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self { user: input.string("principal")?, revision: input.varint("auth revision")? })
    }
}

impl Access {
    /// Whether it includes reading.
    pub fn reads(self) -> bool {
        matches!(self, Self::Read | Self::ReadWrite)
    }

    /// Whether it includes writing.
    pub fn writes(self) -> bool {
        matches!(self, Self::Write | Self::ReadWrite)
    }
}

impl Permission {
    /// Appends its encoding.
    pub fn encode(&self, out: &mut Writer) {
        out.u8(match self.access {
            Access::Read => 0,
            Access::Write => 1,
            Access::ReadWrite => 2,
        });
        self.range.encode(out);
    }

    /// Reads its encoding.
    pub fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        let access = match input.u8("access")? {
            0 => Access::Read,
            1 => Access::Write,
            2 => Access::ReadWrite,
            _ => return Err(input.malformed("access")),
        };
        Ok(Self { access, range: KeyRange::decode(input)? })
    }
}

impl AuthChange {
    /// Refuses what can never be done.
    pub(crate) fn check(&self) -> Result<(), Refusal> {
        let (user, role, hidden) = match self {
            Self::Enable { secret } => (None, None, Some(secret)),
            Self::Disable => (None, None, None),
            Self::UserAdd { user, password } => (Some(user), None, password.as_ref()),
            Self::UserDelete { user } => (Some(user), None, None),
            Self::UserPassword { user, password } => (Some(user), None, Some(password)),
            Self::UserGrant { user, role } | Self::UserRevoke { user, role } => {
                (Some(user), Some(role), None)
            }
            Self::RoleAdd { role }
            | Self::RoleDelete { role }
            | Self::RoleGrant { role, .. }
            | Self::RoleRevoke { role, .. } => (None, Some(role), None),
        };
        for (what, name) in [("user name", user), ("role name", role)] {
            let Some(name) = name else { continue };
            if name.is_empty() {
                return Err(Refusal::Invalid { what: format!("{what} is empty") });
            }
            too_long(what, name.len(), MAX_NAME_BYTES)?;
        }
        too_long("password's hash", hidden.map_or(0, |hidden| hidden.0.len()), MAX_PASSWORD_BYTES)
    }

    pub(crate) fn size_hint(&self) -> usize {
        match self {
            Self::RoleGrant { permission: Permission { range, .. }, .. }
            | Self::RoleRevoke { range, .. } => {
                64 + range.start.len() + range.end.as_ref().map_or(0, Bytes::len)
            }
            _ => 128,
        }
    }

    /// Appends its encoding.
    pub fn encode(&self, out: &mut Writer) {
        match self {
            Self::Enable { secret } => out.u8(1).bytes(&secret.0),
            Self::Disable => out.u8(2),
            Self::UserAdd { user, password } => {
                out.u8(3).bytes(user.as_bytes()).option(password.as_ref(), |out, password| {
                    out.bytes(&password.0);
                })
            }
            Self::UserDelete { user } => out.u8(4).bytes(user.as_bytes()),
            Self::UserPassword { user, password } => {
                out.u8(5).bytes(user.as_bytes()).bytes(&password.0)
            }
            Self::UserGrant { user, role } => {
                out.u8(6).bytes(user.as_bytes()).bytes(role.as_bytes())
            }
            Self::UserRevoke { user, role } => {
                out.u8(7).bytes(user.as_bytes()).bytes(role.as_bytes())
            }
            Self::RoleAdd { role } => out.u8(8).bytes(role.as_bytes()),
            Self::RoleDelete { role } => out.u8(9).bytes(role.as_bytes()),
            Self::RoleGrant { role, permission } => {
                permission.encode(out.u8(10).bytes(role.as_bytes()));
                out
            }
            Self::RoleRevoke { role, range } => {
                range.encode(out.u8(11).bytes(role.as_bytes()));
                out
            }
        };
    }

    /// Reads its encoding.
    pub fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        let user = |input: &mut Reader| input.string("user");
        let role = |input: &mut Reader| input.string("role");
        let hidden = |input: &mut Reader| input.bytes("hidden bytes").map(Hidden);
        Ok(match input.u8("auth change")? {
            1 => Self::Enable { secret: hidden(input)? },
            2 => Self::Disable,
            3 => Self::UserAdd { user: user(input)?, password: input.option("password", hidden)? },
            4 => Self::UserDelete { user: user(input)? },
            5 => Self::UserPassword { user: user(input)?, password: hidden(input)? },
            6 => Self::UserGrant { user: user(input)?, role: role(input)? },
            7 => Self::UserRevoke { user: user(input)?, role: role(input)? },
            8 => Self::RoleAdd { role: role(input)? },
            9 => Self::RoleDelete { role: role(input)? },
            10 => Self::RoleGrant { role: role(input)?, permission: Permission::decode(input)? },
            11 => Self::RoleRevoke { role: role(input)?, range: KeyRange::decode(input)? },
            _ => return Err(input.malformed("auth change")),
        })
    }
}

fn too_long(what: &str, size: usize, limit: usize) -> Result<(), Refusal> {
    if size <= limit {
        return Ok(());
    }
    let (what, size, limit) = (what.to_owned(), size as u64, limit as u64);
    Err(Refusal::TooLarge { what, size, limit, flag: None })
}

impl AuthQuestion {
    /// Appends its encoding.
    pub fn encode(&self, out: &mut Writer) {
        match self {
            Self::Status => out.u8(1),
            Self::User(user) => out.u8(2).bytes(user.as_bytes()),
            Self::Users => out.u8(3),
            Self::Role(role) => out.u8(4).bytes(role.as_bytes()),
            Self::Roles => out.u8(5),
        };
    }

    /// Reads its encoding.
    pub fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(match input.u8("auth question")? {
            1 => Self::Status,
            2 => Self::User(input.string("user")?),
            3 => Self::Users,
            4 => Self::Role(input.string("role")?),
            5 => Self::Roles,
            _ => return Err(input.malformed("auth question")),
        })
    }
}

impl AuthAnswer {
    /// Appends its encoding.
    pub fn encode(&self, out: &mut Writer) {
        match self {
            Self::Status { enabled, revision } => {
                out.u8(1).u8(u8::from(*enabled)).varint(*revision)
            }
            Self::Names(names) => out.u8(2).list(names, |out, name| {
                out.bytes(name.as_bytes());
            }),
            Self::Permissions(permissions) => {
                out.u8(3).list(permissions, |out, permission| permission.encode(out))
            }
        };
    }

    /// Reads its encoding.
    pub fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(match input.u8("auth answer")? {
            1 => Self::Status {
                enabled: input.u8("auth enabled")? != 0,
                revision: input.varint("auth revision")?,
            },
            2 => Self::Names(input.list("names", |input| input.string("name"))?),
            3 => Self::Permissions(input.list("permissions", Permission::decode)?),
            _ => return Err(input.malformed("auth answer")),
        })
    }
}
