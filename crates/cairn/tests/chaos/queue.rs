//! Packets held back in user space: delay, jitter, reordering, and wires that clog.
//!
//! The kernel hands the packets that a rule of iptables names to a queue (NFQUEUE) and lets each go on
//! when we say so. Nothing else is changed about them: it is the kernel's TCP that has to live with
//! packets which come late and in another order. Kernels without `tc netem` have this too.
//!
//! ```text
//!   wire ─► iptables INPUT, -j NFQUEUE ─► held here until due ─► verdict: accept ─► TCP of the host
//! ```
//!
//! Only the numbers of packets come to user space, not their bytes. If nobody listens at the queue the
//! rule lets packets pass.
//!
//! # Reference
//!
//! `linux/netfilter/nfnetlink_queue.h`. A message is a netlink header (16 bytes, in the machine's
//! order), a header of netfilter (4 bytes), and attributes: length, type, bytes, padding to 4.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::netlink::{NETFILTER, SocketAddrNetlink};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, send, socket_with,
};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::chance::Chance;

/// How often it is looked whether a packet is due.
const TURN: Duration = Duration::from_millis(1);

/// Packets that the kernel keeps for us; what comes beyond them is lost.
const LONGEST: u32 = 16_384;

/// Messages of netfilter's queue: its subsystem in the upper byte.
const PACKET: u16 = 3 << 8;
const VERDICT: u16 = (3 << 8) | 1;
const CONFIG: u16 = (3 << 8) | 2;

/// Attributes, and what is in them.
const CFG_COMMAND: u16 = 1;
const CFG_PARAMETERS: u16 = 2;
const CFG_LONGEST: u16 = 3;
const PACKET_HEADER: u16 = 1;
const VERDICT_HEADER: u16 = 2;
const BIND: u8 = 1;
const COPY_METADATA: u8 = 1;
const ACCEPT: u32 = 1;

const NETLINK_HEADER: usize = 16;
const NETFILTER_HEADER: usize = 4;
const NLM_REQUEST: u16 = 1;
const NLM_ERROR: u16 = 2;

/// How packets are held.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Manner {
    /// Each for a time of its own, so that they overtake one another.
    Late {
        /// At least so long,
        least: Duration,
        /// and less than this more.
        spread: Duration,
    },
    /// All of them until the wire is free again; then all at once, and so on.
    Clogged {
        /// So long at a time.
        each: Duration,
    },
}

/// A host's queue, until it is dropped: then what is held goes on at once.
#[derive(Debug)]
pub(crate) struct Queue {
    stop: Arc<AtomicBool>,
    count: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Queue {
    /// Takes over queue 0 of the network namespace of this name.
    pub(crate) fn open(space: &str, manner: Manner, chance: Chance) -> io::Result<Self> {
        let space = File::open(format!("/run/netns/{space}"))?;
        let stop = Arc::new(AtomicBool::new(false));
        let (ready, answer) = channel();
        let count = Arc::new(AtomicU64::new(0));
        let holder = Holder {
            manner,
            chance,
            begun: Instant::now(),
            stop: Arc::clone(&stop),
            count: Arc::clone(&count),
        };
        // A namespace belongs to a thread, so this takes one of its own.
        let thread = spawn(move || holder.run(&space, &ready));
        answer.recv().map_err(io::Error::other)??;
        Ok(Self { stop, count, thread: Some(thread) })
    }

    /// How many packets it has held so far.
    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            // Its own panic was printed.
            let _ = thread.join();
        }
    }
}

/// The thread's side of a queue.
struct Holder {
    manner: Manner,
    chance: Chance,
    begun: Instant,
    stop: Arc<AtomicBool>,
    count: Arc<AtomicU64>,
}

impl Holder {
    fn run(mut self, space: &File, ready: &Sender<io::Result<()>>) {
        let socket = match open(space) {
            Ok(socket) => socket,
            Err(error) => return ready.send(Err(error)).unwrap_or_default(),
        };
        // Whoever opened us waits for it.
        let _ = ready.send(Ok(()));
        let mut held: BinaryHeap<Reverse<(Instant, u32)>> = BinaryHeap::new();
        while !self.stop.load(Ordering::Acquire) {
            while let Some(packet) = next(&socket) {
                self.count.fetch_add(1, Ordering::Relaxed);
                held.push(Reverse((self.due(), packet)));
            }
            let now = Instant::now();
            while held.peek().is_some_and(|Reverse((due, _))| *due <= now) {
                let Some(Reverse((_, packet))) = held.pop() else { break };
                accept(&socket, packet);
            }
            sleep(TURN);
        }
        for Reverse((_, packet)) in held.into_sorted_vec().into_iter().rev() {
            accept(&socket, packet);
        }
        while let Some(packet) = next(&socket) {
            accept(&socket, packet);
        }
    }

