//! `cairn lease`: leases by hand.

use std::time::Duration;

use clap::{Args, Subcommand};
use client::Error;
use serde_json::json;
use tokio::time::{Instant, sleep_until};
use wire::{LeaseStatus, Refusal};

use super::connect::Door;
use super::keys::{KeyForm, insert_bytes};
use super::output::{Ended, Stdout, print};
use super::{Failure, Output, units};

/// `cairn lease`.
#[derive(Debug, Subcommand)]
pub(crate) enum LeaseCommand {
    /// Grant a lease and print its number: what hangs on it vanishes with it
    #[command(after_help = "\
Examples:
  cairn lease grant 30s
  cairn put worker/7 alive --lease $(cairn lease grant 30s)
  cairn lease grant 30s --id 7        with this number, if no other lease has it")]
    Grant(GrantArgs),
    /// End a lease, and remove the keys that hang on it
    #[command(after_help = "Example:\n  cairn lease revoke 8142367")]
    Revoke {
        /// The lease: its number, or 0x and hexadecimal digits
        #[arg(value_parser = number)]
        lease: u64,
    },
    /// Give a lease all of its time anew, again and again until Ctrl-C
    #[command(after_help = "\
Examples:
  cairn lease keep-alive 8142367
  cairn lease keep-alive 8142367 --once")]
    KeepAlive {
        /// The lease: its number, or 0x and hexadecimal digits
        #[arg(value_parser = number)]
        lease: u64,
        /// Once is enough
        #[arg(long)]
        once: bool,
    },
    /// Show how long a lease has left
    #[command(after_help = "\
Examples:
  cairn lease timetolive 8142367
  cairn lease timetolive 8142367 --keys   with the keys that hang on it")]
    Timetolive {
        /// The lease: its number, or 0x and hexadecimal digits
        #[arg(value_parser = number)]
        lease: u64,
        /// Print the keys that hang on it, one a line
        #[arg(long)]
        keys: bool,
        #[command(flatten)]
        form: KeyForm,
    },
    /// List all leases
    #[command(after_help = "Example:\n  cairn lease list")]
    List,
}

/// `cairn lease grant`.
#[derive(Debug, Args)]
pub(crate) struct GrantArgs {
    /// How long it lives without being kept alive, as 500ms, 30s or 2m
    #[arg(value_parser = units::duration)]
    ttl: Duration,
    /// Its number, instead of one drawn at random
    #[arg(long, value_parser = number)]
    id: Option<u64>,
}

/// A lease's number: decimal as we print it, or hexadecimal after 0x as etcd's tools do.
pub(crate) fn number(text: &str) -> Result<u64, String> {
    let number = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    match number {
        Ok(number) if number > 0 => Ok(number),
        _ => Err("expected a lease's number from 1 on, or 0x and hexadecimal digits".to_owned()),
    }
}

/// Carries out `cairn lease`.
pub(crate) async fn lease(door: Door, command: LeaseCommand) -> Result<(), Ended> {
    match command {
        LeaseCommand::Grant(args) => grant(&door, args).await,
        LeaseCommand::Revoke { lease } => revoke(&door, lease).await,
        LeaseCommand::KeepAlive { lease, once: true } => {
            keep_alive(&door, lease).await?;
            Ok(())
        }
        LeaseCommand::KeepAlive { lease, once: false } => tokio::select! {
            ended = keep_on(&door, lease) => ended,
            _ = tokio::signal::ctrl_c() => Ok(()),
        },
        LeaseCommand::Timetolive { lease, keys, form } => {
            let status = door.client.lease(lease, keys).await.map_err(none_such)?.value;
            show(door.output, &status, keys, form)
        }
        LeaseCommand::List => list(&door).await,
    }
}

async fn grant(door: &Door, GrantArgs { ttl, id }: GrantArgs) -> Result<(), Ended> {
    let lease = match id {
        Some(id) => door.client.grant_as(id, ttl).await.map(|_| id)?,
        None => door.client.grant(ttl).await?,
    };
    match door.output {
        Output::Text => print(&lease.to_string()),
        Output::Json => print(&json!({ "lease": lease, "ttl_ms": millis(ttl) }).to_string()),
    }
}

