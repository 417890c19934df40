//! What the system says of processes: the nodes', and this one.

use std::fs;

/// Seconds of processor time so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Processes {
    /// Of the nodes together; `None` if a process is gone.
    pub(super) servers: Option<f64>,
    /// Of this process.
    pub(super) own: f64,
    /// Of everything on this machine, over all its cores.
    pub(super) machine: f64,
}

impl Processes {
    /// As it is now. Zeros where the system does not say.
    pub(super) fn read(server_pids: &[u32]) -> Self {
        let servers = server_pids.iter().map(|pid| processor_s(&pid.to_string()));
        Self {
            servers: if server_pids.is_empty() { None } else { servers.sum() },
            own: processor_s("self").unwrap_or(0.0),
            machine: fs::read_to_string("/proc/stat").map_or(0.0, |stat| busy_s(&stat)),
        }
    }
}

fn processor_s(pid: &str) -> Option<f64> {
    of_process(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The command's name may hold spaces and brackets: fields are counted behind its last bracket.
fn of_process(stat: &str) -> Option<f64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(seconds(user + system))
}

/// User, nice, system, interrupts, soft interrupts, stolen: neither idle nor waiting.
fn busy_s(stat: &str) -> f64 {
    let line = stat.lines().next().unwrap_or_default();
    let numbers: Vec<u64> =
        line.split_whitespace().skip(1).filter_map(|number| number.parse().ok()).collect();
    let busy = [0, 1, 2, 5, 6, 7].iter().filter_map(|&place| numbers.get(place));
    seconds(busy.sum())
}

#[expect(clippy::cast_precision_loss, reason = "hundredths of seconds since a start fit into f64")]
fn seconds(ticks: u64) -> f64 {
    ticks as f64 / rustix::param::clock_ticks_per_second() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_of_a_process_are_found_behind_its_name() {
        let stat = "77 (a (b) c) S 1 77 77 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 9 0 100";
        let expected = seconds(300);
        assert_eq!(of_process(stat), Some(expected));
        assert_eq!(of_process("77 (cut"), None);
    }

    #[test]
    fn the_machine_is_busy_when_it_is_neither_idle_nor_waiting() {
        let stat = "cpu  10 1 20 9999 8888 2 3 4 0 0\ncpu0 1 1 1\n";
        assert!((busy_s(stat) - seconds(40)).abs() < f64::EPSILON);
        assert!(busy_s("").abs() < f64::EPSILON);
    }

    #[test]
    fn this_process_has_used_some_time_or_none_but_is_there() {
        assert!(Processes::read(&[]).servers.is_none());
        assert!(Processes::read(&[std::process::id()]).servers.is_some());
        assert!(Processes::read(&[u32::MAX]).servers.is_none());
    }
}
