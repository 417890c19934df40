//! The configuration as a whole: precedence, rules, and the page that describes it.

use std::path::Path;

use clap::{Args, Command, FromArgMatches};

use super::args::SettingsArgs;
use super::settings::SETTINGS;
use super::*;
use crate::drivers::test_dir::TestDir;
use crate::tls::files::Callers;

fn args(flags: &[&str]) -> SettingsArgs {
    let command = SettingsArgs::augment_args(Command::new("serve").no_binary_name(true));
    let matches = command.try_get_matches_from(flags).unwrap();
    SettingsArgs::from_arg_matches(&matches).unwrap()
}

fn load(flags: &[&str], env: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let find = |name: &str| {
        env.iter().find(|(variable, _)| *variable == name).map(|(_, value)| (*value).to_owned())
    };
    Config::load_with(&args(flags), &find)
}

fn refusal(flags: &[&str]) -> String {
    load(flags, &[]).unwrap_err().to_string()
}

const THREE: [&str; 8] = [
    "--cluster",
    "blue",
    "--member",
    "1=a:8000@a:9000",
    "--member",
    "2=b:8000@b:9000",
    "--member",
    "3=c:8000@c:9000",
];

#[test]
fn nothing_at_all_is_a_complete_server() {
    let config = load(&[], &[]).unwrap();
    assert_eq!(config.node, NodeId(1));
    assert_eq!(config.cluster, None);
    assert_eq!(config.client_listen, "127.0.0.1:8000");
    assert_eq!(config.peer_listen, None);
    assert_eq!(config.data_dir, Path::new("./cairn-data/node-1"));
    assert_eq!(config.members.len(), 1);
    assert_eq!(config.tuning.value_limit_bytes, 8 << 20);
    assert_eq!(config.tuning.command_limit_bytes, 16 << 20);
}

#[test]
fn a_flag_beats_the_environment_beats_the_file_beats_the_default() {
    let dir = TestDir::new();
    let path = dir.path().join("cairn.toml");
    std::fs::write(&path, "max_value = \"1MiB\"\nheartbeat = \"50ms\"\nnode = 3\n").unwrap();
    let path = path.to_str().unwrap();
    let env = [("CAIRN_CONFIG", path), ("CAIRN_MAX_VALUE", "2MiB"), ("CAIRN_HEARTBEAT", "60ms")];
    let config = load(&["--max-value", "3MiB"], &env).unwrap();
    assert_eq!(config.tuning.value_limit_bytes, 3 << 20);
    assert_eq!(config.tuning.heartbeat.as_millis(), 60);
    assert_eq!(config.node, NodeId(3));
    assert_eq!(config.engine, EngineKind::Disk);
    let origins: Vec<String> = ["max_value", "heartbeat", "node", "engine"]
        .iter()
        .map(|name| {
            let (_, raw) = config.effective.iter().find(|(known, _)| known == name).unwrap();
            raw.origin.to_string()
        })
        .collect();
    assert_eq!(origins, ["--max-value", "CAIRN_HEARTBEAT", &format!("{path}:3"), "default"]);
}

#[test]
fn a_member_listens_where_the_others_look_for_it() {
    let mut flags = THREE.to_vec();
    flags.extend(["--node", "2", "--peer-listen", "0.0.0.0:9000"]);
    let config = load(&flags, &[]).unwrap();
    assert_eq!(config.client_listen, "b:8000");
    assert_eq!(config.peer_listen.as_deref(), Some("0.0.0.0:9000"));
    assert_eq!(config.own_client_address(), "b:8000");
    assert_eq!(config.members.len(), 3);
}

#[test]
fn who_joins_names_itself_and_whom_to_ask() {
    let mut flags = THREE.to_vec();
    flags.extend(["--node", "2", "--join"]);
    assert!(load(&flags, &[]).unwrap().join);
    assert!(!load(&THREE, &[]).unwrap().join);
    assert!(load(&THREE, &[("CAIRN_JOIN", "true")]).unwrap().join);
    for alone in [&["--join"][..], &["--join", "--member", "1=a:1@a:2"]] {
        assert!(refusal(alone).contains("at least one of the cluster that it joins"), "{alone:?}");
    }
}

#[test]
fn a_node_that_is_named_opens_a_port_for_others_even_if_it_is_alone() {
    let config = load(&["--member", "1=a:8000@a:9000"], &[]).unwrap();
    assert_eq!(config.peer_listen.as_deref(), Some("a:9000"));
    assert_eq!(config.own_member().peer_address, "a:9000");
}

#[test]
fn an_error_names_the_setting_its_value_and_its_origin() {
    let error = load(&[], &[("CAIRN_MAX_VALUE", "8MB")]).unwrap_err().to_string();
    assert_eq!(
        error,
        "max_value = \"8MB\" (from CAIRN_MAX_VALUE): expected a size such as 64MiB \
         (units: B, KiB, MiB, GiB)"
    );
}