async fn revoke(door: &Door, lease: u64) -> Result<(), Ended> {
    let revision = door.client.revoke(lease).await.map_err(none_such)?.value.revision;
    match door.output {
        Output::Text => print(&format!("lease {lease} revoked at revision {revision}")),
        Output::Json => print(&json!({ "lease": lease, "revision": revision.0 }).to_string()),
    }
}

/// Keeps it alive once; how long that holds.
async fn keep_alive(door: &Door, lease: u64) -> Result<Duration, Ended> {
    let status = door.client.keep_alive(lease).await.map_err(none_such)?.value;
    let ttl = Duration::from_millis(status.ttl_ms);
    match door.output {
        Output::Text => print(&format!("lease {lease} lives for {ttl:?}"))?,
        Output::Json => print(&json!({ "lease": lease, "ttl_ms": status.ttl_ms }).to_string())?,
    }
    Ok(ttl)
}

async fn keep_on(door: &Door, lease: u64) -> Result<(), Ended> {
    let mut until: Option<Instant> = None;
    loop {
        let sent = Instant::now();
        match keep_alive(door, lease).await {
            Ok(ttl) => {
                until = Some(sent + ttl);
                sleep_until(sent + ttl / 3).await;
            }
            // As long as the lease may live there is a point in trying.
            Err(Ended::Failed(failure))
                if failure.code != NO_LEASE
                    && until.is_some_and(|until| Instant::now() < until) =>
            {
                super::say(&failure.text(door.output));
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            Err(ended) => return Err(ended),
        }
    }
}

fn show(output: Output, status: &LeaseStatus, keys: bool, form: KeyForm) -> Result<(), Ended> {
    let LeaseStatus { lease, ttl_ms, remaining_ms, keys: held } = status;
    let mut out = Stdout::new();
    match output {
        Output::Text => {
            let span = Duration::from_millis;
            let (left, ttl) = (span(*remaining_ms), span(*ttl_ms));
            out.line(&format!("lease {lease} has {left:?} of {ttl:?} left"))?;
            for key in held {
                out.line(&form.show(key))?;
            }
        }
        Output::Json => {
            let mut shown =
                json!({ "lease": lease, "ttl_ms": ttl_ms, "remaining_ms": remaining_ms });
            if keys {
                shown["keys"] = held.iter().map(|key| key_json(key, form)).collect();
            }
            out.line(&shown.to_string())?;
        }
    }
    Ok(out.flush()?)
}

fn key_json(key: &[u8], form: KeyForm) -> serde_json::Value {
    let mut object = serde_json::Map::new();
    if form.hex_keys {
        form.insert(&mut object, key);
    } else {
        insert_bytes(&mut object, "key", key);
    }
    object.into()
}

async fn list(door: &Door) -> Result<(), Ended> {
    let leases = door.client.leases().await?.value;
    let mut out = Stdout::new();
    match door.output {
        Output::Text => {
            for lease in leases {
                out.line(&lease.to_string())?;
            }
        }
        Output::Json => out.line(&json!({ "leases": leases }).to_string())?,
    }
    Ok(out.flush()?)
}

/// The code of "there is no such lease".
const NO_LEASE: &str = "lease_not_found";

/// That a lease is not there is an answer, when it was the question.
fn none_such(error: Error) -> Ended {
    match error {
        Error::Refused(refusal @ Refusal::LeaseNotFound { .. }) => {
            let failure = Failure::no(NO_LEASE, refusal.to_string());
            failure.help("`cairn lease list` shows those that there are").into()
        }
        other => other.into(),
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_named_by_its_number() {
        assert_eq!(number("8142367"), Ok(8_142_367));
        assert_eq!(number("0x7c3e1f"), Ok(8_142_367));
        for bad in ["", "0", "0x", "0x0", "x", "-1", "7c3e1f"] {
            assert!(number(bad).is_err(), "{bad}");
        }
    }
}
