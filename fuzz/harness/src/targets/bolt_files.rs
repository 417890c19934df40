//! A file of bbolt: opened, and all of its buckets gone through, those within others apart.
//!
//! Whatever the file claims, keys ascend, an entry's value is what stands at its place in the file, and
//! memory is in proportion to the file. Read twice, it says the same.

use bolt::{Database, Fault, Layout, Small};

use crate::input::Input;
use crate::seal;

/// Input: whether to put checksums right, the file.
pub(super) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let sealed = input.u8() & 1 == 1;
    let mut file = input.rest().to_vec();
    if sealed {
        seal::bolt(&mut file);
    }
    assert_eq!(read(&file), read(&file), "the same file says the same");
}

/// How many entries each bucket has, or why it can't be read.
fn read(file: &[u8]) -> Result<Vec<Result<u64, String>>, String> {
    let mut database = Database::open(file).map_err(|fault| fault.to_string())?;
    assert!(database.size() <= file.len() as u64, "the file is as long as it says, at least");
    let mut names = Vec::new();
    let root = database.root();
    let mut walk = database.walk(&root);
    while let Some(entry) = walk.next().map_err(|fault| fault.to_string())? {
        if entry.is_bucket {
            names.push(entry.key.to_vec());
        }
    }
    Ok(names
        .iter()
        .map(|name| count(&mut database, file, name).map_err(|f| f.to_string()))
        .collect())
}

fn count(database: &mut Database<&[u8]>, file: &[u8], name: &[u8]) -> Result<u64, Fault> {
    let bucket = database.bucket(name)?.expect("it was met a moment ago");
    let mut walk = database.walk(&bucket);
    let (mut last, mut count) = (None, 0);
    while let Some(entry) = walk.next()? {
        assert!(last.is_none_or(|last: Vec<u8>| last[..] < *entry.key), "keys ascend");
        if !entry.is_bucket {
            let at = usize::try_from(entry.value_at).expect("it lies within the file");
            assert_eq!(&file[at..at + entry.value.len()], entry.value, "a value can be read again");
        }
        last = Some(entry.key.to_vec());
        count += 1;
    }
    Ok(count)
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let sizes: [&[usize]; 4] = [&[], &[5], &[40, 700, 3], &[20; 12]];
    let files = sizes.map(|sizes| {
        let mut layout = Layout::new(sizes.len(), sizes.len());
        let revision = |place: usize| 2 + (sizes.len() - place) as u64 / 2;
        for (place, size) in sizes.iter().enumerate() {
            layout.add(revision(place), *size).expect("it has room for all");
        }
        let entry = (b"index".to_vec(), vec![7; 8]);
        let others = vec![
            Small { name: b"meta", entries: vec![entry] },
            Small { name: b"lease", entries: (0..9).map(|n| (vec![n], vec![n; 30])).collect() },
        ];
        let mut form = layout.form(b"key", others);
        let mut file = Vec::new();
        while let Some(head) = form.head() {
            file.extend_from_slice(&head);
        }
        for (place, size) in sizes.iter().enumerate() {
            let leaf = form.leaf(revision(place), &vec![1; *size]);
            file.extend_from_slice(&leaf.expect("it is the item of before"));
        }
        file
    });
    let seed = |sealed: u8| move |file: &Vec<u8>| [&[sealed][..], file].concat();
    files.iter().map(seed(1)).chain(files.iter().map(seed(0))).collect()
}
