//! Who may do what, as all replicas know it: users, their roles, what these permit.
//!
//! A part of the replicated state. Every command is judged when it is taken in, so that what is refused
//! costs the log nothing, and again when it is applied, by the state that it then finds: a permission
//! that was taken away before a command is in the log's order is taken away for it. Reads and watches
//! are judged when they are served. Who somebody is, the node does not find out: it believes its
//! driver, which checks tokens and certificates, and has passwords compared by it.
//!
//! The meaning is etcd's, down to which changes count as one: enabling is none, so that clients of etcd
//! find the auth revision that they know.
//!
//! # Invariants
//!
//! * `rights` is what `users` and `roles` say, and nothing else.
//! * `revision` never decreases. A principal proven at an earlier revision than its user's `since` is
//!   nobody.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use wire::{
    Access, AuthAnswer, AuthChange, AuthQuestion, Body, Command, DecodeError, Denial, Hidden,
    KeyRange, Op, Permission, Principal, Put, ROOT, Reader, Request, Txn, Writer,
};

use crate::intervals::Intervals;
use crate::leases::Leases;

const META: u8 = b'a';
const META_SETTINGS: &[u8] = b"as";
const META_USER: u8 = b'u';
const META_ROLE: u8 = b'r';

/// The auth revision of a cluster without users: the same as etcd's.
const FIRST_REVISION: u64 = 1;

/// What a node's driver must know to find out who somebody is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guarding {
    /// Whether anybody must say who he is.
    pub enabled: bool,
    /// The auth revision.
    pub revision: u64,
    /// What tokens are signed with; empty until authentication was enabled for the first time.
    pub secret: Hidden,
}

/// One user.
#[derive(Clone, Debug, PartialEq, Eq)]
struct User {
    /// The auth revision that brought it into being, or changed its password.
    since: u64,
    /// What the driver made of its password.
    password: Option<Hidden>,
    roles: BTreeSet<String>,
}

/// What a role permits.
type Role = BTreeMap<(Bytes, Option<Bytes>), Access>;

/// What a user may do, all roles together.
#[derive(Debug, Default, PartialEq, Eq)]
struct Rights {
    everything: bool,
    read: Intervals,
    write: Intervals,
    #[cfg(feature = "planted")]
    planted: Option<crate::config::Planted>,
}

impl Rights {
    fn may_read(&self, range: &KeyRange) -> bool {
        #[cfg(feature = "planted")]
        if self.planted == Some(crate::config::Planted::RangeEndNotJudged) {
            return self.read.contain(&range.start);
        }
        self.read.cover(range)
    }
}

/// All users and roles of a group.
#[derive(Debug)]
pub(crate) struct Auth {
    enabled: bool,
    revision: u64,
    secret: Hidden,
    users: BTreeMap<String, User>,
    roles: BTreeMap<String, Role>,
    rights: BTreeMap<String, Rights>,
    dirty: bool,
    dirty_users: BTreeSet<String>,
    dirty_roles: BTreeSet<String>,
    guarding: Arc<Guarding>,
    #[cfg(feature = "planted")]
    planted: Option<crate::config::Planted>,
}

impl Default for Auth {
    fn default() -> Self {
        let (enabled, revision, secret) = (false, FIRST_REVISION, Hidden::default());
        let guarding = Arc::new(Guarding { enabled, revision, secret: secret.clone() });
        Self {
            enabled,
            revision,
            secret,
            users: BTreeMap::new(),
            roles: BTreeMap::new(),
            rights: BTreeMap::new(),
            dirty: false,
            dirty_users: BTreeSet::new(),
            dirty_roles: BTreeSet::new(),
            guarding,
            #[cfg(feature = "planted")]
            planted: None,
        }
    }
}

/// Whom a judgement is about.
enum Asker<'a> {
    /// Nobody is asked who he is.
    Anybody,
    /// A user, and what he may do.
    User(&'a str, &'a Rights),
}

