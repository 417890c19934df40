//! What was found broken, and the marker file that keeps saying so until the host has dealt with it.

use std::fmt;

/// A place in the journal where something that had been synced is not there any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Sequence number of the segment; 0 if the marker of an earlier find can't be read.
    pub segment: u64,
    /// Where in it.
    pub offset: u64,
    /// What was found there.
    pub reason: Reason,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "segment {} offset {} {}", self.segment, self.offset, self.reason.word())
    }
}

/// Why something in the journal is not valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// There is no segment header, or a broken one.
    Header,
    /// There is no batch header, or one that is broken beyond recognition.
    NoBatch,
    /// A checksum does not match.
    Checksum,
    /// Checksums match, yet lengths or fields make no sense.
    Malformed,
    /// Bytes between two batches are not zero.
    Padding,
    /// A valid batch or segment of another number stands here.
    OutOfSequence,
    /// A segment file is missing between others.
    MissingSegment,
    /// A log's entries do not follow one another.
    Gap,
    /// A segment restates a log otherwise than its records add up.
    Disagreement,
    /// A released segment held entries that are still needed.
    MissingEntries,
    /// The marker of an earlier find is itself unreadable.
    Marker,
}

const WORDS: [(Reason, &str); 11] = [
    (Reason::Header, "bad-header"),
    (Reason::NoBatch, "no-batch"),
    (Reason::Checksum, "bad-checksum"),
    (Reason::Malformed, "malformed"),
    (Reason::Padding, "bad-padding"),
    (Reason::OutOfSequence, "out-of-sequence"),
    (Reason::MissingSegment, "missing-segment"),
    (Reason::Gap, "gap-in-log"),
    (Reason::Disagreement, "disagreement"),
    (Reason::MissingEntries, "missing-entries"),
    (Reason::Marker, "unreadable-marker"),
];

impl Reason {
    /// Its name in the marker file, in logs and in the inspector's output.
    pub fn word(self) -> &'static str {
        let (_, word) = WORDS.iter().find(|(reason, _)| *reason == self).expect("all are listed");
        word
    }

    fn from_word(word: &str) -> Option<Self> {
        WORDS.iter().find(|(_, name)| *name == word).map(|(reason, _)| *reason)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

const MOST_FINDS: usize = 16;
const EXPLANATION: &str = "\
Something that this journal had acknowledged could not be read any more.
What could be read was written anew; the files as they were found end in .damaged.
The node reports its replicas as in doubt until their peers have restored them.
This file is removed then. Do not remove it by hand.
";

/// The marker's text: the newest find first, then earlier ones, then words for a reader.
pub(crate) fn marker_text(damage: &Damage, earlier: &[u8]) -> String {
    let earlier = String::from_utf8_lossy(earlier);
    let finds = earlier.lines().filter(|line| line.starts_with("segment "));
    let mut text = format!("{damage}\n");
    for find in finds.take(MOST_FINDS - 1) {
        text.push_str(find);
        text.push('\n');
    }
    text + EXPLANATION
}

/// The newest find of a marker. Whatever it says, there was damage.
pub(crate) fn parse_marker(text: &[u8]) -> Damage {
    let unreadable = Damage { segment: 0, offset: 0, reason: Reason::Marker };
    let text = String::from_utf8_lossy(text);
    text.lines().next().and_then(parse_find).unwrap_or(unreadable)
}

fn parse_find(line: &str) -> Option<Damage> {
    let rest = line.strip_prefix("segment ")?;
    let (segment, rest) = rest.split_once(" offset ")?;
    let (offset, word) = rest.split_once(' ')?;
    let reason = Reason::from_word(word)?;
    Some(Damage { segment: segment.parse().ok()?, offset: offset.parse().ok()?, reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_is_read_back_and_rot_still_means_damage() {
        let first = Damage { segment: 3, offset: 4096, reason: Reason::Checksum };
        let text = marker_text(&first, b"");
        assert_eq!(parse_marker(text.as_bytes()), first);
        let second = Damage { segment: 9, offset: 64, reason: Reason::Gap };
        let both = marker_text(&second, text.as_bytes());
        assert_eq!(parse_marker(both.as_bytes()), second);
        assert!(both.contains(&first.to_string()));
        assert_eq!(parse_marker(b"\xff").reason, Reason::Marker);
        assert_eq!(parse_marker(b"").reason, Reason::Marker);
    }

    #[test]
    fn every_reason_has_a_word_that_is_read_back() {
        for (reason, word) in WORDS {
            assert_eq!(reason.word(), word);
            assert_eq!(Reason::from_word(word), Some(reason));
        }
    }
}
