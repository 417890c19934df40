//! `cairn auth`, `cairn user` and `cairn role`: who may do what.

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Map, Value, json};
use wire::{
    Access, AuthAnswer, AuthChange, AuthQuestion, Hidden, KeyRange, MAX_PASSWORD_BYTES, Permission,
};

use super::connect::Door;
use super::keys::{KeyForm, insert_bytes};
use super::output::{Ended, print};
use super::{Failure, Output, secret};
use crate::auth::{guard, password};

/// `cairn auth`.
#[derive(Debug, Subcommand)]
pub(crate) enum AuthCommand {
    /// Have everybody say who he is from now on
    #[command(after_help = "\
The user root must exist, and have the role root:
  cairn user add root
  cairn user grant-role root root
  cairn auth enable
  cairn --user root get hello")]
    Enable,
    /// Ask nobody any more who he is
    #[command(after_help = "Example:\n  cairn --user root auth disable")]
    Disable,
    /// Show whether everybody must say who he is
    #[command(after_help = "Example:\n  cairn --user root auth status")]
    Status,
}

/// `cairn user`.
#[derive(Debug, Subcommand)]
pub(crate) enum UserCommand {
    /// Add a user; the terminal is asked for the password, or stdin has it
    #[command(after_help = "\
Examples:
  cairn user add alice
  cairn user add alice < password.txt
  cairn user add node7 --no-password     for whoever shows a certificate of this name")]
    Add(AddArgs),
    /// Delete a user
    #[command(after_help = "Example:\n  cairn user delete alice")]
    Delete {
        /// Who
        user: String,
    },
    /// List all users
    #[command(after_help = "Example:\n  cairn user list")]
    List,
    /// Show the roles of a user
    #[command(after_help = "Example:\n  cairn user get alice")]
    Get {
        /// Who
        user: String,
    },
    /// Change a password; the terminal is asked for the new one, or stdin has it
    #[command(after_help = "Example:\n  cairn user passwd alice")]
    Passwd {
        /// Whose
        user: String,
    },
    /// Give a user a role
    #[command(after_help = "Example:\n  cairn user grant-role alice readers")]
    GrantRole {
        /// Who
        user: String,
        /// Which
        role: String,
    },
    /// Take a role from a user
    #[command(after_help = "Example:\n  cairn user revoke-role alice readers")]
    RevokeRole {
        /// Who
        user: String,
        /// Which
        role: String,
    },
}

/// `cairn user add`.
#[derive(Debug, Args)]
pub(crate) struct AddArgs {
    /// Name
    user: String,
    /// Without a password: only a certificate proves who this is
    #[arg(long)]
    no_password: bool,
}

/// `cairn role`.
#[derive(Debug, Subcommand)]
pub(crate) enum RoleCommand {
    /// Add a role, which may do nothing yet
    #[command(after_help = "Example:\n  cairn role add readers")]
    Add {
        /// Name
        role: String,
    },
    /// Delete a role, and take it from all who have it
    #[command(after_help = "Example:\n  cairn role delete readers")]
    Delete {
        /// Which
        role: String,
    },
    /// List all roles
    #[command(after_help = "Example:\n  cairn role list")]
    List,
    /// Show what a role may do
    #[command(after_help = "Example:\n  cairn role get readers")]
    Get {
        /// Which
        role: String,
        #[command(flatten)]
        form: KeyForm,
    },
    /// Allow a role something
    #[command(after_help = "\
Examples:
  cairn role grant-permission readers read --prefix user/
  cairn role grant-permission writers readwrite config
  cairn role grant-permission all readwrite --from ''")]
    GrantPermission {
        /// Which
        role: String,
        /// What is allowed
        access: AccessArg,
        #[command(flatten)]
        keys: KeysArgs,
    },
    /// Take a permission back; the keys must be those that were named when it was granted
    #[command(after_help = "Example:\n  cairn role revoke-permission readers --prefix user/")]
    RevokePermission {
        /// Which
        role: String,
        #[command(flatten)]
        keys: KeysArgs,
    },
}

/// What a permission allows.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum AccessArg {
    /// To read and to watch
    Read,
    /// To put and to delete
    Write,
    /// Both
    Readwrite,
}

/// Which keys a permission is about.
#[derive(Debug, Args)]
pub(crate) struct KeysArgs {
    /// This key
    #[arg(required_unless_present_any = ["prefix", "from", "to"])]
    #[arg(conflicts_with_all = ["prefix", "from", "to"])]
    key: Option<String>,
    /// All keys that begin with this
    #[arg(long, conflicts_with_all = ["from", "to"])]
    prefix: Option<String>,
    /// All keys from this one on
    #[arg(long)]
    from: Option<String>,
    /// All keys before this one
    #[arg(long)]
    to: Option<String>,
    #[command(flatten)]
    form: KeyForm,
}

impl KeysArgs {
    fn range(&self) -> Result<KeyRange, Failure> {
        if let Some(key) = &self.key {
            return Ok(KeyRange::single(self.form.parse(key)?));
        }
        let (prefix, from, to) = (self.prefix.clone(), self.from.clone(), self.to.clone());
        super::keys::RangeArgs { prefix, from, to }.range(self.form)
    }
}

/// Carries out `cairn auth`.
pub(crate) async fn auth(door: Door, command: AuthCommand) -> Result<(), Ended> {
    match command {
        AuthCommand::Enable => {
            let secret = guard::draw_secret();
            change(&door, AuthChange::Enable { secret }, "authentication is enabled").await
        }
        AuthCommand::Disable => {
            change(&door, AuthChange::Disable, "authentication is disabled").await
        }
        AuthCommand::Status => match door.client.ask_auth(AuthQuestion::Status).await?.value {
            AuthAnswer::Status { enabled, revision } => match door.output {
                Output::Text => {
                    let word = if enabled { "enabled" } else { "disabled" };
                    print(&format!("authentication is {word} (auth revision {revision})"))
                }
                Output::Json => {
                    print(&json!({ "enabled": enabled, "auth_revision": revision }).to_string())
                }
            },
            _ => Err(mismatch()),
        },
    }
}