#[test]
fn settings_that_do_not_go_together_are_refused() {
    assert!(refusal(&["--node", "0"]).contains("begin at 1"));
    assert!(refusal(&["--max-value", "25MiB"]).contains("expected 1024 to 25165824 bytes"));
    assert!(refusal(&["--election-timeout", "200ms"]).contains("three heartbeats"));
    assert!(refusal(&["--journal-segment", "16MiB"]).contains("at least 32896KiB"));
    assert!(refusal(&["--inflight-limit", "2MiB"]).contains("the longest command"));
    assert!(refusal(&["--peer-listen", "a:1"]).contains("opens no peer port"));
    assert!(refusal(&["--data-dir", ""]).contains("it is empty"));
    assert!(refusal(&[&THREE[..], &["--node", "4"]].concat()).contains("not among them"));
    assert!(refusal(&THREE[2..]).contains("needs a name"));
    assert!(refusal(&["--member", "1=a:1@a:1"]).contains("a:1 stands there twice"));
    assert!(refusal(&["--member", "1=a:1@a:2,1=b:1@b:2"]).contains("node 1 stands there twice"));
    assert!(
        refusal(&["--member", "1=a:1@a:2", "--client-advertise", "x:1"])
            .contains("`members` says a:1")
    );
}

#[test]
fn tls_is_whole_or_absent() {
    let config = load(&[], &[]).unwrap();
    assert_eq!((config.client_tls, config.peer_tls), (None, None));
    let pair = ["--client-tls-cert", "c", "--client-tls-key", "k"];
    let client = |more: &[&str]| load(&[&pair, more].concat(), &[]).unwrap().client_tls.unwrap();
    assert_eq!(client(&[]).callers, Callers::Unknown);
    assert_eq!(client(&["--client-tls-ca", "a"]).callers, Callers::MayShow("a".into()));
    let demanded = client(&["--client-tls-auth", "--client-tls-ca", "a"]);
    assert_eq!(demanded.callers, Callers::MustShow("a".into()));
    assert!(refusal(&pair[..2]).contains("client_tls_cert and client_tls_key, both"));
    assert!(refusal(&["--client-tls-ca", "a"]).contains("does not switch it on"));
    assert!(refusal(&["--client-tls-auth", "true"]).contains("expected client_tls_ca beside it"));
    assert!(refusal(&["--client-tls-auth", "maybe"]).contains("expected true or false"));
    let peer = ["--peer-tls-cert", "c", "--peer-tls-key", "k", "--peer-tls-ca", "a"];
    let all = load(&peer, &[]).unwrap().peer_tls.unwrap();
    assert_eq!(all.callers, Callers::MustShow("a".into()));
    assert!(refusal(&peer[..4]).contains("peer_tls_ca, all three"));
}

#[test]
fn a_switch_may_be_a_word_of_toml() {
    let dir = TestDir::new();
    let path = dir.path().join("cairn.toml");
    let text = "client_tls_cert = \"c\"\nclient_tls_key = \"k\"\nclient_tls_ca = \"a\"\n\
                client_tls_auth = true\n";
    std::fs::write(&path, text).unwrap();
    let config = load(&["--config", path.to_str().unwrap()], &[]).unwrap();
    assert_eq!(config.client_tls.unwrap().callers, Callers::MustShow("a".into()));
}

#[test]
fn a_missing_file_is_named() {
    let error = refusal(&["--config", "/nowhere/cairn.toml"]);
    assert!(error.starts_with("read the configuration file /nowhere/cairn.toml: "), "{error}");
}

#[test]
fn show_prints_every_setting_once() {
    let table = show::table(&load(&["--node", "7"], &[]).unwrap());
    assert_eq!(table.lines().count(), SETTINGS.len());
    assert!(table.contains("node              7                            # --node\n"), "{table}");
    assert!(table.contains("./cairn-data/node-7"), "{table}");
}

#[test]
fn the_page_describes_every_setting() {
    let page = include_str!("../../../../docs/configuration.md");
    for setting in SETTINGS {
        let default = if setting.default.is_empty() { "–" } else { setting.default };
        let row =
            format!("| `{}` | `{}` | {default} |", setting.name, setting.form.replace('|', "\\|"));
        assert!(page.contains(&row), "docs/configuration.md lacks the row {row}");
    }
}

#[test]
fn leases_are_off_unless_it_is_said_how_wrong_clocks_may_be() {
    let drift = |text: &str| {
        let config = load(&["--lease-reads", text], &[]).unwrap();
        config.tuning.lease.map(consensus::ClockDrift::as_per_mille)
    };
    assert_eq!(load(&[], &[]).unwrap().tuning.lease, None);
    assert_eq!(drift("off"), None);
    assert_eq!(drift("1%"), Some(10));
    assert_eq!(drift("0.5%"), Some(5));
    assert_eq!(drift("50%"), Some(500));
    for wrong in ["on", "1", "0%", "0.0%", "50.1%", "-1%", "+1%", "1.25%", "%", ".%", "99999%"] {
        let flag = format!("--lease-reads={wrong}");
        assert!(refusal(&[&flag]).contains("off, or from 0.1% to 50%"), "{wrong}");
    }
    let hasty = ["--lease-reads=50%", "--heartbeat=100ms", "--election-timeout=300ms"];
    assert!(refusal(&hasty).contains("no lease outlasts a heartbeat"));
}
