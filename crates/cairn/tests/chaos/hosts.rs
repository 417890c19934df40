//! Hosts: a network namespace, a wire to the common bridge, and a small disk each.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::chance::Chance;
use crate::queue::{Manner, Queue};

/// Room on each disk. A journal takes three segments of 8 MiB, the engine's files several times as much,
/// and a second time as much when they are written anew.
const DISK_MIB: u64 = 320;

/// One host.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    number: u16,
    disk: PathBuf,
}

/// What is done with some of the packets that reach a host.
#[derive(Clone, Debug)]
pub(crate) struct Rule(String);

impl Rule {
    /// What comes from `other` does not arrive: all of it.
    pub(crate) fn deaf_to(other: &Host) -> Self {
        Self(format!("-s {} -j DROP", other.address()))
    }

    /// What comes from `other` on the connections that it opened to our peer port does not arrive:
    /// we don't hear it, and yet it hears us.
    pub(crate) fn deaf_to_messages_of(other: &Host) -> Self {
        Self(format!("-s {} -p tcp --dport 9000 -j DROP", other.address()))
    }

    /// One packet in four does not arrive, whoever sent it.
    pub(crate) fn lossy() -> Self {
        Self("-m statistic --mode random --probability 0.25 -j DROP".to_owned())
    }

    /// The host's queue decides when it arrives; without a queue, at once.
    pub(crate) fn held() -> Self {
        Self("-i eth0 -j NFQUEUE --queue-num 0 --queue-bypass".to_owned())
    }
}

impl Host {
    /// Makes the bridge and so many hosts, in the namespaces that this process lives in.
    pub(crate) fn make(count: u16) -> Vec<Self> {
        // Names of namespaces, the lock of iptables and our disks are kept below /run: in ours, not in
        // the machine's.
        run("mount -t tmpfs tmpfs /run");
        std::fs::create_dir("/run/netns").unwrap();
        run("ip link set lo up");
        run("ip link add cairn-br type bridge");
        run("ip addr add 10.77.0.254/24 dev cairn-br");
        run("ip link set cairn-br up");
        (1..=count).map(Self::plug_in).collect()
    }

    fn plug_in(number: u16) -> Self {
        let disk = PathBuf::from(format!("/run/disk-{number}"));
        std::fs::create_dir(&disk).unwrap();
        run(&format!("mount -t tmpfs -o size={DISK_MIB}m tmpfs {}", disk.display()));
        let host = Self { number, disk };
        let (space, wire) = (host.space(), host.wire());
        run(&format!("ip netns add {space}"));
        run(&format!("ip link add {wire} type veth peer name eth0 netns {space}"));
        run(&format!("ip link set {wire} master cairn-br up"));
        run(&format!("ip -n {space} addr add {}/24 dev eth0", host.address()));
        run(&format!("ip -n {space} link set eth0 up"));
        run(&format!("ip -n {space} link set lo up"));
        host
    }

    /// Its address.
    pub(crate) fn address(&self) -> String {
        format!("10.77.0.{}", self.number)
    }

    /// Where clients reach a node on it.
    pub(crate) fn client_address(&self) -> String {
        format!("{}:8000", self.address())
    }

    /// Where other nodes do.
    pub(crate) fn peer_address(&self) -> String {
        format!("{}:9000", self.address())
    }

    /// Its disk.
    pub(crate) fn disk(&self) -> &Path {
        &self.disk
    }

    /// A command that runs a program on it. The process is the program's: `ip` gives way to it.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.space()]).arg(program);
        command
    }

    /// Pulls its plug: nothing comes or goes.
    pub(crate) fn unplug(&self) {
        run(&format!("ip link set {} down", self.wire()));
    }

    /// Puts it back.
    pub(crate) fn plug(&self) {
        run(&format!("ip link set {} up", self.wire()));
    }

    /// From now on what comes in has to pass this.
    pub(crate) fn add(&self, rule: &Rule) {
        self.tables(&format!("-A INPUT {}", rule.0));
    }

    /// Takes it away again, once.
    pub(crate) fn remove(&self, rule: &Rule) {
        self.tables(&format!("-D INPUT {}", rule.0));
    }

    /// So much goes out and comes in, and no more. The wire holds little beyond it and drops the rest.
    pub(crate) fn limit_rate(&self, kilobits: u64) {
        let bucket = format!("root tbf rate {kilobits}kbit burst 32kb latency 300ms");
        run(&format!("tc -n {} qdisc add dev eth0 {bucket}", self.space()));
        run(&format!("tc qdisc add dev {} {bucket}", self.wire()));
    }

    /// As fast as the machine, again.
    pub(crate) fn lift_limit(&self) {
        run(&format!("tc -n {} qdisc del dev eth0 root", self.space()));
        run(&format!("tc qdisc del dev {} root", self.wire()));
    }

    /// What the queue of this host does with packets from now on; see [`Rule::held`].
    pub(crate) fn open_queue(&self, manner: Manner, chance: Chance) -> std::io::Result<Queue> {
        Queue::open(&self.space(), manner, chance)
    }

    /// Leaves no byte free on its disk.
    pub(crate) fn fill_disk(&self) {
        let mut file = File::create(self.filler()).unwrap();
        for chunk in [1 << 20, 4096, 1] {
            while file.write_all(&vec![0xfc; chunk]).is_ok() {}
        }
    }

    /// Makes room again.
    pub(crate) fn clear_disk(&self) {
        // Most hosts have none.
        let _ = std::fs::remove_file(self.filler());
    }

    fn tables(&self, change: &str) {
        run(&format!("ip netns exec {} iptables -w {change}", self.space()));
    }

    fn filler(&self) -> PathBuf {
        self.disk.join("filler")
    }

    fn space(&self) -> String {
        format!("cairn-n{}", self.number)
    }

    fn wire(&self) -> String {
        format!("cairn-v{}", self.number)
    }
}

/// Runs a command that must not fail; its words are separated by blanks.
fn run(line: &str) {
    let mut words = line.split_whitespace();
    let program = words.next().expect("a command has a name");
    let output = Command::new(program).args(words).output();
    let output = output.unwrap_or_else(|error| panic!("{line}: {error}"));
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
}
