//! The TCP transport against small servers on the loopback interface.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::BytesMut;
use client::tcp::{Connection, FIRST_ENDPOINT, Settings, Tcp};
use client::{CallError, Client, Config, Transport};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use wire::{
    Consistency, Frame, FrameKind, Hello, MAGIC, NodeId, Query, Reader, Refusal, Reply, Request,
    Revision, Welcome, split_frame,
};

use crate::fake::Fake;

const PATIENCE: Duration = Duration::from_secs(5);

/// How a server treats the requests of one connection.
#[derive(Clone, Copy)]
enum Manner {
    /// Answers each.
    Answers,
    /// Waits for two, then answers the second first.
    AnswersBackwards,
    /// Reads one and hangs up.
    HangsUp,
    /// Reads one and says something that is no frame.
    Raves,
    /// Reads them and says nothing.
    Mute,
}

struct Server {
    address: String,
    connections: Arc<AtomicU64>,
}

async fn read_frame(stream: &mut TcpStream, buffer: &mut BytesMut) -> Option<Frame> {
    loop {
        if let Some(frame) = split_frame(buffer).expect("a frame") {
            return Some(frame);
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}

/// The greetings, as a node exchanges them.
async fn greet(stream: &mut TcpStream, buffer: &mut BytesMut, node: u64, cluster: &str) -> bool {
    let mut magic = [0; 8];
    if stream.read_exact(&mut magic).await.is_err() {
        return false;
    }
    assert_eq!(&magic, MAGIC);
    let Some(frame) = read_frame(stream, buffer).await else { return false };
    assert_eq!(frame.kind, FrameKind::Hello);
    let hello = Hello::decode(&mut Reader::new(frame.body)).expect("a hello");
    let checked = hello.check(cluster, NodeId(node), "raft", |_| Ok(()));
    let answer =
        checked.map(|()| Welcome { node: NodeId(node), cluster: cluster.into(), applied: 7 });
    let welcome = Frame::encode(FrameKind::Welcome, 0, |out| Welcome::encode_answer(&answer, out));
    stream.write_all(&welcome).await.is_ok() && answer.is_ok()
}

async fn talk(mut stream: TcpStream, fake: Fake, node: u64, cluster: &str, manner: Manner) {
    let mut buffer = BytesMut::new();
    if !greet(&mut stream, &mut buffer, node, cluster).await {
        return;
    }
    let mut held = Vec::new();
    while let Some(frame) = read_frame(&mut stream, &mut buffer).await {
        let request = Request::decode(&mut Reader::new(frame.body)).expect("a request");
        let answer = fake.with(|state| {
            // As a node does that passes requests on to the leader.
            let asked = if request == Request::Status { node } else { state.store.leader };
            state.store.answer(asked, &request)
        });
        let encoded = Frame::encode(FrameKind::Answer, frame.stream, |out| {
            Reply::encode_answer(&answer, out);
        });
        held.insert(0, encoded);
        match manner {
            Manner::AnswersBackwards if held.len() < 2 => continue,
            Manner::Answers | Manner::AnswersBackwards => {}
            Manner::HangsUp => return,
            Manner::Raves => held = vec![b"what is this?".to_vec()],
            Manner::Mute => held.clear(),
        }
        for frame in held.drain(..) {
            stream.write_all(&frame).await.expect("the client listens");
        }
    }
}

async fn serve(fake: &Fake, node: u64, cluster: &'static str, manner: Manner) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("it is bound").to_string();
    let connections = Arc::new(AtomicU64::new(0));
    let (fake, count) = (fake.clone(), Arc::clone(&connections));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::AcqRel);
            tokio::spawn(talk(stream, fake.clone(), node, cluster, manner));
        }
    });
    Server { address, connections }
}

/// An address at which nobody listens.
async fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    listener.local_addr().expect("it is bound").to_string()
}

fn connection(address: &str) -> Connection {
    let address = address.to_owned();
    let connect_timeout = Duration::from_millis(500);
    Connection::new(Settings { address, connect_timeout, ..Settings::default() })
}

async fn ask(connection: &Connection, patience: Duration) -> Result<client::Answer, CallError> {
    connection.call(Request::Status, patience, |_| Ok(())).await
}

