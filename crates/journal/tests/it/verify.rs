//! What `verify` tells of a journal: the truth, the right file, and without a change.

use disk::mem::MemDisk;
use disk::{Disk, File, Open};
use journal::{Finding, Flaw, LogId, Reason, Verified, verify};

use crate::support::{DIR, Generator, ID, base, entry, open, run, small};

fn sealed(seed: u64, count: usize) -> MemDisk {
    let mut generator = Generator::new(seed);
    let batches: Vec<_> = (0..count).map(|_| generator.batch()).collect();
    let disk = MemDisk::new(seed);
    assert_eq!(run(&disk, small(), &batches).synced, count);
    disk
}

/// Verifies, and makes sure that nothing has changed.
fn look(disk: &MemDisk) -> Verified {
    let before = disk.dump();
    let verified = verify(disk.clone(), DIR, Some(ID));
    assert_eq!(disk.dump(), before);
    verified
}

fn damage(verified: &Verified) -> Option<&Finding> {
    verified.findings.iter().find(|finding| matches!(finding.flaw, Flaw::Damaged(_)))
}

#[test]
fn a_journal_that_was_closed_is_whole_and_reaches_as_far_as_an_opening_says() {
    let disk = sealed(2, 40);
    let verified = look(&disk);
    assert_eq!(verified.findings, []);
    assert!(verified.segments.len() > 1);
    assert_eq!(verify(disk.clone(), DIR, None).findings, []);
    let recovered = open(&disk).1;
    assert_eq!(recovered.logs.len(), verified.logs.len());
    for (log, held) in recovered.logs {
        let extent = &verified.logs[&log];
        assert_eq!(extent.base(), held.base);
        let last = held.entries.last().map_or(held.base, |entry| entry.position);
        assert_eq!(extent.position_at(extent.last()), Some(last));
    }
}

#[test]
fn every_flipped_bit_that_matters_is_reported_where_an_opening_finds_it() {
    let whole = sealed(2, 26);
    let segments = look(&whole).segments;
    let mut damaged = 0;
    for (number, (file, end)) in segments.iter().enumerate() {
        for offset in 0..4096 {
            let disk = whole.fork(offset);
            disk.flip_bits(file, offset, 1 << (offset % 8));
            let verified = look(&disk);
            let counts = offset < *end;
            if let Some(finding) = damage(&verified) {
                assert!(counts, "{file} {offset}: {finding:?}");
                assert_eq!(finding.file, *file, "{offset}: {finding:?}");
                assert!(finding.offset <= offset, "{offset}: {finding:?}");
                damaged += 1;
            } else if counts {
                // Nothing proves that the last batch had been synced.
                assert_eq!(number + 1, segments.len(), "{file} {offset}: {:?}", verified.findings);
            }
            let told = damage(&verified).is_some();
            assert_eq!(told, open(&disk).1.damage.is_some(), "{file} {offset}");
        }
    }
    assert!(damaged > 3000, "{damaged}");
}

#[test]
fn what_is_missing_cut_or_foreign_is_told_by_its_name() {
    let whole = sealed(4, 60);
    let segments = look(&whole).segments;
    let (middle, _) = &segments[1];
    let missing = whole.fork(1);
    missing.remove(middle).unwrap();
    let verified = look(&missing);
    let found = damage(&verified).unwrap();
    assert_eq!((&found.file, &found.flaw), (middle, &Flaw::Damaged(Reason::MissingSegment)));
    let cut = whole.fork(1);
    let (last, _) = segments.last().unwrap();
    cut.open(last, Open::Existing).unwrap().set_len(1000).unwrap();
    let short = Finding { file: last.clone(), offset: 1000, flaw: Flaw::CutShort { bytes: 1000 } };
    assert!(look(&cut).findings.contains(&short));
    let foreign = verify(whole, DIR, Some(ID + 1)).findings;
    let flaw = Flaw::WrongJournal { found: ID, expected: ID + 1 };
    assert_eq!(foreign, [Finding { file: segments[0].0.clone(), offset: 0, flaw }]);
}

#[test]
fn a_torn_tail_is_no_damage_and_marked_damage_stays_told() {
    let disk = MemDisk::new(1);
    let (mut journal, _) = open(&disk);
    journal.append(&[entry(1, 1, 1, 50)]).unwrap();
    journal.sync().unwrap();
    journal.append(&[entry(1, 2, 1, 50)]).unwrap();
    let path = format!("{DIR}/0000000001.seg");
    let torn = disk.fork(1);
    let (_, end) = look(&torn).segments.pop().unwrap();
    torn.flip_bits(&path, end - 9, 1);
    let found = look(&torn).findings;
    assert!(matches!(&found[..], [Finding { flaw: Flaw::TornTail { .. }, .. }]), "{found:?}");

    journal.sync().unwrap();
    journal.append(&[entry(1, 3, 1, 50)]).unwrap();
    journal.close().unwrap();
    disk.flip_bits(&path, 300, 1);
    let before = damage(&look(&disk)).cloned().unwrap();
    drop(open(&disk));
    let after = look(&disk);
    let marks = |finding: &&Finding| matches!(finding.flaw, Flaw::Marked(_));
    let marked = after.findings.iter().find(marks).unwrap();
    let Flaw::Marked(earlier) = &marked.flaw else { unreachable!() };
    assert_eq!((marked.file.as_str(), earlier.offset), ("journal/damage", before.offset));
    let aside = Finding { file: format!("{path}.damaged"), offset: 0, flaw: Flaw::SetAside };
    assert!(after.findings.contains(&aside));
    assert_eq!(damage(&after), None);
}

#[test]
fn a_base_is_told_and_what_lies_before_it_is_not_known() {
    let disk = MemDisk::new(1);
    let (mut journal, _) = open(&disk);
    journal.append(&[entry(1, 1, 1, 5), entry(1, 2, 1, 5), entry(1, 3, 2, 5)]).unwrap();
    journal.append(&[base(1, 2, 1)]).unwrap();
    journal.close().unwrap();
    let extent = &look(&disk).logs[&LogId(1)];
    assert_eq!((extent.base().index.0, extent.last().0), (2, 3));
    let round = |index| extent.position_at(consensus::LogIndex(index)).map(|at| at.epoch.round);
    assert_eq!([round(1), round(2), round(3), round(4)], [None, Some(1), Some(2), None]);
}
