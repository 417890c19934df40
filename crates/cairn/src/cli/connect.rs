//! The door to a cluster, as every client command opens it.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use client::Client;
use client::tcp::{Connector, Login, Scheme, Tcp, parse};
use wire::{Consistency, Hidden, Revision};

use super::output::{self, Ended};
use super::{Failure, Output, secret, units};
use crate::drivers::random;
use crate::tls::outgoing::{Check, Outgoing};

/// Where `cairn up` puts its nodes, and where a single `cairn serve` stands.
const DEFAULT_ENDPOINTS: &str = "localhost:8001,localhost:8002,localhost:8003,localhost:8000";

const TLS_FILES_HELP: &str = "--cacert, --cert and --key (CAIRN_CACERT, CAIRN_CERT, CAIRN_KEY) name PEM \
                              files, the key without a password";

/// What holds for all client commands.
#[derive(Clone, Debug, Args)]
pub(crate) struct Global {
    /// Client addresses of some or all nodes, as host:port or https://host:port, with commas between
    #[arg(long, global = true, env = "CAIRN_ENDPOINTS", value_name = "ADDRESSES")]
    #[arg(default_value = DEFAULT_ENDPOINTS, value_delimiter = ',')]
    #[arg(help_heading = "Client options")]
    pub(crate) endpoints: Vec<String>,
    /// CAs that the nodes' certificates are signed by, in PEM; without it those of this system. With any
    /// of these options, addresses are spoken to in TLS unless they begin with http://
    #[arg(long, global = true, env = "CAIRN_CACERT", value_name = "FILE")]
    #[arg(help_heading = "Client options")]
    pub(crate) cacert: Option<PathBuf>,
    /// Certificate to show to the nodes, in PEM
    #[arg(long, global = true, env = "CAIRN_CERT", value_name = "FILE")]
    #[arg(help_heading = "Client options")]
    pub(crate) cert: Option<PathBuf>,
    /// Its private key, in PEM
    #[arg(long = "key", global = true, env = "CAIRN_KEY", value_name = "FILE")]
    #[arg(help_heading = "Client options")]
    pub(crate) tls_key: Option<PathBuf>,
    /// Speak to whoever is there, whatever its certificate: for trials only
    #[arg(long, global = true, env = "CAIRN_INSECURE_SKIP_TLS_VERIFY")]
    #[arg(help_heading = "Client options")]
    pub(crate) insecure_skip_tls_verify: bool,
    /// User to log in as, with or without the password; without it `CAIRN_PASSWORD` has it, or the
    /// terminal is asked
    #[arg(long = "user", global = true, env = "CAIRN_USER", value_name = "NAME[:PASSWORD]")]
    #[arg(help_heading = "Client options", hide_env_values = true)]
    pub(crate) login: Option<String>,
    /// How long to try, as 500ms, 5s or 2m
    #[arg(long, global = true, default_value = "10s", value_parser = units::duration)]
    #[arg(help_heading = "Client options")]
    pub(crate) timeout: Duration,
    /// Form of what is printed
    #[arg(long, global = true, value_enum, default_value_t)]
    #[arg(help_heading = "Client options")]
    pub(crate) output: Output,
}

/// What a client command works with.
#[derive(Clone)]
pub(crate) struct Door {
    /// The cluster.
    pub(crate) client: Client,
    /// The form of what is printed.
    pub(crate) output: Output,
    /// How long to try.
    pub(crate) timeout: Duration,
    /// How it is reached.
    pub(crate) via: Via,
}

/// How connections are made.
#[derive(Clone, Debug, Default)]
pub(crate) struct Via {
    /// What encrypts them, if they are to be.
    pub(crate) connector: Option<Arc<dyn Connector>>,
    /// Who uses them.
    pub(crate) login: Option<Login>,
}

/// Opens the door, runs `command`, and turns its end into an exit code.
pub(crate) fn with_client(
    global: &Global,
    command: impl AsyncFnOnce(Door) -> Result<(), Ended>,
) -> ExitCode {
    let output = global.output;
    let result = runtime().and_then(|runtime| {
        // The transport's tasks need the runtime from their first breath.
        let result = runtime.block_on(async { command(open(global)?).await });
        // A look-up of a name may hang for long on a thread of its own. Nobody waits for it.
        runtime.shutdown_background();
        result
    });
    output::finish(output, result)
}

