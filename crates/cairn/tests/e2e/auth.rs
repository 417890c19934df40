//! Users, roles and tokens, as scripts, browsers and etcd's clients meet them.

use std::io::{Read as _, Write as _};
use std::process::Stdio;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::cluster::Cluster;
use crate::support::http::request;
use crate::support::process::cairn;
use crate::support::{alone, eventually};

const PATIENCE: Duration = Duration::from_secs(10);

struct Shell<'a> {
    cluster: &'a Cluster,
}

impl Shell<'_> {
    /// Exit code, stdout, stderr.
    fn say(&self, user: &str, args: &[&str], stdin: &str) -> (i32, String, String) {
        let mut command = cairn();
        command.args(args).env("CAIRN_ENDPOINTS", self.cluster.endpoints());
        command.env("CAIRN_USER", user);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    fn ok(&self, user: &str, args: &[&str], stdin: &str) -> String {
        let (code, stdout, stderr) = self.say(user, args, stdin);
        assert_eq!((code, stderr.as_str()), (0, ""), "{args:?}: {stdout}");
        stdout
    }

    fn fails(&self, user: &str, args: &[&str], words: &str) {
        let (code, stdout, stderr) = self.say(user, args, "");
        assert_eq!((code, stdout.as_str()), (3, ""), "{args:?}: {stderr}");
        assert!(stderr.contains(words), "{args:?}: {stderr}");
    }

    /// A call of etcd's JSON form: its status, and what it says.
    fn etcd(&self, node: u16, token: Option<&str>, path: &str, body: &Value) -> (u16, Value) {
        let headers: Vec<(&str, &str)> =
            token.map(|token| ("Authorization", token)).into_iter().collect();
        let body = body.to_string();
        let port = self.cluster.client_port(node);
        let answer = request(port, "POST", path, &headers, body.as_bytes(), PATIENCE).ok().unwrap();
        (answer.status, answer.json())
    }
}

#[test]
fn each_gets_what_he_may_by_every_way_in() {
    let _alone = alone();
    let cluster = Cluster::start(3);
    let shell = Shell { cluster: &cluster };
    shell.ok("", &["user", "add", "root"], "toor\n");
    shell.fails("", &["auth", "enable"], "does not have the role root");
    shell.ok("", &["user", "grant-role", "root", "root"], "");
    shell.ok("", &["role", "add", "readers"], "");
    shell.ok("", &["role", "grant-permission", "readers", "read", "--prefix", "a/"], "");
    shell.ok("", &["user", "add", "alice"], "wonderland\n");
    shell.ok("", &["user", "grant-role", "alice", "readers"], "");
    shell.ok("", &["put", "a/1", "one"], "");
    watched_while_it_is_enabled(&shell);
    by_the_command_line(&shell);
    by_http(&shell);
    let token = by_etcds_json(&shell);
    shell.ok("root:toor", &["user", "passwd", "alice"], "looking-glass\n");
    let (status, refused) = shell.etcd(1, Some(&token), "/v3/kv/range", &range("a/1"));
    assert_eq!((status, &refused["code"]), (401, &json!(16)), "{refused}");
    assert_eq!(shell.ok("alice:looking-glass", &["get", "a/1"], ""), "one");
    shell.ok("root:toor", &["auth", "disable"], "");
    shell.ok("", &["put", "b/1", "anybody's"], "");
}

/// Nobody said who watches; so the watch ends when somebody must.
fn watched_while_it_is_enabled(shell: &Shell<'_>) {
    let mut command = cairn();
    command.args(["watch", "a/"]).env("CAIRN_ENDPOINTS", shell.cluster.endpoints());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut watch = command.spawn().unwrap();
    std::thread::sleep(Duration::from_millis(500));
    assert!(watch.try_wait().unwrap().is_none(), "it waits for something to happen");
    shell.ok("", &["auth", "enable"], "");
    let ended = eventually("the watch ends", PATIENCE, || watch.try_wait().unwrap());
    let mut words = String::new();
    watch.stderr.take().unwrap().read_to_string(&mut words).unwrap();
    assert_eq!(ended.code(), Some(3), "{words}");
    assert!(words.contains("names no user"), "{words}");
}

