//! Settings as flags, made from the table.

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, Subcommand};

use super::layer::{Layer, Origin, Raw};
use super::settings::SETTINGS;

const SERVE_HELP: &str = "\
Settings come from flags, from CAIRN_* in the environment and from the file, in this order; `cairn config
show` prints them with their origin. Without any, this is a complete server of one node on 127.0.0.1:8000.

Examples:
  cairn serve
  cairn serve --config /etc/cairn.toml
  cairn serve --cluster blue --node 1 --member 1=a:8000@a:9000 --member 2=b:8000@b:9000 --member 3=c:8000@c:9000
  cairn serve --join --cluster blue --node 4 --member 1=a:8000@a:9000 --member 4=d:8000@d:9000

Exit codes:
  0  stopped as asked, by SIGTERM or SIGINT
  1  ended at once, by a second signal
  2  the configuration makes no sense
  3  refused: the data directory or a port is taken, or the directory belongs to another node
  4  the storage is damaged, full at start, or failed; what was acknowledged is as safe as the disk is
  5  a bug: the node found its own state impossible, and stopped rather than lie
  6  the cluster does not take this node: it was removed, or has another data directory than before; starting
     it again changes nothing";

/// Settings given on a command line.
#[derive(Clone, Debug, Default)]
pub(crate) struct SettingsArgs {
    /// The configuration file.
    pub(super) config: Option<PathBuf>,
    /// The flags.
    pub(super) flags: Layer,
}

impl Args for SettingsArgs {
    fn augment_args(command: Command) -> Command {
        let config = Arg::new("config")
            .long("config")
            .value_name("FILE")
            .value_parser(clap::value_parser!(PathBuf))
            .help("The configuration file, in TOML [env: CAIRN_CONFIG]");
        SETTINGS.iter().fold(command.arg(config), |command, setting| {
            let default = match setting.default {
                "" => String::new(),
                default => format!(" [default: {default}]"),
            };
            let help = format!("{}{default} [env: {}]", setting.help, setting.variable());
            let action = if setting.name == "members" { ArgAction::Append } else { ArgAction::Set };
            let arg = Arg::new(setting.name)
                .long(setting.flag())
                .value_name(setting.form)
                .action(action)
                .help(help)
                .help_heading("Settings");
            // A switch may stand without a value.
            let is_switch = setting.form == "true|false";
            let arg =
                if is_switch { arg.num_args(0..=1).default_missing_value("true") } else { arg };
            command.arg(arg)
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for SettingsArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut args = Self::default();
        args.update_from_arg_matches(matches)?;
        Ok(args)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.config = matches.get_one::<PathBuf>("config").cloned();
        for setting in SETTINGS {
            let Some(values) = matches.get_many::<String>(setting.name) else { continue };
            let text = values.map(String::as_str).collect::<Vec<_>>().join(",");
            let origin = Origin::Flag(setting.flag());
            self.flags.insert(setting.name, Raw { text, origin });
        }
        Ok(())
    }
}

/// How one node is run.
#[derive(Debug, Args)]
#[command(after_help = SERVE_HELP)]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    pub(crate) settings: SettingsArgs,
    /// End when stdin ends: `cairn up` holds its other side.
    #[arg(long, hide = true)]
    pub(crate) exit_with_parent: bool,
}

/// What can be done with a configuration.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Say whether the configuration holds, and if not, why
    #[command(after_help = "Example:\n  cairn config check --config /etc/cairn.toml")]
    Check(CheckArgs),
    /// Print every setting with its value and where that came from
    #[command(
        after_help = "Example:\n  cairn config show --config /etc/cairn.toml --max-value 16MiB"
    )]
    Show(CheckArgs),
}

/// The same settings as `cairn serve` takes.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    pub(super) settings: SettingsArgs,
}