impl Asker<'_> {
    fn must_read(&self, range: &KeyRange) -> Result<(), Denial> {
        self.must(|rights| rights.may_read(range))
    }

    fn must_write(&self, range: &KeyRange) -> Result<(), Denial> {
        self.must(|rights| rights.write.cover(range))
    }

    fn must_be_root(&self) -> Result<(), Denial> {
        self.must(|_| false)
    }

    fn must(&self, may: impl FnOnce(&Rights) -> bool) -> Result<(), Denial> {
        match self {
            Self::Anybody => Ok(()),
            Self::User(_, rights) if rights.everything || may(rights) => Ok(()),
            Self::User(..) => Err(Denial::Forbidden),
        }
    }

    fn must_read_all(&self, keys: &BTreeSet<Bytes>) -> Result<(), Denial> {
        self.must(|rights| keys.iter().all(|key| rights.read.contain(key)))
    }

    fn must_write_all(&self, keys: &BTreeSet<Bytes>) -> Result<(), Denial> {
        self.must(|rights| keys.iter().all(|key| rights.write.contain(key)))
    }

    /// Whether this mistake is to be made on purpose.
    #[cfg(feature = "planted")]
    fn mistakes(&self, planted: crate::config::Planted) -> bool {
        matches!(self, Self::User(_, rights) if rights.planted == Some(planted))
    }

    /// Whatever a transaction may come to do, in all its branches.
    fn must_do(&self, txn: &Txn, leases: &Leases) -> Result<(), Denial> {
        for fence in &txn.fences {
            self.must_read(&KeyRange::single(fence.key.clone()))?;
        }
        for compare in &txn.compares {
            #[cfg(feature = "planted")]
            if self.mistakes(crate::config::Planted::ComparisonNotJudged) {
                continue;
            }
            self.must_read(&compare.range)?;
        }
        txn.then.iter().chain(&txn.otherwise).try_for_each(|op| self.must_do_op(op, leases))
    }

    fn must_do_op(&self, op: &Op, leases: &Leases) -> Result<(), Denial> {
        match op {
            Op::Put(Put { key, lease, previous, .. }) => {
                let range = KeyRange::single(key.clone());
                self.must_write(&range)?;
                if *previous {
                    self.must_read(&range)?;
                }
                // Whoever hangs a key on a lease has a say in when its other keys vanish.
                match lease.and_then(|lease| leases.find(lease)) {
                    Some(lease) => self.must_write_all(&lease.keys),
                    None => Ok(()),
                }
            }
            Op::Delete { range, previous } => {
                self.must_write(range)?;
                if *previous { self.must_read(range) } else { Ok(()) }
            }
            Op::Read(query) => self.must_read(&query.range),
            #[cfg(feature = "planted")]
            Op::Txn(_) if self.mistakes(crate::config::Planted::NestedNotJudged) => Ok(()),
            Op::Txn(txn) => self.must_do(txn, leases),
        }
    }
}

impl Auth {
    /// The same with a mistake.
    #[cfg(feature = "planted")]
    pub(crate) fn with_planted(mut self, planted: Option<crate::config::Planted>) -> Self {
        self.planted = planted;
        self.changed();
        self.dirty = false;
        if planted == Some(crate::config::Planted::RestartForgetsRights) {
            self.rights.clear();
        }
        self
    }

    /// What the driver must know; another value whenever it has changed.
    pub(crate) fn guarding(&self) -> &Arc<Guarding> {
        &self.guarding
    }

    fn asker<'a>(&'a self, principal: Option<&'a Principal>) -> Result<Asker<'a>, Denial> {
        if !self.enabled {
            return Ok(Asker::Anybody);
        }
        let principal = principal.ok_or(Denial::NoUser)?;
        if principal.is_node_itself() {
            return Ok(Asker::Anybody);
        }
        let known = self.users.get(&principal.user).zip(self.rights.get(&principal.user));
        #[cfg(feature = "planted")]
        let mistaken = self.planted == Some(crate::config::Planted::ProofOutlivesPassword);
        #[cfg(not(feature = "planted"))]
        let mistaken = false;
        match known {
            Some((user, rights)) if user.since <= principal.revision || mistaken => {
                Ok(Asker::User(&principal.user, rights))
            }
            // A token can be had anew; a certificate is what it is.
            _ if principal.is_of_certificate() => Err(Denial::Forbidden),
            _ => Err(Denial::InvalidToken),
        }
    }

    /// Whether a command may be done. What the cluster itself wants, may.
    pub(crate) fn judge(&self, command: &Command, leases: &Leases) -> Result<(), Denial> {
        if !self.enabled || command.id.client == 0 {
            return Ok(());
        }
        let asker = self.asker(command.principal.as_ref())?;
        match &command.body {
            Body::Txn(txn) => asker.must_do(txn, leases),
            Body::Grant { .. } => Ok(()),
            Body::Revoke { lease } => match leases.find(*lease) {
                Some(lease) => asker.must_write_all(&lease.keys),
                None => Ok(()),
            },
            // The latter two are not for clients at all.
            Body::Compact { .. }
            | Body::Restore(_)
            | Body::Auth(_)
            | Body::Scrub { .. }
            | Body::Expire(_)
            | Body::Checkpoint { .. } => asker.must_be_root(),
        }
    }

