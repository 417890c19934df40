//! What people and programs write.

/// Settings as a configuration file.
pub(crate) fn toml(settings: &[(&'static str, String)]) -> String {
    let quoted = |c: char| match c {
        '"' | '\\' => format!("\\{c}"),
        c if c.is_control() => format!("\\u{:04X}", u32::from(c)),
        c => c.to_string(),
    };
    let line = |(name, text): &(&str, String)| {
        format!("{name} = \"{}\"\n", text.chars().map(quoted).collect::<String>())
    };
    settings.iter().map(line).collect()
}

pub(crate) fn configurations() -> Vec<String> {
    let members = "members = [\n  { node = 1, client = \"a:8000\", peer = \"a:9000\" },\n  \
                   { node = 2, client = \"b:8000\", peer = \"b:9000\" },\n]\n";
    let all = "cluster = \"blue\"\nnode = 1\ndata_dir = \"/data\"\nclient_listen = \"[::1]:8000\"\n\
               client_advertise = \"n1:8000\"\nengine = \"memory\"\nmax_value = \"1MiB\"\n\
               inflight_limit = \"64MiB\"\nrequest_limit = 100\nunflushed_limit = \"96MiB\"\n\
               log_retain = \"32MiB\"\nretain_revisions = 10\nheartbeat = \"100ms\"\n\
               election_timeout = \"1s\"\ncache = \"64MiB\"\njournal_segment = \"64MiB\"\n\
               connection_limit = 10\nreader_threads = 2\nlog_level = \"debug\"\nlog_format = \"json\"\n";
    vec![
        String::new(),
        all.to_owned(),
        format!("cluster = \"blue\"\nnode = 2\npeer_listen = \"0.0.0.0:9000\"\n{members}"),
        "cluster = 'b'\nmembers = \"1=a:1@a:2,2=b:1@b:2\"\n".to_owned(),
        "[[members]]\nnode = 1\nclient = \"a:1\"\npeer = \"a:2\"\n".to_owned(),
        "max_vaule = \"1MiB\"\n".to_owned(),
        "node = 0x1\nheartbeat = [1]\n".to_owned(),
    ]
}

pub(crate) fn node_files() -> Vec<(u8, String)> {
    let identity = "format = 1\ncluster = \"blue\"\nnode = 1\nmembers = [1, 2, 3]\n\
                    journal = \"00000000000000ff\"\nengine = \"disk\"\ncreated_by = \"0.1.0\"\n";
    let cluster = "cluster = \"up-00000000abcd\"\nnodes = 3\nbase_port = 8001\nengine = \"disk\"\n\
                   version = \"0.1.0\"\n";
    let role = r#"{"level":"INFO","target":"cairn::role","fields":{"role":"follower","epoch":4,"leader":"n2"}}"#;
    let error = r#"{"level":"ERROR","target":"x","fields":{"message":"no","error":"disk","help":"mend it"}}"#;
    let flat = r#"{"target":"cairn::role","role":"leader","epoch":1,"leader":1}"#;
    [(0, identity), (1, cluster), (2, role), (2, error), (2, flat)]
        .map(|(kind, text)| (kind, text.to_owned()))
        .into_iter()
        .collect()
}

pub(crate) fn http() -> Vec<Vec<u8>> {
    let requests = [
        "GET /\n\n",
        "GET /v1/kv/a\nCairn-Session: 2\nIf-None-Match: \"2\"\n\n",
        "HEAD /v1/kv/c%2fd?revision=2\n\n",
        "GET /v1/kv/a?consistency=session&session=3\nCairn-Timeout: 50ms\n\n",
        "PUT /v1/kv/a\nIf-Match: \"2\"\nRequest-Id: abc\n\nvalue",
        "PUT /v1/kv/new/%ff\nIf-None-Match: *\n\n\u{1}\u{2}",
        "DELETE /v1/kv/a\nIf-Match: *\n\n",
        "GET /v1/kv?prefix=c/&limit=1&keys_only=true\n\n",
        "GET /v1/kv?from=a&to=b&count_only=true&revision=2\n\n",
        "GET /v1/watch?key=a&revision=1\nAccept: text/event-stream\nLast-Event-ID: 2\n\n",
        "GET /v1/status?all=true\n\n",
        "GET /metrics\nAccept: application/openmetrics-text\n\n",
        "GET /healthz\n\n",
        "GET /readyz\n\n",
        "GET /openapi.json\n\n",
        "PATCH /v1/kv/a\n\n",
        "GET http://x/v1/none#part\n\n",
    ];
    let requests = requests.iter().map(|text| text.as_bytes().to_vec());
    let paths = ["/", "/v1/txn", "/v1/compact", "/v1/leader"];
    let posted = json().into_iter().map(|(path, body)| {
        format!("POST {}\nContent-Type: application/json\n\n{body}", paths[usize::from(path)])
            .into_bytes()
    });
    requests.chain(posted).collect()
}

/// Bodies, each with the number of its path in the target `json`.
pub(crate) fn json() -> Vec<(u8, String)> {
    let txn = r#"{"compare":[{"key":"a","target":"value","operator":"=","operand":"3"},{"key":"a","target":"version","operator":">","operand":1}],"then":[{"put":{"key":"a","value":"x"}},{"get":{"prefix":"","limit":2}},{"put":{"key_base64":"/w==","value_base64":"AAE="}}],"else":[{"delete":{"key":"a"}},{"get":{"key":"a","keys_only":true}},{"delete":{"from":"a","to":"b"}}]}"#;
    [
        (0, r#"{"type":"store","key":"hello","value":"world"}"#),
        (0, r#"{"type":"fetch","key":"a"}"#),
        (0, r#"{"key":"a","type":"delete"}"#),
        (0, r#"{"type":"store","key":"\ud83d\ude00","value":"\u0000"}"#),
        (1, txn),
        (1, r#"{"then":[]}"#),
        (2, r#"{"before":2}"#),
        (2, r#"{"before":18446744073709551615}"#),
        (3, r#"{"node":1}"#),
        (3, r#"{"node":2}"#),
    ]
    .map(|(path, body)| (path, body.to_owned()))
    .into_iter()
    .collect()
}
