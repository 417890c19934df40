//! What must hold after the storm: the cluster heals, goes on, and has lost nothing.

use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::cluster::Cluster;
use crate::record::Record;
use crate::workload::{APPENDS, Workload};

/// Everything after the storm, checks included, takes no longer.
pub(crate) const AFTERMATH: Duration = Duration::from_mins(5);

/// How long until writes go on, once nothing stands in their way.
const PROGRESS_PATIENCE: Duration = Duration::from_secs(30);

/// Calm in which the workload goes on after the storm.
const CALM: Duration = Duration::from_secs(1);

/// A number that no client gets to.
const FOREIGN: &str = "4000000000";

/// Waits until a write is acknowledged that begins from now on.
pub(crate) fn progress(cluster: &mut Cluster, workload: &Workload) -> Result<Duration, String> {
    let (now, begun) = (workload.now(), Instant::now());
    while !workload.acknowledged_since(now) {
        cluster.bury()?;
        if begun.elapsed() > PROGRESS_PATIENCE {
            let seen = serde_json::Value::from(cluster.statuses());
            return Err(format!(
                "no write within {PROGRESS_PATIENCE:?}, nothing being wrong: {seen}"
            ));
        }
        sleep(Duration::from_millis(10));
    }
    Ok(begun.elapsed())
}

/// Everything is mended, the nodes run: now the cluster must be whole, and serve.
pub(crate) fn after_the_storm(cluster: &mut Cluster, workload: &Workload) -> Result<(), String> {
    cluster.wait_until_whole()?;
    progress(cluster, workload)?;
    sleep(CALM);
    cluster.wait_until_whole()
}

/// Loses an append, and writes what no client wrote. [`judge`] must find both.
pub(crate) fn plant(cluster: &Cluster) {
    println!("planted: {APPENDS}7 is lost, r0-0 holds {FOREIGN}");
    cluster.command(&["del", &format!("{APPENDS}7")]).unwrap();
    cluster.command(&["put", "r0-0", FOREIGN]).unwrap();
}

/// Everything that is wrong with what was seen.
pub(crate) fn judge(record: &Record, cluster: &Cluster) -> Vec<String> {
    let mut violations = record.check_registers();
    match cluster.scan(APPENDS) {
        Ok(found) => violations.extend(record.check_appends(&found)),
        Err(why) => violations.push(why),
    }
    violations
}