#[tokio::test]
async fn a_client_over_tcp() {
    let fake = Fake::new();
    fake.with(|state| state.store.leader = 2);
    let (one, two) = (serve(&fake, 1, "c", Manner::Answers), serve(&fake, 2, "c", Manner::Answers));
    let (one, two) = (one.await, two.await);
    let endpoints = [nobody().await, format!("http://{}/", one.address), two.address.clone()];
    let tcp = Tcp::new(&endpoints, None).expect("endpoints");
    assert_eq!(tcp.since(), 0);
    assert_eq!(tcp.nodes(), [0, 1, 2].map(|n| NodeId(FIRST_ENDPOINT + n)));
    assert_eq!(tcp.locate(NodeId(2)), None);
    let client = Client::new(Arc::new(tcp.clone()), Config::new(5, 1));
    assert_eq!(client.put("a", "1").await, Ok(Revision(1)));
    assert_eq!(client.put("b", "2").await, Ok(Revision(2)));
    let found = client.get("a", Consistency::Linearizable).await.expect("a");
    assert_eq!(found.value.expect("it is there").value, "1");
    let big = vec![7; 3 << 20];
    client.put("big", big.clone()).await.expect("a put");
    let found = client.get("big", Consistency::Eventual).await.expect("big");
    assert_eq!(found.value.expect("it is there").value, big);
    // What was learned: how far the cluster is, who is where, and that nobody is at the first one.
    assert_eq!(tcp.since(), 7);
    assert_eq!(tcp.nodes()[2], NodeId(FIRST_ENDPOINT));
    assert_eq!(tcp.locate(NodeId(1)), Some(NodeId(FIRST_ENDPOINT + 1)));
    let statuses = client.statuses().await;
    let up: Vec<_> = statuses.iter().map(|(name, s)| (name.as_str(), s.is_ok())).collect();
    assert_eq!(up, [(&*one.address, true), (&*two.address, true), (&*endpoints[0], false)]);
    assert_eq!(client.status(Some(NodeId(2))).await.expect("n2").role, "leader");
    assert_eq!(one.connections.load(Ordering::Acquire), 1);
}

#[tokio::test]
async fn a_leader_among_the_endpoints_is_found_and_asked_directly() {
    let fake = Fake::new();
    fake.with(|state| state.store.leader = 3);
    let servers = [
        serve(&fake, 1, "c", Manner::Answers).await,
        serve(&fake, 2, "c", Manner::Answers).await,
        serve(&fake, 3, "c", Manner::Answers).await,
    ];
    let endpoints = servers.each_ref().map(|server| server.address.clone());
    let tcp = Tcp::new(&endpoints, Some("c".into())).expect("endpoints");
    let client = Client::new(Arc::new(tcp.clone()), Config::new(5, 1));
    client.put("a", "1").await.expect("the first node passes it on");
    let found = async {
        while tcp.locate(NodeId(3)).is_none() {
            client.put("a", "2").await.expect("a put");
        }
    };
    tokio::time::timeout(PATIENCE, found).await.expect("the others are looked up");
    assert_eq!(tcp.locate(NodeId(3)), Some(NodeId(FIRST_ENDPOINT + 2)));
}

#[tokio::test]
async fn many_requests_share_a_connection_and_answers_come_in_any_order() {
    let fake = Fake::new();
    let server = serve(&fake, 1, "c", Manner::AnswersBackwards).await;
    let connection = connection(&server.address);
    let query = Query::key("a".into());
    let read = Request::Read { query, consistency: Consistency::Eventual };
    let (status, page) =
        tokio::join!(ask(&connection, PATIENCE), connection.call(read, PATIENCE, |_| Ok(())));
    assert!(matches!(status, Ok(Ok((_, Reply::Status(_))))), "{status:?}");
    assert!(matches!(page, Ok(Ok((_, Reply::Page(_))))), "{page:?}");
    assert_eq!(server.connections.load(Ordering::Acquire), 1);
}

#[tokio::test]
async fn a_request_that_left_is_lost_and_the_next_one_connects_anew() {
    let server = serve(&Fake::new(), 1, "c", Manner::HangsUp).await;
    let connection = connection(&server.address);
    for round in 1..=2 {
        let error = ask(&connection, PATIENCE).await.expect_err("it hangs up");
        assert!(matches!(error, CallError::Lost { .. }), "{error}");
        assert!(error.to_string().starts_with(&server.address), "{error}");
        assert_eq!(server.connections.load(Ordering::Acquire), round);
        assert!(connection.is_failing());
    }
}

#[tokio::test]
async fn an_answer_that_is_no_frame_is_a_loss_that_says_so() {
    let server = serve(&Fake::new(), 1, "c", Manner::Raves).await;
    let error = ask(&connection(&server.address), PATIENCE).await.expect_err("it raves");
    assert!(matches!(&error, CallError::Lost { why, .. } if why.contains("no frame")), "{error}");
}

#[tokio::test]
async fn a_mute_node_costs_no_more_than_the_time_allowed_and_its_connection() {
    let server = serve(&Fake::new(), 1, "c", Manner::Mute).await;
    let connection = connection(&server.address);
    for (wait_ms, connections) in [(50, 1), (1000, 1), (50, 2)] {
        let error = ask(&connection, Duration::from_millis(wait_ms)).await.expect_err("mute");
        assert!(matches!(error, CallError::Lost { .. }), "{error}");
        assert_eq!(server.connections.load(Ordering::Acquire), connections, "{wait_ms} ms");
    }
}