    /// Whether a request may be answered. A command is judged by [`Auth::judge`].
    pub(crate) fn judge_request(
        &self,
        principal: Option<&Principal>,
        request: &Request,
        leases: &Leases,
    ) -> Result<(), Denial> {
        if !self.enabled {
            return Ok(());
        }
        match request {
            // How the node is, everybody may know; and who proves who he is need not have done so before.
            Request::Status | Request::Authenticate { .. } | Request::Write(_) => Ok(()),
            Request::Read { query, .. } => self.judge_read(principal, &query.range),
            Request::Watch { range, .. } => self.judge_read(principal, range),
            Request::KeepAlive { .. }
            | Request::Leases
            | Request::Members
            | Request::Lease { keys: false, .. } => self.asker(principal).map(drop),
            Request::Lease { lease, keys: true } => {
                let asker = self.asker(principal)?;
                match leases.find(*lease) {
                    Some(lease) => asker.must_read_all(&lease.keys),
                    None => Ok(()),
                }
            }
            Request::Transfer { .. } | Request::ChangeMembers(_) | Request::Scrub => {
                self.asker(principal)?.must_be_root()
            }
            Request::Auth(question) => {
                let asker = self.asker(principal)?;
                match (question, &asker) {
                    (AuthQuestion::User(user), Asker::User(own, _)) if user == own => Ok(()),
                    (AuthQuestion::Role(role), Asker::User(own, _))
                        if self.users.get(*own).is_some_and(|own| own.roles.contains(role)) =>
                    {
                        Ok(())
                    }
                    _ => asker.must_be_root(),
                }
            }
            Request::As { principal, request } => {
                self.judge_request(Some(principal), request, leases)
            }
        }
    }

    /// Whether somebody may read or watch these keys.
    pub(crate) fn judge_read(
        &self,
        principal: Option<&Principal>,
        range: &KeyRange,
    ) -> Result<(), Denial> {
        self.asker(principal)?.must_read(range)
    }

    /// Answers a question, which was judged.
    pub(crate) fn answer(&self, question: &AuthQuestion) -> Result<AuthAnswer, Denial> {
        Ok(match question {
            AuthQuestion::Status => {
                AuthAnswer::Status { enabled: self.enabled, revision: self.revision }
            }
            AuthQuestion::User(user) => {
                let user = self.users.get(user).ok_or(Denial::UserNotFound)?;
                AuthAnswer::Names(user.roles.iter().cloned().collect())
            }
            AuthQuestion::Users => AuthAnswer::Names(self.users.keys().cloned().collect()),
            AuthQuestion::Role(role) => {
                let role = self.roles.get(role).ok_or(Denial::RoleNotFound)?;
                let permission = |((start, end), access): (&(Bytes, Option<Bytes>), &Access)| {
                    let range = KeyRange { start: start.clone(), end: end.clone() };
                    Permission { access: *access, range }
                };
                AuthAnswer::Permissions(role.iter().map(permission).collect())
            }
            AuthQuestion::Roles => AuthAnswer::Names(self.roles.keys().cloned().collect()),
        })
    }

    /// What a password must be compared with, and who has proven to be somebody if it is the same.
    /// Nothing to compare with stands for somebody who is not known, or has no password.
    pub(crate) fn claim(&self, user: &str) -> Result<(Option<Hidden>, Principal), Denial> {
        if !self.enabled {
            return Err(Denial::NotEnabled);
        }
        let principal = Principal { user: user.to_owned(), revision: self.revision };
        Ok((self.users.get(user).and_then(|user| user.password.clone()), principal))
    }

