//! Fencing tokens in the metadata of a request: `cairn-fence: KEY@REVISION`.
//!
//! Who holds a lock may have every write of its own refused once the lock is lost: `KEY` is the lock's
//! key as `Lock` answered it, and `REVISION` the revision that created it. In `KEY` bytes that a header
//! can't carry are percent-encoded, and so is `%` itself. Several headers are several locks.

use layer_lock::Sequencer;
use tonic::Status;
use tonic::metadata::MetadataMap;
use wire::Fence;

/// The header's name.
const NAME: &str = "cairn-fence";

/// The most fences of one request.
const MOST: usize = 16;

/// The fences that a request bears.
pub(crate) fn of(metadata: &MetadataMap) -> Result<Vec<Fence>, Status> {
    let mut fences = Vec::new();
    for value in metadata.get_all(NAME) {
        let text = value.to_str().map_err(|_| invalid())?;
        let sequencer: Sequencer = text.parse().map_err(|_| invalid())?;
        if fences.len() == MOST {
            return Err(invalid());
        }
        fences.push(sequencer.into());
    }
    Ok(fences)
}

fn invalid() -> Status {
    Status::invalid_argument(format!(
        "etcdserver: `{NAME}` must be KEY@REVISION: a lock's key, percent-encoded, and the revision \
         that created it; at most {MOST} times"
    ))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use wire::Revision;

    use super::*;

    fn read(values: &[&'static str]) -> Result<Vec<Fence>, Status> {
        let mut metadata = MetadataMap::new();
        for value in values {
            metadata.append(NAME, tonic::metadata::MetadataValue::from_static(value));
        }
        of(&metadata)
    }

    #[test]
    fn a_key_may_have_any_bytes() {
        let fence = |key: &'static [u8], created| Fence {
            key: Bytes::from_static(key),
            created: Revision(created),
        };
        assert_eq!(read(&[]).unwrap(), []);
        assert_eq!(read(&["locks/a@7"]).unwrap(), [fence(b"locks/a", 7)]);
        assert_eq!(
            read(&["a@b@12", "%00%ff%25@3"]).unwrap(),
            [fence(b"a@b", 12), fence(b"\0\xff%", 3)]
        );
    }

    #[test]
    fn what_is_no_fence_is_refused_with_the_form() {
        for bad in ["", "key", "@1", "key@", "key@x", "key@-1"] {
            let refusal = read(&[bad]).unwrap_err();
            assert!(refusal.message().contains("KEY@REVISION"), "{bad}: {refusal}");
        }
        assert!(read(&["key@1"; MOST + 1]).is_err());
    }
}
