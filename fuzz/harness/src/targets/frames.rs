//! Frames on a byte stream, as both ports and the client read them.
//!
//! However the stream comes in pieces, the same frames are found and the same fault ends them. A frame
//! that is encoded again is the same frame, and no longer. A length alone gets no memory.

use bytes::BytesMut;
use wire::{Frame, FrameError, MAX_FRAME_BYTES, split_frame};

use crate::{input::Input, seal, seeds};

/// Input: the length of the pieces, whether to put checksums right, the stream.
pub(super) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let (piece, sealed) = (usize::from(input.u8()).max(1), input.u8() & 1 == 1);
    let mut stream = input.rest().to_vec();
    if sealed {
        seal::frames(&mut stream);
    }
    let (found, end) = read(&stream, stream.len().max(1));
    assert_eq!((&found, &end), (&read(&stream, piece).0, &read(&stream, piece).1));
    for frame in found {
        let again = Frame::encode(frame.kind, frame.stream, |out| {
            out.raw(&frame.body);
        });
        let mut buffer = BytesMut::from(&again[..]);
        assert_eq!(split_frame(&mut buffer), Ok(Some(frame)));
        assert!(buffer.is_empty(), "a frame leaves nothing of itself");
    }
    if let Err(FrameError::Length { len }) = end {
        assert!(!(2..=MAX_FRAME_BYTES).contains(&len), "{len} bytes are no fault");
    }
}

/// All frames, and what ended them: bytes that are not a whole frame yet, or a fault.
fn read(stream: &[u8], piece: usize) -> (Vec<Frame>, Result<usize, FrameError>) {
    let (mut found, mut buffer) = (Vec::new(), BytesMut::new());
    for piece in stream.chunks(piece) {
        buffer.extend_from_slice(piece);
        loop {
            match split_frame(&mut buffer) {
                Ok(Some(frame)) => found.push(frame),
                Ok(None) => break,
                Err(error) => return (found, Err(error)),
            }
        }
    }
    (found, Ok(buffer.len()))
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let stream = seeds::frames();
    let seed = |head: [u8; 2]| [&head[..], &stream].concat();
    vec![seed([255, 0]), seed([7, 0]), seed([255, 1]), seed([1, 1])]
}