    /// Does a change, which was judged.
    pub(crate) fn change(&mut self, change: &AuthChange) -> Result<(), Denial> {
        match change {
            AuthChange::Enable { secret } => return self.enable(secret),
            AuthChange::Disable if !self.enabled => return Ok(()),
            AuthChange::Disable => self.enabled = false,
            AuthChange::UserAdd { user, password } => {
                if self.users.contains_key(user) {
                    return Err(Denial::UserExists);
                }
                let (since, roles) = (self.revision + 1, BTreeSet::new());
                let new = User { since, password: password.clone(), roles };
                self.users.insert(user.clone(), new);
                self.dirty_users.insert(user.clone());
            }
            AuthChange::UserDelete { user } if self.enabled && user == ROOT => {
                return Err(Denial::Management);
            }
            AuthChange::UserDelete { user } => {
                self.users.remove(user).ok_or(Denial::UserNotFound)?;
                self.dirty_users.insert(user.clone());
            }
            AuthChange::UserPassword { user, password } => {
                let since = self.revision + 1;
                let user = self.user(user)?;
                (user.since, user.password) = (since, Some(password.clone()));
            }
            AuthChange::UserGrant { user, role } => {
                let known = role == ROOT || self.roles.contains_key(role);
                let user = self.user(user)?;
                if !known {
                    return Err(Denial::RoleNotFound);
                }
                // What he has already is no change.
                if !user.roles.insert(role.clone()) {
                    return Ok(());
                }
            }
            AuthChange::UserRevoke { user, role }
                if self.enabled && user == ROOT && role == ROOT =>
            {
                return Err(Denial::Management);
            }
            AuthChange::UserRevoke { user, role } => {
                if !self.user(user)?.roles.remove(role) {
                    return Err(Denial::RoleNotGranted);
                }
            }
            AuthChange::RoleAdd { role } => {
                if self.roles.contains_key(role) {
                    return Err(Denial::RoleExists);
                }
                self.roles.insert(role.clone(), Role::new());
                self.dirty_roles.insert(role.clone());
            }
            AuthChange::RoleDelete { role } if self.enabled && role == ROOT => {
                return Err(Denial::Management);
            }
            AuthChange::RoleDelete { role } => self.delete_role(role)?,
            AuthChange::RoleGrant { permission, .. } if permission.range.is_empty() => {
                return Err(Denial::Management);
            }
            AuthChange::RoleGrant { role, permission } => {
                let Permission { access, range } = permission;
                // Copied, so that a small key does not keep a large command alive.
                let copy = |bytes: &Bytes| Bytes::copy_from_slice(bytes);
                let place = (copy(&range.start), range.end.as_ref().map(copy));
                self.role(role)?.insert(place, *access);
            }
            AuthChange::RoleRevoke { role, range } => {
                let place = (range.start.clone(), range.end.clone());
                self.role(role)?.remove(&place).ok_or(Denial::PermissionNotGranted)?;
            }
        }
        self.revision += 1;
        self.changed();
        Ok(())
    }

    fn enable(&mut self, secret: &Hidden) -> Result<(), Denial> {
        if self.enabled {
            return Ok(());
        }
        let root = self.users.get(ROOT).ok_or(Denial::NoRootUser)?;
        if !root.roles.contains(ROOT) {
            return Err(Denial::NoRootRole);
        }
        self.enabled = true;
        self.secret = Hidden(Bytes::copy_from_slice(&secret.0));
        self.changed();
        Ok(())
    }

    fn user(&mut self, user: &str) -> Result<&mut User, Denial> {
        let found = self.users.get_mut(user).ok_or(Denial::UserNotFound)?;
        self.dirty_users.insert(user.to_owned());
        Ok(found)
    }

    fn role(&mut self, role: &str) -> Result<&mut Role, Denial> {
        let found = self.roles.get_mut(role).ok_or(Denial::RoleNotFound)?;
        self.dirty_roles.insert(role.to_owned());
        Ok(found)
    }

    fn delete_role(&mut self, role: &str) -> Result<(), Denial> {
        self.roles.remove(role).ok_or(Denial::RoleNotFound)?;
        self.dirty_roles.insert(role.to_owned());
        for (name, user) in &mut self.users {
            if user.roles.remove(role) {
                self.dirty_users.insert(name.clone());
            }
        }
        Ok(())
    }

    fn changed(&mut self) {
        self.dirty = true;
        self.rights =
            self.users.iter().map(|(name, user)| (name.clone(), self.rights_of(user))).collect();
        let (enabled, revision, secret) = (self.enabled, self.revision, self.secret.clone());
        self.guarding = Arc::new(Guarding { enabled, revision, secret });
    }

    fn rights_of(&self, user: &User) -> Rights {
        let roles = || user.roles.iter().filter_map(|role| self.roles.get(role)).flatten();
        let ranges = |allows: fn(Access) -> bool| {
            let ranges =
                roles().filter(move |(_, access)| allows(**access)).map(|(range, _)| range);
            Intervals::of(ranges.map(|(start, end)| (start.clone(), end.clone())))
        };
        Rights {
            everything: user.roles.contains(ROOT),
            read: ranges(Access::reads),
            write: ranges(Access::writes),
            #[cfg(feature = "planted")]
            planted: self.planted,
        }
    }

    /// What changed since the last call, as meta entries.
    pub(crate) fn take_changes(&mut self) -> Vec<(Bytes, Option<Bytes>)> {
        let mut changes = Vec::new();
        if std::mem::take(&mut self.dirty) {
            changes.push((Bytes::from_static(META_SETTINGS), Some(self.encode_settings())));
        }
        for user in std::mem::take(&mut self.dirty_users) {
            changes.push((meta_of(META_USER, &user), self.users.get(&user).map(encode_user)));
        }
        for role in std::mem::take(&mut self.dirty_roles) {
            changes.push((meta_of(META_ROLE, &role), self.roles.get(&role).map(encode_role)));
        }
        changes
    }