fn runtime() -> Result<tokio::runtime::Runtime, Ended> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| {
        Failure::not_done("system", format!("start the network runtime: {error}")).into()
    })
}

fn open(global: &Global) -> Result<Door, Failure> {
    let via = Via { connector: connector(global)?, login: login(global.login.as_deref())? };
    let client = reach(&global.endpoints, &via, global.timeout)
        .map_err(|failure| failure.help("write --endpoints as host:port,host:port"))?;
    Ok(Door { client, output: global.output, timeout: global.timeout, via })
}

/// Who is to be logged in.
fn login(user: Option<&str>) -> Result<Option<Login>, Failure> {
    let Some(user) = user.filter(|user| !user.is_empty()) else { return Ok(None) };
    let (user, password) = match user.split_once(':') {
        Some((user, password)) => (user, Hidden(password.to_owned().into())),
        None => (user, secret::password(&format!("Password of {user}: "))?),
    };
    Ok(Some(Login { user: user.to_owned(), password }))
}

/// What encrypts connections, if an endpoint asks for it, or an option does and no endpoint says no.
fn connector(global: &Global) -> Result<Option<Arc<dyn Connector>>, Failure> {
    let Global { endpoints, cacert, cert, tls_key, insecure_skip_tls_verify, .. } = global;
    let own = match (cert, tls_key) {
        (Some(cert), Some(key)) => Some((cert.as_path(), key.as_path())),
        (None, None) => None,
        _ => return Err(Failure::usage("--cert and --key go together: give both, or none")),
    };
    let asked = cacert.is_some() || own.is_some() || *insecure_skip_tls_verify;
    // An endpoint that can't be understood is refused by whoever uses it.
    let wants_tls = |endpoint: &String| match parse(endpoint) {
        Ok(endpoint) => match endpoint.scheme {
            Scheme::Tls => true,
            Scheme::Unsaid => asked,
            Scheme::Plain => false,
        },
        Err(_) => false,
    };
    if !endpoints.iter().any(wants_tls) {
        return Ok(None);
    }
    let check = if *insecure_skip_tls_verify { Check::No } else { Check::Yes };
    let outgoing = Outgoing::given(cacert.as_deref(), own, check)
        .map_err(|fault| Failure::usage(fault.to_string()).help(TLS_FILES_HELP))?;
    Ok(Some(Arc::new(outgoing)))
}

/// A client that asks at these addresses.
pub(crate) fn reach(endpoints: &[String], via: &Via, timeout: Duration) -> Result<Client, Failure> {
    let (connector, login) = (via.connector.as_ref(), via.login.as_ref());
    let transport = Tcp::with_login(endpoints, None, connector, login)
        .map_err(|error| Failure::usage(error.to_string()))?;
    let config = client::Config { client_id: random::draw(), timeout, seed: random::draw_u64() };
    Ok(Client::new(Arc::new(transport), config))
}

/// What a read promises, as the command line names it.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct ConsistencyArg {
    /// What the read promises: linearizable (sees every acknowledged write), session:N (sees
    /// revision N at least), eventual (whatever the asked node has)
    #[arg(long, default_value = "linearizable", value_parser = consistency)]
    pub(crate) consistency: Consistency,
}

fn consistency(text: &str) -> Result<Consistency, String> {
    match text {
        "linearizable" => return Ok(Consistency::Linearizable),
        "eventual" => return Ok(Consistency::Eventual),
        _ => {}
    }
    text.strip_prefix("session:")
        .and_then(|revision| revision.parse().ok())
        .map(|revision| Consistency::Session(Revision(revision)))
        .ok_or_else(|| "expected linearizable, session:REVISION or eventual".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consistency_has_three_words() {
        assert_eq!(consistency("linearizable"), Ok(Consistency::Linearizable));
        assert_eq!(consistency("session:42"), Ok(Consistency::Session(Revision(42))));
        assert_eq!(consistency("eventual"), Ok(Consistency::Eventual));
        for wrong in ["", "session", "session:", "session:x", "strong"] {
            assert!(consistency(wrong).is_err(), "{wrong:?}");
        }
    }
}
