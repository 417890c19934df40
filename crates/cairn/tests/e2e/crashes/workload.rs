//! Clients that read, write and swap a few keys on all nodes at once, and remember what they saw.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sim::check::{Call, Register, RegisterOp, Verdict, linearize};

use crate::support::cluster::Cluster;
use crate::support::http::{self, Answer, NoAnswer};

const CLIENTS: u64 = 4;
const KEYS: u64 = 3;

/// Keys change their names now and then: short histories are checked fast.
const KEY_AGE: Duration = Duration::from_millis(1500);

/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// Between two operations of a client.
const PAUSE: Duration = Duration::from_millis(3);

/// Configurations that the search for one key may take.
const BUDGET: usize = 500_000;

/// Clients that run until told to finish.
pub(crate) struct Workload {
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<()>>,
}

struct Shared {
    ports: Vec<u16>,
    began: Instant,
    stop: AtomicBool,
    record: Mutex<Record>,
}

/// What was seen.
#[derive(Default)]
pub(crate) struct Record {
    /// For each key its operations.
    registers: BTreeMap<String, Vec<Call<RegisterOp>>>,
    /// Numbers of acknowledged writes, with when they were begun and ended.
    acknowledged: Vec<(u64, Instant, Instant)>,
    unknown: usize,
    not_done: usize,
}

/// How an operation ended.
enum End {
    Done(RegisterOp),
    NotDone,
    Unknown(RegisterOp),
}

impl Workload {
    /// Starts the clients.
    pub(crate) fn start(cluster: &Cluster) -> Self {
        let ports = cluster.numbers().into_iter().map(|node| cluster.client_port(node)).collect();
        let shared = Arc::new(Shared {
            ports,
            began: Instant::now(),
            stop: AtomicBool::new(false),
            record: Mutex::default(),
        });
        let mut clients = Vec::new();
        for client in 0..CLIENTS {
            let shared = Arc::clone(&shared);
            clients.push(spawn(move || shared.change_registers(client)));
        }
        let appender = Arc::clone(&shared);
        clients.push(spawn(move || appender.append()));
        Self { shared, clients }
    }

    /// How long after `moment` a write was acknowledged that began after it, if one was.
    pub(crate) fn acknowledged_since(&self, moment: Instant) -> Option<Duration> {
        let record = self.shared.record.lock().unwrap();
        let later = record.acknowledged.iter().rev().take_while(|(_, began, _)| *began >= moment);
        later.last().map(|(.., ended)| ended.duration_since(moment))
    }

    /// Ends the clients, reads every key once more, and hands out what was seen.
    pub(crate) fn finish(self) -> Record {
        self.shared.stop.store(true, Ordering::Release);
        for client in self.clients {
            client.join().expect("no client fails");
        }
        let keys: Vec<String> =
            self.shared.record.lock().unwrap().registers.keys().cloned().collect();
        for key in keys {
            self.shared.perform(&key, || self.shared.read(0, &key));
        }
        let shared = Arc::into_inner(self.shared).expect("the clients are gone");
        shared.record.into_inner().unwrap()
    }
}