    fn due(&mut self) -> Instant {
        let now = Instant::now();
        match self.manner {
            Manner::Late { least, spread } => {
                let spread = u64::try_from(spread.as_micros()).expect("below a second");
                now + least + Duration::from_micros(self.chance.below(spread.max(1)))
            }
            Manner::Clogged { each } => {
                let rounds = now.duration_since(self.begun).as_micros() / each.as_micros();
                self.begun + each * (u32::try_from(rounds).expect("an episode is short") + 1)
            }
        }
    }
}

/// A socket that is bound to queue 0 of the namespace, which the calling thread enters.
fn open(space: &File) -> io::Result<OwnedFd> {
    move_into_link_name_space(space.as_fd(), Some(LinkNameSpaceType::Network))?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, Some(NETFILTER))?;
    bind(&socket, &SocketAddrNetlink::new(0, 0))?;
    // Command, padding, and a protocol family that is not looked at any more.
    configure(&socket, CFG_COMMAND, &[BIND, 0, 0, 0])?;
    configure(&socket, CFG_PARAMETERS, &[0, 0, 0, 0, COPY_METADATA])?;
    configure(&socket, CFG_LONGEST, &LONGEST.to_be_bytes())?;
    Ok(socket)
}

fn configure(socket: &OwnedFd, attribute: u16, bytes: &[u8]) -> io::Result<()> {
    send(socket, &message(CONFIG, attribute, bytes), SendFlags::empty())?;
    // The kernel has looked at it before `send` returns, and answers only what it refuses.
    let mut answer = [0; 4096];
    match recv(socket, &mut answer[..], RecvFlags::empty()) {
        Ok((length, _)) if is_refusal(&answer[..length.min(4096)]) => {
            Err(io::Error::other("another one has the queue, or the kernel has none"))
        }
        Ok(_) | Err(_) => Ok(()),
    }
}

fn is_refusal(message: &[u8]) -> bool {
    message.get(4..6) == Some(&NLM_ERROR.to_ne_bytes()) && message.get(16..20) != Some(&[0; 4])
}

/// A verdict that the kernel does not want (the packet is gone) does no harm.
fn accept(socket: &OwnedFd, packet: u32) {
    let bytes = [ACCEPT.to_be_bytes(), packet.to_be_bytes()].concat();
    let _ = send(socket, &message(VERDICT, VERDICT_HEADER, &bytes), SendFlags::empty());
}

/// The number of the next packet, if one waits.
fn next(socket: &OwnedFd) -> Option<u32> {
    let mut buffer = [0; 4096];
    loop {
        match recv(socket, &mut buffer[..], RecvFlags::empty()) {
            Ok((length, _)) => {
                if let Some(packet) = number_in(&buffer[..length.min(4096)]) {
                    return Some(packet);
                }
            }
            // We were too slow, and packets are lost: that is a fault like any other.
            Err(Errno::NOBUFS | Errno::INTR) => {}
            Err(_) => return None,
        }
    }
}

/// A message with one attribute.
fn message(kind: u16, attribute: u16, bytes: &[u8]) -> Vec<u8> {
    let attribute_length = 4 + bytes.len();
    let length = NETLINK_HEADER + NETFILTER_HEADER + attribute_length.next_multiple_of(4);
    let mut message = Vec::with_capacity(length);
    message.extend(u32::try_from(length).expect("a short message").to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(NLM_REQUEST.to_ne_bytes());
    // Sequence number and port: nobody answers. Then any family, version 0, queue 0.
    message.extend([0; 8 + NETFILTER_HEADER]);
    message.extend(u16::try_from(attribute_length).expect("a short attribute").to_ne_bytes());
    message.extend(attribute.to_ne_bytes());
    message.extend(bytes);
    message.resize(length, 0);
    message
}

/// The packet's number, if this message brings a packet.
fn number_in(message: &[u8]) -> Option<u32> {
    let kind = u16::from_ne_bytes(message.get(4..6)?.try_into().ok()?);
    if kind != PACKET {
        return None;
    }
    let mut rest = message.get(NETLINK_HEADER + NETFILTER_HEADER..)?;
    loop {
        let length = usize::from(u16::from_ne_bytes(rest.get(..2)?.try_into().ok()?));
        let attribute = u16::from_ne_bytes(rest.get(2..4)?.try_into().ok()?);
        if attribute == PACKET_HEADER {
            return Some(u32::from_be_bytes(rest.get(4..8)?.try_into().ok()?));
        }
        rest = rest.get(length.max(4).next_multiple_of(4)..)?;
    }
}
