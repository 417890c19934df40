//! Hosts: a network namespace, a wire to the common bridge, and a small disk each.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Room on each disk. A journal takes three segments of 8 MiB, the engine's file about as much.
const DISK_MIB: u64 = 192;

/// One host.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    number: u16,
    disk: PathBuf,
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

    /// What comes from `other` does not arrive: all of it.
    pub(crate) fn ignore(&self, other: &Self) {
        self.filter(&format!("-s {} -j DROP", other.address()));
    }

    /// What comes from `other` on the connections that it opened to our peer port does not arrive:
    /// we don't hear it, and yet it hears us.
    pub(crate) fn ignore_messages(&self, other: &Self) {
        self.filter(&format!("-s {} -p tcp --dport 9000 -j DROP", other.address()));
    }

    /// One packet in four does not arrive, whoever sent it.
    pub(crate) fn lose_packets(&self) {
        self.filter("-m statistic --mode random --probability 0.25 -j DROP");
    }

    /// The network is as it was at first.
    pub(crate) fn mend(&self) {
        run(&format!("ip netns exec {} iptables -w -F INPUT", self.space()));
        run(&format!("ip link set {} up", self.wire()));
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

    fn filter(&self, rule: &str) {
        run(&format!("ip netns exec {} iptables -w -A INPUT {rule}", self.space()));
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