impl Shared {
    fn running(&self) -> bool {
        !self.stop.load(Ordering::Acquire)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).expect("tests end within centuries")
    }

    fn change_registers(&self, client: u64) {
        let mut chance = Chance(client + 1);
        // What this client last knew of each key, to swap it.
        let mut seen: BTreeMap<String, u32> = BTreeMap::new();
        let mut written = 0;
        while self.running() {
            let age = self.began.elapsed().as_millis() / KEY_AGE.as_millis();
            let key = format!("r{age}-{}", chance.below(KEYS));
            let port = chance.below(self.ports.len() as u64);
            written += 1;
            let value = u32::try_from(written * CLIENTS + client).expect("tests end sooner");
            let known = seen.remove(&key);
            let done = self.perform(&key, || match (chance.below(10), known) {
                (0..4, _) => self.read(port, &key),
                (4..7, Some(known)) => self.swap(port, &key, known, value),
                _ => self.write(port, &key, value),
            });
            if let Some(
                RegisterOp::Read(Some(value))
                | RegisterOp::Write(Some(value))
                | RegisterOp::Swap(_, Some(value)),
            ) = done
            {
                seen.insert(key, value);
            }
            sleep(PAUSE);
        }
    }

    /// Does an operation and remembers it.
    fn perform(&self, key: &str, operation: impl FnOnce() -> End) -> Option<RegisterOp> {
        let began = self.now();
        let end = operation();
        let now = self.now();
        let mut record = self.record.lock().unwrap();
        let (ended, op) = match end {
            End::Done(op) => (Some(now), op),
            End::Unknown(op) => {
                record.unknown += 1;
                (None, op)
            }
            End::NotDone => {
                record.not_done += 1;
                return None;
            }
        };
        let calls = record.registers.entry(key.to_owned()).or_default();
        calls.push(Call { began, ended, op });
        ended.map(|_| op)
    }

    fn send(&self, port: u64, method: &str, target: &str, body: &[u8]) -> Result<Answer, NoAnswer> {
        let port = self.ports[usize::try_from(port).expect("a few nodes")];
        http::request(port, method, target, &[("Cairn-Timeout", "2500ms")], body, PATIENCE)
    }

    fn read(&self, port: u64, key: &str) -> End {
        match self.send(port, "GET", &format!("/v1/kv/{key}"), b"") {
            Ok(answer) if answer.status == 200 => {
                End::Done(RegisterOp::Read(Some(answer.text().parse().expect("a number"))))
            }
            Ok(answer) if answer.status == 404 => End::Done(RegisterOp::Read(None)),
            _ => End::NotDone,
        }
    }

    fn write(&self, port: u64, key: &str, value: u32) -> End {
        let answer = self.send(port, "PUT", &format!("/v1/kv/{key}"), value.to_string().as_bytes());
        end(answer, RegisterOp::Write(Some(value)), |_| RegisterOp::Write(Some(value)))
    }

    fn swap(&self, port: u64, key: &str, known: u32, value: u32) -> End {
        let body = json!({
            "compare": [{
                "key": key, "target": "value", "operator": "=", "operand": known.to_string(),
            }],
            "then": [{ "put": { "key": key, "value": value.to_string() } }],
        });
        let answer = self.send(port, "POST", "/v1/txn", body.to_string().as_bytes());
        let swapped = RegisterOp::Swap(Some(known), Some(value));
        end(answer, swapped, |body| match body["succeeded"] {
            Value::Bool(true) => swapped,
            _ => RegisterOp::SwapFailed(Some(known)),
        })
    }

    /// Writes ever new keys, one after the other, by whichever node answers.
    fn append(&self) {
        let mut number = 0_u64;
        while self.running() {
            number += 1;
            let began = Instant::now();
            let target = format!("/v1/kv/acked/{number}");
            let answer = self.send(
                number % self.ports.len() as u64,
                "PUT",
                &target,
                number.to_string().as_bytes(),
            );
            if answer.is_ok_and(|answer| answer.status / 100 == 2) {
                let entry = (number, began, Instant::now());
                self.record.lock().unwrap().acknowledged.push(entry);
            }
            sleep(PAUSE);
        }
    }
}

/// Sorts a write's answer.
fn end(
    answer: Result<Answer, NoAnswer>,
    op: RegisterOp,
    done: impl FnOnce(&Value) -> RegisterOp,
) -> End {
    let answer = match answer {
        Err(NoAnswer::NotSent) => return End::NotDone,
        Err(NoAnswer::Lost) => return End::Unknown(op),
        Ok(answer) => answer,
    };
    if answer.status / 100 == 2 {
        return End::Done(done(&answer.json()));
    }
    match answer.json()["error"]["outcome"].as_str() {
        Some("not done") => End::NotDone,
        Some("unknown") => End::Unknown(op),
        outcome => panic!("{} with the outcome {outcome:?}: {}", answer.status, answer.text()),
    }
}

impl Record {
    /// How much was seen.
    pub(crate) fn summary(&self) -> String {
        format!(
            "{} keys, {} operations, {} unknown, {} not done; {} appended",
            self.registers.len(),
            self.registers.values().map(Vec::len).sum::<usize>(),
            self.unknown,
            self.not_done,
            self.acknowledged.len(),
        )
    }

    /// Every key is linearizable.
    pub(crate) fn check_registers(&self) {
        let mut undecided = 0;
        for (key, calls) in &self.registers {
            match linearize(&Register::default(), calls, BUDGET) {
                Verdict::Linearizable => {}
                Verdict::Undecided => undecided += 1,
                Verdict::Violated { placed, state, stuck } => {
                    let stuck: Vec<_> = stuck.iter().map(|&call| &calls[call]).collect();
                    panic!(
                        "{key} is not linearizable: {placed} of {} operations have an order, after \
                         which it holds {state:?}; none of these can come next: {stuck:?}",
                        calls.len()
                    );
                }
            }
        }
        assert!(undecided * 4 <= self.registers.len(), "{undecided} keys could not be decided");
    }

    /// Everything acknowledged is there.
    pub(crate) fn check_acknowledged(&self, found: &[(String, String)]) {
        let found: BTreeMap<&str, &str> =
            found.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        assert!(self.acknowledged.len() > 100, "the workload was hardly there");
        for (number, ..) in &self.acknowledged {
            let value = found.get(format!("acked/{number}").as_str()).copied();
            assert_eq!(value, Some(number.to_string().as_str()), "acknowledged write {number}");
        }
    }
}

/// Chance from a seed (splitmix64): the faults make each run different enough.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}
