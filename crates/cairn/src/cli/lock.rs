//! `cairn lock` and `cairn elect`: one at a time, and one above all.

use std::ffi::OsString;
use std::time::Duration;

use clap::Args;
use layer_lock::{Election, Error, Lock, Observed, Sequencer, Session};
use serde_json::{Value, json};

use super::connect::Door;
use super::get::item_json;
use super::holding::{self, Signals, close, ended_with, run_under};
use super::keys::{KeyForm, insert_bytes, printable};
use super::output::{Ended, Stdout, print};
use super::{Failure, Output, units};

const LOCK_EXAMPLE: &str = "\
With a command: runs it while the lock is held, and ends with its exit code. If the lock is lost, the
command gets SIGTERM, and SIGKILL after 5 s. It finds in its environment
  CAIRN_LOCK_KEY    the lock's key
  CAIRN_LOCK_TOKEN  the fencing token: the revision that created the key
  CAIRN_LOCK_FENCE  both, as --fence and the HTTP header Fence take them
Without one: prints KEY@TOKEN once the lock is held, and holds it until Ctrl-C.

A lock alone is advisory: a process that was paused may go on after the lock is another's. Writes
that bear the token are refused then.

Examples:
  cairn lock nightly -- ./backup.sh
  cairn lock nightly -- sh -c 'cairn put state done --fence $CAIRN_LOCK_FENCE'
  cairn lock nightly --try -- ./backup.sh     exit code 1 if somebody else holds it
  cairn lock nightly";

/// `cairn lock`.
#[derive(Debug, Args)]
#[command(after_help = LOCK_EXAMPLE)]
pub(crate) struct LockArgs {
    /// The lock's name
    name: String,
    /// How long the lock outlives a holder that has died
    #[arg(long, default_value = "10s", value_parser = units::duration)]
    ttl: Duration,
    /// Do not wait if somebody else holds it
    #[arg(long = "try")]
    only_try: bool,
    /// The command to run, and its arguments
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
    #[command(flatten)]
    form: KeyForm,
}

const ELECT_EXAMPLE: &str = "\
Stands for election, waits to be elected, prints KEY@TOKEN, and leads until Ctrl-C.
With --listen: prints a line for each leader and for what it proclaims, with tabs between: revision, key,
value.

Examples:
  cairn elect primary \"$HOSTNAME\"
  cairn elect primary --listen";

/// `cairn elect`.
#[derive(Debug, Args)]
#[command(after_help = ELECT_EXAMPLE)]
pub(crate) struct ElectArgs {
    /// The election's name
    name: String,
    /// What to proclaim as the leader
    #[arg(required_unless_present = "listen", conflicts_with = "listen")]
    value: Option<String>,
    /// Print who leads, and whoever does later
    #[arg(long)]
    listen: bool,
    /// How long a leadership outlives a leader that has died
    #[arg(long, default_value = "10s", value_parser = units::duration)]
    ttl: Duration,
    #[command(flatten)]
    form: KeyForm,
}

/// Carries out `cairn lock`.
pub(crate) async fn lock(door: Door, args: LockArgs) -> Result<(), Ended> {
    let name = args.form.parse(&args.name)?;
    let mut signals = Signals::take()?;
    let session = Session::open(&door.client, args.ttl).await.map_err(of_layer)?;
    let lock = Lock::new(&door.client, name);
    let held = if args.only_try {
        lock.try_acquire(session.lease()).await
    } else {
        lock.acquire(session.lease(), given_up(&session, &mut signals)).await
    };
    let held = match held {
        Ok(Some(held)) => held,
        other => return not_held(session, other.map(|_| args.only_try), &args.name).await,
    };
    let sequencer = held.sequencer();
    if args.command.is_empty() {
        told(&door, &session, &sequencer)?;
        return hold(session, "lock", &mut signals).await;
    }
    match run_under(&session, "lock", &sequencer, &args.command, &mut signals).await {
        Ok(code) => {
            close(session).await;
            ended_with(code)
        }
        Err(failure) => {
            close(session).await;
            Err(failure.into())
        }
    }
}