#[tokio::test]
async fn where_nobody_listens_nothing_is_sent() {
    let address = nobody().await;
    let error = ask(&connection(&address), PATIENCE).await.expect_err("nobody is there");
    assert!(matches!(error, CallError::NotSent { .. }), "{error}");
}

#[tokio::test]
async fn callers_share_one_failure_to_connect() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let connection = connection(&listener.local_addr().expect("it is bound").to_string());
    let begun = tokio::time::Instant::now();
    let (one, two, three) = tokio::join!(
        ask(&connection, PATIENCE),
        ask(&connection, PATIENCE),
        ask(&connection, PATIENCE)
    );
    for result in [one, two, three] {
        let error = result.expect_err("nobody greets");
        assert!(matches!(error, CallError::NotSent { .. }), "{error}");
    }
    assert!(
        begun.elapsed() < Duration::from_millis(1200),
        "one timeout each: {:?}",
        begun.elapsed()
    );
}

/// What a stranger at the address says first, and what is made of it.
#[tokio::test]
async fn strangers_are_told_from_nodes() {
    let other = wire::HelloError::Version { theirs: 1, ours: 2 };
    let newer = Frame::encode(FrameKind::Welcome, 0, |out| {
        Welcome::encode_answer(&Err(other), out);
    });
    let odd = Frame::encode(FrameKind::Request, 1, |out| Request::Status.encode(out));
    let said: [(Vec<u8>, &str); 4] = [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), "an HTTP server that is no Cairn node"),
        (b"220 mail.example.org ESMTP\r\n".to_vec(), "no Cairn node: a frame of"),
        (newer, "it speaks protocol 1, this is protocol 2"),
        (odd, "it greets with a frame of kind Request"),
    ];
    for (bytes, complaint) in said {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let connection = connection(&listener.local_addr().expect("it is bound").to_string());
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a caller");
            stream.write_all(&bytes).await.expect("the client listens");
            let _ = stream.read_to_end(&mut Vec::new()).await;
        });
        let error = ask(&connection, PATIENCE).await.expect_err("a stranger");
        assert!(matches!(error, CallError::Fatal { .. }), "{error}");
        assert!(error.to_string().contains(complaint), "{error}");
    }
}

#[tokio::test]
async fn the_wrong_cluster_or_node_is_refused() {
    let server = serve(&Fake::new(), 1, "blue", Manner::Answers).await;
    let settings = Settings { address: server.address.clone(), ..Settings::default() };
    for (settings, complaint) in [
        (Settings { cluster: "green".into(), ..settings.clone() }, "\"green\""),
        (Settings { to: Some(NodeId(2)), ..settings.clone() }, "wants node 2, this is node 1"),
    ] {
        let error = ask(&Connection::new(settings), PATIENCE).await.expect_err("not the one meant");
        assert!(matches!(error, CallError::Fatal { .. }), "{error}");
        assert!(error.to_string().contains(complaint), "{error}");
    }
    let to = Some(NodeId(1));
    let meant = Connection::new(Settings { cluster: "blue".into(), to, ..settings });
    ask(&meant, PATIENCE).await.expect("sent").expect("answered");
    assert_eq!(meant.welcome().map(|welcome| welcome.node), to);
}

#[tokio::test]
async fn endpoints_of_two_clusters_are_not_mixed() {
    let blue = serve(&Fake::new(), 1, "blue", Manner::Answers).await;
    let green = serve(&Fake::new(), 2, "green", Manner::Answers).await;
    let tcp = Tcp::new(&[blue.address, green.address], None).expect("endpoints");
    let [first, second] = tcp.nodes()[..] else { panic!("two endpoints") };
    tcp.call(first, Request::Status, PATIENCE).await.expect("sent").expect("answered");
    let error = tcp.call(second, Request::Status, PATIENCE).await.expect_err("another cluster");
    assert!(matches!(error, CallError::Fatal { .. }), "{error}");
    assert!(error.to_string().contains("cluster \"green\", not to \"blue\""), "{error}");
}

#[tokio::test]
async fn a_request_that_fits_no_frame_is_refused_here() {
    let server = serve(&Fake::new(), 1, "c", Manner::Answers).await;
    let connection = connection(&server.address);
    let request = Request::Write(vec![0; wire::MAX_FRAME_BYTES].into());
    let answer = connection.call(request, PATIENCE, |_| Ok(())).await.expect("it is an answer");
    assert!(matches!(answer, Err(Refusal::TooLarge { .. })), "{answer:?}");
    ask(&connection, PATIENCE).await.expect("sent").expect("the connection still works");
}

#[test]
fn endpoints_are_checked_when_they_are_given() {
    let error = |endpoints: &[&str]| {
        let endpoints: Vec<String> = endpoints.iter().map(|&e| e.to_owned()).collect();
        Tcp::new(&endpoints, None).expect_err("not usable").to_string()
    };
    assert_eq!(error(&[]), "no endpoint is given; give at least one as host:port");
    assert!(error(&["n1:7000", "https://n2:7000"]).contains("asks for TLS"));
}
