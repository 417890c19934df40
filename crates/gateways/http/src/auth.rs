//! Who asks: by a token, by name and password, or by the certificate of the connection.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use client::{Caller, Guard};
use http::header::AUTHORIZATION;
use http::request::Parts;
use wire::{Denial, Hidden, Principal};

use crate::errors::Fault;

/// Who sent a request; `None` if it does not say. Whether it must, the nodes know.
pub(crate) async fn who(parts: &Parts, guard: &dyn Guard) -> Result<Option<Principal>, Fault> {
    let Some(said) = parts.headers.get(AUTHORIZATION) else {
        let caller = parts.extensions.get::<Arc<Caller>>();
        let name = caller.and_then(|caller| caller.common_name()).filter(|name| !name.is_empty());
        return Ok(name.map(Principal::of_certificate));
    };
    let said = said.to_str().ok().and_then(|said| said.trim().split_once(' '));
    let (scheme, credentials) = said.ok_or_else(not_understood)?;
    let credentials = credentials.trim();
    let principal = if scheme.eq_ignore_ascii_case("bearer") {
        guard.verify(credentials).await
    } else if scheme.eq_ignore_ascii_case("basic") {
        let (user, password) = name_and_password(credentials).ok_or_else(not_understood)?;
        guard.log_in(user, password).await
    } else {
        return Err(not_understood());
    };
    principal.map_err(Fault::from)
}

fn not_understood() -> Fault {
    Fault::from(wire::Refusal::from(Denial::InvalidToken))
        .within("Authorization takes `Bearer TOKEN`, or `Basic` with name:password in base64")
}

fn name_and_password(credentials: &str) -> Option<(String, Hidden)> {
    let bytes = STANDARD.decode(credentials).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let (user, password) = text.split_once(':')?;
    Some((user.to_owned(), Hidden(password.as_bytes().to_vec().into())))
}