/// Ready when there is no point in waiting on: a signal came, or the lease is lost.
async fn given_up(session: &Session, signals: &mut Signals) {
    tokio::select! {
        _ = session.lost() => {}
        _ = signals.next() => {}
    }
}

/// It was waited for in vain: the lease was lost, we were told to stop, or it was a try only.
async fn not_held(
    session: Session,
    only_try: Result<bool, Error>,
    name: &str,
) -> Result<(), Ended> {
    let lost = session.is_lost();
    close(session).await;
    match (only_try, lost) {
        (Ok(true), _) => {
            let failure = Failure::no("held", format!("somebody else holds {name:?}"));
            Err(failure.help("leave --try out to wait for it").into())
        }
        (Ok(false), None) => {
            let why = format!("interrupted while waiting for {name:?}");
            Err(Failure::not_done("interrupted", why).into())
        }
        (Ok(false), Some(lost)) => {
            let why = format!("waiting for {name:?}: {lost}");
            Err(Failure::not_done("lost", why).into())
        }
        (Err(error), _) => Err(of_layer(error)),
    }
}

/// Holds until told to stop, or until it is lost.
async fn hold(session: Session, what: &str, signals: &mut Signals) -> Result<(), Ended> {
    tokio::select! {
        lost = session.lost() => Err(holding::lost(what, lost).into()),
        _ = signals.next() => {
            close(session).await;
            Ok(())
        }
    }
}

fn told(door: &Door, session: &Session, sequencer: &Sequencer) -> Result<(), Ended> {
    match door.output {
        Output::Text => print(&sequencer.to_string()),
        Output::Json => {
            let mut told = json!({
                "token": sequencer.token.0,
                "fence": sequencer.to_string(),
                "lease": session.lease(),
            });
            if let Value::Object(object) = &mut told {
                insert_bytes(object, "key", &sequencer.key);
            }
            print(&told.to_string())
        }
    }
}

/// Carries out `cairn elect`.
pub(crate) async fn elect(door: Door, args: ElectArgs) -> Result<(), Ended> {
    let name = args.form.parse(&args.name)?;
    let election = Election::new(&door.client, name);
    let Some(value) = args.value else {
        return listen(&door, &election, args.form).await;
    };
    let mut signals = Signals::take()?;
    let session = Session::open(&door.client, args.ttl).await.map_err(of_layer)?;
    let given_up = given_up(&session, &mut signals);
    let won = election.campaign(session.lease(), value, given_up).await;
    match won {
        Ok(Some(won)) => {
            told(&door, &session, &won.sequencer())?;
            hold(session, "leadership", &mut signals).await
        }
        other => not_held(session, other.map(|_| false), &args.name).await,
    }
}

async fn listen(door: &Door, election: &Election, form: KeyForm) -> Result<(), Ended> {
    let mut observer = election.observe();
    let mut out = Stdout::new();
    loop {
        let Observed { revision, item } = tokio::select! {
            seen = observer.next() => seen.map_err(of_layer)?,
            _ = tokio::signal::ctrl_c() => return Ok(()),
        };
        match door.output {
            Output::Text => {
                let (key, value) = (form.show(&item.key), printable(&item.value));
                out.line(&format!("{revision}\t{key}\t{value}"))?;
            }
            Output::Json => {
                let mut object = item_json(&item, form);
                object.insert("revision".into(), revision.0.into());
                out.line(&Value::Object(object).to_string())?;
            }
        }
        out.flush()?;
    }
}

fn of_layer(error: Error) -> Ended {
    match error {
        Error::Client(error) => error.into(),
        Error::Gone | Error::NotLeader => Failure::not_done("lost", error.to_string()).into(),
    }
}