    /// Whether a meta entry is one of ours.
    pub(crate) fn owns(key: &[u8]) -> bool {
        key.first() == Some(&META)
    }

    /// Takes back what [`Auth::take_changes`] once gave.
    pub(crate) fn restore(entries: &[(Bytes, Bytes)]) -> Result<Self, DecodeError> {
        let mut auth = Self::default();
        for (key, value) in entries {
            let mut input = Reader::new(value.clone());
            if key == META_SETTINGS {
                auth.enabled = input.u8("auth enabled")? != 0;
                auth.revision = input.varint("auth revision")?;
                auth.secret = Hidden(input.bytes("auth secret")?);
            } else {
                let name = key.get(2..).and_then(|name| std::str::from_utf8(name).ok());
                let strange = DecodeError { what: "auth entry", at: key.len() };
                let name = name.filter(|name| !name.is_empty()).ok_or(strange)?.to_owned();
                match key[1] {
                    META_USER => {
                        auth.users.insert(name, decode_user(&mut input)?);
                    }
                    META_ROLE => {
                        auth.roles.insert(name, decode_role(&mut input)?);
                    }
                    _ => return Err(DecodeError { what: "auth entry", at: 1 }),
                }
            }
            input.end("auth entry")?;
        }
        auth.check()?;
        auth.changed();
        auth.dirty = false;
        Ok(auth)
    }

    /// Whether all of it goes together, with room to count on.
    fn check(&self) -> Result<(), DecodeError> {
        let broken = |what| Err(DecodeError { what, at: 0 });
        if self.revision == 0 || self.revision > u64::MAX / 2 {
            return broken("auth revision");
        }
        for user in self.users.values() {
            if user.since > self.revision {
                return broken("user, who is of the future");
            }
            if user.roles.iter().any(|role| role != ROOT && !self.roles.contains_key(role)) {
                return broken("user, who has a role that there is not");
            }
        }
        let root = self.users.get(ROOT).is_some_and(|root| root.roles.contains(ROOT));
        if self.enabled && !root {
            broken("authentication, which nobody could disable")
        } else {
            Ok(())
        }
    }

    /// Everything, in a canonical form: equal on replicas that have applied the same.
    pub(crate) fn digest(&self, out: &mut Writer) {
        out.bytes(&self.encode_settings());
        for (name, user) in &self.users {
            out.bytes(name.as_bytes()).bytes(&encode_user(user));
        }
        for (name, role) in &self.roles {
            out.bytes(name.as_bytes()).bytes(&encode_role(role));
        }
    }

    fn encode_settings(&self) -> Bytes {
        let mut out = Writer::new();
        out.u8(u8::from(self.enabled)).varint(self.revision).bytes(&self.secret.0);
        out.finish()
    }
}

fn meta_of(kind: u8, name: &str) -> Bytes {
    let mut key = vec![META, kind];
    key.extend_from_slice(name.as_bytes());
    Bytes::from(key)
}

fn encode_user(user: &User) -> Bytes {
    let roles: Vec<&String> = user.roles.iter().collect();
    let mut out = Writer::new();
    out.varint(user.since)
        .option(user.password.as_ref(), |out, password| {
            out.bytes(&password.0);
        })
        .list(&roles, |out, role| {
            out.bytes(role.as_bytes());
        });
    out.finish()
}

fn decode_user(input: &mut Reader) -> Result<User, DecodeError> {
    Ok(User {
        since: input.varint("user since")?,
        password: input.option("password", |input| input.bytes("password").map(Hidden))?,
        roles: input.list("roles", |input| input.string("role"))?.into_iter().collect(),
    })
}

fn encode_role(role: &Role) -> Bytes {
    let permissions: Vec<Permission> = role
        .iter()
        .map(|((start, end), access)| Permission {
            access: *access,
            range: KeyRange { start: start.clone(), end: end.clone() },
        })
        .collect();
    let mut out = Writer::new();
    out.list(&permissions, |out, permission| permission.encode(out));
    out.finish()
}

fn decode_role(input: &mut Reader) -> Result<Role, DecodeError> {
    let permissions = input.list("permissions", Permission::decode)?;
    let entry = |Permission { access, range }| ((range.start, range.end), access);
    Ok(permissions.into_iter().map(entry).collect())
}

#[cfg(test)]
mod tests;
