//! What a program does with etcd, by the public client `etcd-client`, against any cluster that speaks its
//! API.
//!
//! `etcd-client-program HOST:PORT HOST:PORT HOST:PORT KILL`, where KILL is a command that kills the node
//! whose address it is given. Ends with 0 if everything held.

use std::error::Error;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use etcd_client::{
    Client, Compare, CompareOp, DeleteOptions, GetOptions, LockOptions, PutOptions, ResignOptions,
    SortOrder, SortTarget, Txn, TxnOp, WatchOptions,
};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

type Held = Result<(), Box<dyn Error + Send + Sync>>;

/// Changes that the watch follows.
const CHANGES: usize = 200;

struct Cluster {
    endpoints: Vec<String>,
    kill: String,
}

impl Cluster {
    /// A client of one node.
    async fn client(&self, place: usize) -> Result<Client, etcd_client::Error> {
        Client::connect([&self.endpoints[place % self.endpoints.len()]], None).await
    }

    /// A client of all nodes.
    async fn of_all(&self) -> Result<Client, etcd_client::Error> {
        Client::connect(&self.endpoints[..], None).await
    }
}

fn held(what: &str, condition: bool) -> Held {
    if condition { Ok(()) } else { Err(what.into()) }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((kill, endpoints)) = arguments.split_last() else {
        eprintln!("usage: etcd-client-program HOST:PORT… KILL");
        std::process::exit(2);
    };
    let cluster = Arc::new(Cluster { endpoints: endpoints.to_vec(), kill: kill.clone() });
    if let Err(error) = run(cluster).await {
        eprintln!("FAILED: {error}");
        std::process::exit(1);
    }
}

async fn run(cluster: Arc<Cluster>) -> Held {
    keys(&cluster).await?;
    lock(&cluster).await?;
    election(&cluster).await?;
    lease(&cluster).await?;
    transactions(&cluster).await?;
    watch(&cluster).await
}

async fn keys(cluster: &Cluster) -> Held {
    let (mut one, mut other) = (cluster.client(0).await?, cluster.client(1).await?);
    one.put("rs/greeting", "hello", None).await?;
    let previous = PutOptions::new().with_prev_key();
    let again = one.put("rs/greeting", "hello again", Some(previous)).await?;
    held("a put tells the value before it", again.prev_key().is_some_and(|kv| kv.value() == b"hello"))?;
    let found = other.get("rs/greeting", None).await?;
    held("a write is seen through another node", found.kvs()[0].value() == b"hello again")?;
    for number in 0..10 {
        one.put(format!("rs/many/{number}"), format!("{}", 9 - number), None).await?;
    }
    let by_value =
        GetOptions::new().with_prefix().with_sort(SortTarget::Value, SortOrder::Descend).with_limit(3);
    let sorted = other.get("rs/many/", Some(by_value)).await?;
    let sorted: Vec<&[u8]> = sorted.kvs().iter().map(|kv| kv.key()).collect();
    held("a range is sorted", sorted == [b"rs/many/0", b"rs/many/1", b"rs/many/2"])?;
    let gone = one.delete("rs/many/", Some(DeleteOptions::new().with_prefix())).await?;
    held("a prefix is deleted", gone.deleted() == 10)?;
    println!("keys: written, read, sorted, deleted");
    Ok(())
}