fn by_the_command_line(shell: &Shell<'_>) {
    shell.fails("", &["get", "a/1"], "names no user");
    shell.fails("alice:queen", &["get", "a/1"], "authentication failed");
    shell.fails("alice:wonderland", &["put", "a/1", "two"], "permission denied");
    shell.fails("alice:wonderland", &["get", "b/1"], "permission denied");
    shell.fails("alice:wonderland", &["user", "list"], "permission denied");
    assert_eq!(shell.ok("alice:wonderland", &["get", "a/1"], ""), "one");
    assert_eq!(shell.ok("alice:wonderland", &["user", "get", "alice"], ""), "readers\n");
    assert_eq!(shell.ok("root:toor", &["user", "list"], ""), "alice\nroot\n");
    let role = shell.ok("root:toor", &["role", "get", "readers", "--output", "json"], "");
    let expected = json!({ "permissions": [{ "access": "read", "from": "a/", "to": "a0" }] });
    assert_eq!(serde_json::from_str::<Value>(&role).unwrap(), expected);
    let status = shell.ok("root:toor", &["auth", "status"], "");
    assert_eq!(status, "authentication is enabled (auth revision 7)\n");
    // Every node passes on what another one leads, and says who asks.
    for node in shell.cluster.numbers() {
        let endpoint = format!("localhost:{}", shell.cluster.client_port(node));
        let value = shell.ok("alice:wonderland", &["get", "a/1", "--endpoints", &endpoint], "");
        assert_eq!(value, "one", "by node {node}");
        shell.ok("root:toor", &["put", "b/2", "x", "--endpoints", &endpoint], "");
    }
    assert!(
        shell.ok("", &["status"], "").contains("leader"),
        "how the nodes are, anybody may know"
    );
}

fn by_http(shell: &Shell<'_>) {
    let get = |path: &str, authorization: Option<&str>| {
        let headers: Vec<_> =
            authorization.map(|said| ("Authorization", said)).into_iter().collect();
        request(shell.cluster.client_port(2), "GET", path, &headers, b"", PATIENCE).ok().unwrap()
    };
    let basic = |text: &str| format!("Basic {}", STANDARD.encode(text));
    let nobody = get("/v1/kv/a%2F1", None);
    assert_eq!(nobody.status, 401);
    assert!(nobody.header("www-authenticate").is_some_and(|how| how.starts_with("Basic")));
    assert_eq!(get("/v1/kv/a%2F1", Some(&basic("alice:queen"))).status, 401);
    assert_eq!(get("/v1/kv/a%2F1", Some("Digest x")).status, 401);
    assert_eq!(get("/v1/kv/b%2F2", Some(&basic("alice:wonderland"))).status, 403);
    for _ in 0..3 {
        assert_eq!(get("/v1/kv/a%2F1", Some(&basic("alice:wonderland"))).text(), "one");
    }
    assert_eq!(get("/readyz", None).status, 200, "a balancer needs no password");
}

fn range(key: &str) -> Value {
    json!({ "key": STANDARD.encode(key) })
}

/// The token of alice.
fn by_etcds_json(shell: &Shell<'_>) -> String {
    let log_in = |password: &str| {
        let body = json!({ "name": "alice", "password": password });
        shell.etcd(1, Some("an old token"), "/v3/auth/authenticate", &body)
    };
    let (status, refused) = log_in("queen");
    assert_eq!(status, 400, "{refused}");
    let words = "etcdserver: authentication failed, invalid user ID or password";
    assert_eq!(refused["message"], words);
    let (status, told) = log_in("wonderland");
    assert_eq!(status, 200, "{told}");
    let token = told["token"].as_str().unwrap().to_owned();
    for node in shell.cluster.numbers() {
        let (status, read) = shell.etcd(node, Some(&token), "/v3/kv/range", &range("a/1"));
        assert_eq!((status, &read["count"]), (200, &json!("1")), "node {node}: {read}");
        let (status, refused) = shell.etcd(node, Some(&token), "/v3/kv/range", &range("b/2"));
        assert_eq!((status, &refused["message"]), (403, &json!("etcdserver: permission denied")));
    }
    let (status, refused) = shell.etcd(1, None, "/v3/kv/range", &range("a/1"));
    assert_eq!((status, &refused["message"]), (400, &json!("etcdserver: user name is empty")));
    let (status, refused) = shell.etcd(1, Some("c1.AAAA"), "/v3/kv/range", &range("a/1"));
    assert_eq!((status, &refused["message"]), (401, &json!("etcdserver: invalid auth token")));
    token
}
