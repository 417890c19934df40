//! Whether a request may be answered, and questions about users and roles.

use wire::{AuthQuestion, Denial, Header, Hidden, Principal, Refusal, Reply, Request};

use crate::group::Group;
use crate::reads::Wanted;
use crate::shared::Shared;
use crate::watches::Watched;
use crate::{Answer, Effect, Ticket};

/// A password to be compared with what is known of it. How, the driver knows, which made what is stored.
#[derive(Debug)]
pub struct VerifyTask {
    stored: Option<Hidden>,
    password: Hidden,
    header: Header,
    principal: Principal,
}

impl VerifyTask {
    /// What is known of the user's password; `None` if there is no such user, or it has none. The
    /// answer is no then, and should take as long.
    pub fn stored(&self) -> Option<&Hidden> {
        self.stored.as_ref()
    }

    /// The password that was given.
    pub fn password(&self) -> &Hidden {
        &self.password
    }

    /// The request's answer, if the password is the right one or not.
    pub fn finish(self, is_right: bool) -> Answer {
        if is_right && self.stored.is_some() {
            Ok((self.header, Reply::Authenticated(self.principal)))
        } else {
            Err(Denial::Failed.into())
        }
    }
}

impl Group {
    /// Whether what waited may be served now.
    pub(crate) fn judge_wanted(
        &self,
        principal: Option<&Principal>,
        wanted: &Wanted,
    ) -> Result<(), Denial> {
        let request = match wanted {
            Wanted::Page(query) => return self.state.auth.judge_read(principal, &query.range),
            Wanted::KeepAlive(lease) => Request::KeepAlive { lease: *lease },
            Wanted::Lease { lease, keys } => Request::Lease { lease: *lease, keys: *keys },
            Wanted::Leases => Request::Leases,
            Wanted::Members => Request::Members,
            Wanted::ChangeMembers(change) => Request::ChangeMembers(change.clone()),
            Wanted::Auth(question) => Request::Auth(question.clone()),
            // Who proves who he is need not have done so before. A command names its principal itself,
            // and is judged when it is taken in.
            Wanted::Authenticate { .. } | Wanted::Command(_) => return Ok(()),
        };
        self.state.auth.judge_request(principal, &request, &self.state.leases)
    }

    /// Whether a watch may go on.
    pub(crate) fn judge_watch(&self, watched: &Watched) -> Result<(), Refusal> {
        let judged = self.state.auth.judge_read(watched.principal.as_ref(), &watched.range);
        Ok(judged?)
    }

    /// Whether one may still be answered.
    pub(crate) fn judge_watch_again(&self, watched: &Watched) -> Result<(), Refusal> {
        #[cfg(feature = "planted")]
        if self.planted == Some(crate::config::Planted::WatchNotRejudged) {
            return Ok(());
        }
        self.judge_watch(watched)
    }

    /// Users or roles have changed: ends the waiting of those who may not read any more.
    pub(crate) fn bar_watches(&mut self, shared: &mut Shared) {
        #[cfg(feature = "planted")]
        if self.planted == Some(crate::config::Planted::WatchNotRejudged) {
            return;
        }
        let auth = &self.state.auth;
        let judge = |watched: &Watched| auth.judge_read(watched.principal.as_ref(), &watched.range);
        let barred = self.watches.barred(|watched| judge(watched).is_ok());
        for (ticket, watched) in barred {
            if let Err(denial) = judge(&watched) {
                shared.refuse(ticket, denial.into());
            }
        }
    }

    /// Answers a question about users and roles.
    pub(crate) fn answer_auth(&self, shared: &mut Shared, ticket: Ticket, question: &AuthQuestion) {
        match self.state.auth.answer(question) {
            Ok(answer) => {
                let header = self.header(shared);
                shared.answer(ticket, header, Reply::Auth(answer));
            }
            Err(denial) => shared.refuse(ticket, denial.into()),
        }
    }

    /// Has a password compared.
    pub(crate) fn authenticate(
        &self,
        shared: &mut Shared,
        ticket: Ticket,
        user: &str,
        password: Hidden,
    ) {
        match self.state.auth.claim(user) {
            Ok((stored, principal)) => {
                let header = self.header(shared);
                shared.waiting -= 1;
                let task = VerifyTask { stored, password, header, principal };
                shared.emit(Effect::Verify { ticket, task });
            }
            Err(denial) => shared.refuse(ticket, denial.into()),
        }
    }
}