/// Those who hold the lock add to a number in two steps; nothing is lost.
async fn lock(cluster: &Arc<Cluster>) -> Held {
    cluster.client(0).await?.put("rs/count", "0", None).await?;
    let mut tasks: JoinSet<Held> = JoinSet::new();
    for place in 0..4 {
        let cluster = Arc::clone(cluster);
        tasks.spawn(async move {
            let mut client = cluster.client(place).await?;
            for _ in 0..5 {
                let lease = client.lease_grant(30, None).await?.id();
                let options = LockOptions::new().with_lease(lease);
                let key = client.lock("rs/mutex", Some(options)).await?.key().to_vec();
                let count = client.get("rs/count", None).await?;
                let count: u64 = count.kvs()[0].value_str()?.parse()?;
                // Only while the lock is held.
                let mine = Compare::create_revision(key.clone(), CompareOp::Greater, 0);
                let put = TxnOp::put("rs/count", (count + 1).to_string(), None);
                let done = client.txn(Txn::new().when([mine]).and_then([put])).await?;
                held("who holds the lock has its key", done.succeeded())?;
                client.unlock(key).await?;
                client.lease_revoke(lease).await?;
            }
            Ok(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    let count = cluster.client(1).await?.get("rs/count", None).await?;
    held("nothing is lost under the lock", count.kvs()[0].value() == b"20")?;
    println!("lock: 4 clients added 20 times under it");
    Ok(())
}

async fn election(cluster: &Arc<Cluster>) -> Held {
    let (mut alice, mut bob) = (cluster.client(0).await?, cluster.client(1).await?);
    let alices = alice.lease_grant(30, None).await?.id();
    let bobs = bob.lease_grant(30, None).await?.id();
    let won = alice.campaign("rs/chair", "alice", alices).await?;
    let key = won.leader().cloned().ok_or("a campaign that was won has no key")?;
    let mut observer = cluster.client(2).await?;
    let leader = observer.leader("rs/chair").await?;
    held("the first leads", leader.kv().is_some_and(|kv| kv.value() == b"alice"))?;

    let mut seen = observer.observe("rs/chair").await?;
    let first = seen.message().await?.ok_or("an observer sees nothing")?;
    held("an observer sees who leads", first.kv().is_some_and(|kv| kv.value() == b"alice"))?;
    let waiting = tokio::spawn(async move {
        let won = bob.campaign("rs/chair", "bob", bobs).await;
        won.map(|won| (bob, won))
    });
    sleep(Duration::from_millis(300)).await;
    held("the second waits", !waiting.is_finished())?;
    alice.resign(Some(ResignOptions::new().with_leader(key))).await?;
    let (mut bob, won) = timeout(Duration::from_secs(10), waiting).await???;
    held("the second follows", won.leader().is_some())?;
    let next = timeout(Duration::from_secs(10), seen.message()).await??;
    let next = next.ok_or("an observer's stream ended")?;
    held("an observer sees the next one", next.kv().is_some_and(|kv| kv.value() == b"bob"))?;
    bob.lease_revoke(bobs).await?;
    let nobody = observer.leader("rs/chair").await;
    held("without a lease nobody leads", nobody.is_err())?;
    println!("election: alice led, then bob, then nobody");
    Ok(())
}

async fn lease(cluster: &Cluster) -> Held {
    let (mut own, mut other) = (cluster.of_all().await?, cluster.client(2).await?);
    let lease = own.lease_grant(2, None).await?.id();
    own.put("rs/alive", "yes", Some(PutOptions::new().with_lease(lease))).await?;
    let (mut keeper, mut answers) = own.lease_keep_alive(lease).await?;
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(5) {
        keeper.keep_alive().await?;
        let answer = answers.message().await?.ok_or("the stream of keep-alives ended")?;
        held("a kept lease has its time anew", answer.ttl() == 2)?;
        sleep(Duration::from_millis(500)).await;
    }
    let alive = other.get("rs/alive", None).await?;
    held("a key lives as long as its lease is kept alive", alive.count() == 1)?;
    let begun = Instant::now();
    while other.get("rs/alive", None).await?.count() > 0 {
        held("a lease ends", begun.elapsed() < Duration::from_secs(15))?;
        sleep(Duration::from_millis(50)).await;
    }
    let took = begun.elapsed();
    held("a lease does not end early", took > Duration::from_millis(1400))?;
    println!("lease: kept alive for 5 s, gone {took:.1?} after the last time (it has 2 s)");
    Ok(())
}

/// Money moves between accounts by compare-and-swap; the sum stays.
async fn transactions(cluster: &Arc<Cluster>) -> Held {
    let mut client = cluster.client(0).await?;
    for number in 0..4 {
        client.put(format!("rs/account/{number}"), "100", None).await?;
    }
    let mut tasks: JoinSet<Held> = JoinSet::new();
    for place in 0..4 {
        let cluster = Arc::clone(cluster);
        tasks.spawn(async move {
            let mut client = cluster.client(place).await?;
            let mut moved = 0;
            while moved < 10 {
                let name = |number: usize| format!("rs/account/{}", number % 4);
                let (source, target) = (name(place + moved), name(place + moved + 1));
                let a = client.get(source.clone(), None).await?;
                let b = client.get(target.clone(), None).await?;
                let (a, b) = (&a.kvs()[0], &b.kvs()[0]);
                let unchanged = |key: &String, revision| {
                    Compare::mod_revision(key.clone(), CompareOp::Equal, revision)
                };
                let changed = |key: &String, value: i64| TxnOp::put(key.clone(), value.to_string(), None);
                let txn = Txn::new()
                    .when([unchanged(&source, a.mod_revision()), unchanged(&target, b.mod_revision())])
                    .and_then([
                        changed(&source, a.value_str()?.parse::<i64>()? - 1),
                        changed(&target, b.value_str()?.parse::<i64>()? + 1),
                    ])
                    .or_else([TxnOp::get(source, None)]);
                moved += usize::from(client.txn(txn).await?.succeeded());
            }
            Ok(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    let accounts = client.get("rs/account/", Some(GetOptions::new().with_prefix())).await?;
    let mut sum = 0;
    for account in accounts.kvs() {
        sum += account.value_str()?.parse::<i64>()?;
    }
    held("the sum of all accounts stays", sum == 400)?;
    println!("transactions: 40 transfers, the sum stays");
    Ok(())
}

/// Every change comes once and in order, though the node that tells of them is killed.
async fn watch(cluster: &Arc<Cluster>) -> Held {
    let begin = cluster.client(0).await?.put("rs/news/begin", "", None).await?;
    let mut next = begin.header().map_or(0, |header| header.revision()) + 1;
    let (mut seen, mut resumed, mut place) = (Vec::new(), 0, 0);
    let mut writer = None;
    while seen.len() < CHANGES {
        let followed = async {
            let mut client = cluster.client(place).await?;
            let options = WatchOptions::new().with_prefix().with_start_revision(next);
            let mut stream = client.watch("rs/news/", Some(options)).await?;
            if writer.is_none() {
                writer = Some(tokio::spawn(write(Arc::clone(cluster))));
            }
            while seen.len() < CHANGES {
                let Some(answer) = stream.message().await? else { break };
                for event in answer.events() {
                    let item = event.kv().ok_or("an event has no key")?;
                    seen.push(item.value_str()?.parse::<usize>()?);
                    next = item.mod_revision() + 1;
                }
            }
            Held::Ok(())
        };
        if timeout(Duration::from_secs(30), followed).await.is_err() {
            return Err("a watch says nothing for 30 s".into());
        }
        if seen.len() < CHANGES {
            resumed += 1;
            place += 1;
            held("a watch goes on elsewhere", resumed < 20)?;
        }
    }
    writer.ok_or("a watch did not begin")?.await??;
    held("every change is seen once and in order", seen.into_iter().eq(0..CHANGES))?;
    held("the watch was cut off in the middle", resumed > 0)?;
    println!("watch: {CHANGES} changes, each once and in order, resumed {resumed} times");
    Ok(())
}

async fn write(cluster: Arc<Cluster>) -> Held {
    let mut client = cluster.client(1).await?;
    for number in 0..CHANGES {
        client.put(format!("rs/news/{}", number % 7), number.to_string(), None).await?;
        if number == CHANGES / 2 {
            let killed = Command::new(&cluster.kill).arg(&cluster.endpoints[0]).status()?;
            held("the node is killed", killed.success())?;
        }
        sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}
