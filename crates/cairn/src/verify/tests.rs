use std::collections::BTreeMap;
use std::sync::Arc;

use consensus::{Entry, Epoch, LogIndex, Payload, Position};
use engine::Batch;
use journal::{Config, Journal, LogId, Record};

use super::*;
use crate::drivers::test_dir::TestDir;

const LOG: LogId = LogId(1);

fn at(index: u64, round: u64) -> Position {
    Position { index: LogIndex(index), epoch: Epoch { round, proposer: 0 } }
}

/// A directory as a node of a cluster of so many leaves it: entries 1 to 9, the first five of them
/// released, the engine at `applied`.
fn directory(members: &str, applied: Position) -> TestDir {
    let dir = TestDir::new();
    let identity = format!(
        "format = 1\ncluster = \"blue\"\nnode = 1\nmembers = [{members}]\njournal = \"ff\"\n\
         engine = \"disk\"\ncreated_by = \"0.1.0\"\n"
    );
    std::fs::write(dir.path().join("IDENTITY"), identity).unwrap();
    std::fs::write(dir.path().join("LOCK"), "7\n").unwrap();
    let disk = OsDisk::new(dir.path());
    let config = Config { segment_bytes: 8192, max_record_bytes: 1024, ..Config::new(0xff) };
    let (mut journal, _) = Journal::open(disk.clone(), JOURNAL, config).unwrap();
    for index in 1..10 {
        let entry = Entry { position: at(index, 2), payload: Payload::Noop };
        journal.append(&[Record::Entry { log: LOG, entry }]).unwrap();
        journal.sync().unwrap();
    }
    journal.append(&[Record::Base { log: LOG, base: at(5, 2) }]).unwrap();
    journal.close().unwrap();
    let path = engine_path(EngineKind::Disk);
    let (mut engine, mut worker) =
        engine::open_disk(disk, path, engine::Config::default()).unwrap();
    if applied.index.0 > 0 {
        let (rows, meta) = Default::default();
        engine.write(Batch { group: GroupId(LOG.0), applied, rows, meta });
        let job = engine.flush().unwrap();
        engine.done(worker.run(job).unwrap());
    }
    dir
}

fn look(dir: &TestDir) -> Report {
    verify(dir.path(), &|_| (), Arc::new(|_| ())).unwrap()
}

/// The worst finding, and what it says to do.
fn worst(dir: &TestDir) -> (Severity, String) {
    let report = look(dir);
    let worst = report.findings.iter().max_by_key(|finding| finding.severity);
    worst.map_or((Severity::Note, String::new()), |finding| {
        (finding.severity, finding.to_do.clone())
    })
}

#[test]
fn halves_that_belong_together_are_whole() {
    for applied in [at(5, 2), at(9, 2)] {
        let dir = directory("1, 2, 3", applied);
        let report = look(&dir);
        assert_eq!(report.findings, [], "{applied}");
        assert_eq!((report.segments, report.engine_files), (1, 1));
        assert!(report.bytes >= 8192, "{}", report.bytes);
    }
}

#[test]
fn a_state_that_is_missing_heals_where_there_are_others() {
    let (severity, to_do) = worst(&directory("1, 2, 3", at(0, 0)));
    assert!(severity == Severity::Heals && to_do.contains("snapshot"), "{to_do}");
    assert_eq!(worst(&directory("1", at(4, 2))).0, Severity::Damaged);
}

#[test]
fn an_engine_ahead_of_the_journal_is_normal_unless_it_is_alone() {
    assert_eq!(worst(&directory("1, 2, 3", at(10, 2))).0, Severity::Note);
    assert_eq!(worst(&directory("1", at(10, 2))).0, Severity::Damaged);
}

#[test]
fn halves_that_tell_different_stories_are_damage() {
    let (severity, to_do) = worst(&directory("1, 2, 3", at(7, 1)));
    assert!(severity == Severity::Damaged && to_do.contains("`engine` directory"), "{to_do}");
}

#[test]
fn a_journal_that_lost_all_must_be_made_to_doubt_itself() {
    let dir = directory("1, 2, 3", at(9, 2));
    let segment = dir.path().join("journal/0000000001.seg");
    std::fs::write(&segment, vec![0; 8192]).unwrap();
    let (severity, to_do) = worst(&dir);
    assert!(severity == Severity::Damaged && to_do.contains("`journal/damage`"), "{to_do}");
    std::fs::write(&segment, vec![0; 100]).unwrap();
    assert!(worst(&dir).1.contains("`journal/damage`"));
    std::fs::write(dir.path().join("journal/damage"), "").unwrap();
    let config = Config { segment_bytes: 8192, max_record_bytes: 1024, ..Config::new(0xff) };
    let (_, recovered) = Journal::open(OsDisk::new(dir.path()), JOURNAL, config).unwrap();
    assert!(recovered.damage.is_some(), "an empty marker is believed");
}

#[test]
fn what_to_do_depends_on_who_could_help() {
    let rot = |members| {
        let dir = directory(members, at(9, 2));
        let path = dir.path().join("journal/0000000001.seg");
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[200] ^= 4;
        std::fs::write(&path, bytes).unwrap();
        worst(&dir)
    };
    let (severity, to_do) = rot("1, 2, 3");
    assert!(severity == Severity::Heals && to_do.contains("all other nodes"), "{to_do}");
    let (severity, to_do) = rot("1");
    assert!(severity == Severity::Damaged && to_do.contains("backup"), "{to_do}");
}

#[test]
fn an_identity_that_is_damaged_does_not_hide_the_rest() {
    let dir = directory("1, 2, 3", at(9, 2));
    std::fs::write(dir.path().join("IDENTITY"), "colour = 1").unwrap();
    let report = look(&dir);
    let files: Vec<_> = report.findings.iter().map(|finding| finding.file.as_str()).collect();
    assert_eq!(files, ["IDENTITY"]);
    assert_eq!((report.segments, report.engine_files), (1, 1));
}

/// Every byte of every file, and when it was changed last.
fn contents(dir: &Path) -> BTreeMap<String, (Vec<u8>, std::time::SystemTime)> {
    let mut all = BTreeMap::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let changed = path.metadata().unwrap().modified().unwrap();
        if path.is_dir() {
            all.insert(path.display().to_string(), (Vec::new(), changed));
            all.extend(contents(&path));
        } else {
            all.insert(path.display().to_string(), (std::fs::read(&path).unwrap(), changed));
        }
    }
    all
}

#[test]
fn nothing_is_changed_whatever_is_found() {
    let dir = directory("1, 2, 3", at(9, 2));
    std::fs::write(dir.path().join("engine/tree.staging-g1"), "no chunk").unwrap();
    std::fs::write(dir.path().join("journal/fill.tmp"), "").unwrap();
    let mut segment = std::fs::read(dir.path().join("journal/0000000001.seg")).unwrap();
    segment[100] ^= 1;
    std::fs::write(dir.path().join("journal/0000000001.seg"), segment).unwrap();
    let before = contents(dir.path());
    assert_eq!(look(&dir).severity(), Severity::Heals);
    assert!(contents(dir.path()) == before);
}

#[test]
fn a_directory_without_a_node_is_refused() {
    let dir = TestDir::new();
    let refused = verify(dir.path(), &|_| (), Arc::new(|_| ())).unwrap_err();
    assert!(matches!(refused, Refusal::NoDataDir));
}