/// Carries out `cairn user`.
pub(crate) async fn user(door: Door, command: UserCommand) -> Result<(), Ended> {
    match command {
        UserCommand::Add(AddArgs { user, no_password }) => {
            let password = if no_password { None } else { Some(new_hash(&user)?) };
            let done = format!("user {user} added");
            change(&door, AuthChange::UserAdd { user, password }, &done).await
        }
        UserCommand::Delete { user } => {
            let done = format!("user {user} deleted");
            change(&door, AuthChange::UserDelete { user }, &done).await
        }
        UserCommand::List => names(&door, AuthQuestion::Users, "users").await,
        UserCommand::Get { user } => names(&door, AuthQuestion::User(user), "roles").await,
        UserCommand::Passwd { user } => {
            let password = new_hash(&user)?;
            let done = format!("password of {user} changed");
            change(&door, AuthChange::UserPassword { user, password }, &done).await
        }
        UserCommand::GrantRole { user, role } => {
            let done = format!("user {user} has role {role}");
            change(&door, AuthChange::UserGrant { user, role }, &done).await
        }
        UserCommand::RevokeRole { user, role } => {
            let done = format!("user {user} has role {role} no more");
            change(&door, AuthChange::UserRevoke { user, role }, &done).await
        }
    }
}

/// Carries out `cairn role`.
pub(crate) async fn role(door: Door, command: RoleCommand) -> Result<(), Ended> {
    match command {
        RoleCommand::Add { role } => {
            let done = format!("role {role} added");
            change(&door, AuthChange::RoleAdd { role }, &done).await
        }
        RoleCommand::Delete { role } => {
            let done = format!("role {role} deleted");
            change(&door, AuthChange::RoleDelete { role }, &done).await
        }
        RoleCommand::List => names(&door, AuthQuestion::Roles, "roles").await,
        RoleCommand::Get { role, form } => {
            match door.client.ask_auth(AuthQuestion::Role(role)).await?.value {
                AuthAnswer::Permissions(permissions) => show(&door, &permissions, form),
                _ => Err(mismatch()),
            }
        }
        RoleCommand::GrantPermission { role, access, keys } => {
            let access = match access {
                AccessArg::Read => Access::Read,
                AccessArg::Write => Access::Write,
                AccessArg::Readwrite => Access::ReadWrite,
            };
            let permission = Permission { access, range: keys.range()? };
            let done = format!("role {role} may do more");
            change(&door, AuthChange::RoleGrant { role, permission }, &done).await
        }
        RoleCommand::RevokePermission { role, keys } => {
            let (range, done) = (keys.range()?, format!("role {role} may do less"));
            change(&door, AuthChange::RoleRevoke { role, range }, &done).await
        }
    }
}

/// The password stays in this process: what leaves it is a salted hash.
fn new_hash(user: &str) -> Result<Hidden, Failure> {
    let new = secret::new_password(user)?;
    if new.0.len() > MAX_PASSWORD_BYTES {
        let why = format!("a password has at most {MAX_PASSWORD_BYTES} bytes");
        return Err(Failure::usage(why));
    }
    Ok(password::hash(&new))
}

async fn change(door: &Door, change: AuthChange, done: &str) -> Result<(), Ended> {
    let revision = door.client.change_auth(change).await?.value.revision;
    match door.output {
        Output::Text => print(done),
        Output::Json => print(&json!({ "revision": revision.0 }).to_string()),
    }
}

async fn names(door: &Door, question: AuthQuestion, what: &str) -> Result<(), Ended> {
    match (door.client.ask_auth(question).await?.value, door.output) {
        (AuthAnswer::Names(names), Output::Text) if names.is_empty() => Ok(()),
        (AuthAnswer::Names(names), Output::Text) => print(&names.join("\n")),
        (AuthAnswer::Names(names), Output::Json) => print(&json!({ what: names }).to_string()),
        _ => Err(mismatch()),
    }
}

fn show(door: &Door, permissions: &[Permission], form: KeyForm) -> Result<(), Ended> {
    match door.output {
        Output::Text => permissions.iter().try_for_each(|Permission { access, range }| {
            let start = form.show(&range.start);
            let keys = match &range.end {
                _ if range.is_single() => start,
                _ if *range == KeyRange::all() => "all keys".to_owned(),
                _ if *range == KeyRange::prefix(range.start.clone()) => format!("{start}…"),
                None => format!("from {start} on"),
                Some(end) => format!("from {start} to before {}", form.show(end)),
            };
            print(&format!("{:<9}  {keys}", word(*access)))
        }),
        Output::Json => {
            let permission = |Permission { access, range }: &Permission| {
                let mut object = Map::new();
                object.insert("access".into(), word(*access).into());
                insert_bytes(&mut object, "from", &range.start);
                if let Some(end) = &range.end {
                    insert_bytes(&mut object, "to", end);
                }
                Value::Object(object)
            };
            let all: Vec<Value> = permissions.iter().map(permission).collect();
            print(&json!({ "permissions": all }).to_string())
        }
    }
}

fn word(access: Access) -> &'static str {
    match access {
        Access::Read => "read",
        Access::Write => "write",
        Access::ReadWrite => "readwrite",
    }
}

fn mismatch() -> Ended {
    Failure::not_done("fatal", "a node answered with something else").into()
}
