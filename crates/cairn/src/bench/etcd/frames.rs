//! gRPC's frames: a message behind one byte of flags and four of length.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use hyper::body::{Body, Frame};
use prost::Message;
use tokio::sync::mpsc;

use super::Fault;

/// Flags and length.
const HEAD_BYTES: usize = 5;

/// The longest message that is taken in.
const MESSAGE_BYTES: usize = 1 << 30;

/// A message in its frame.
pub(super) fn frame(message: &impl Message) -> Bytes {
    let len = message.encoded_len();
    let mut out = BytesMut::with_capacity(HEAD_BYTES + len);
    out.put_u8(0);
    out.put_u32(u32::try_from(len).expect("what is measured has far less than 4 GiB"));
    message.encode(&mut out).expect("a buffer grows as it must");
    out.freeze()
}

/// Takes the next message out of what has come, if all of it is there.
pub(super) fn take<M: Message + Default>(buffer: &mut BytesMut) -> Result<Option<M>, Fault> {
    let Some(head) = buffer.first_chunk::<HEAD_BYTES>() else { return Ok(None) };
    let len = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
    if head[0] != 0 || len > MESSAGE_BYTES {
        return Err(Fault::garbage("a frame is compressed, or longer than any message"));
    }
    if buffer.len() < HEAD_BYTES + len {
        buffer.reserve(HEAD_BYTES + len - buffer.len());
        return Ok(None);
    }
    buffer.advance(HEAD_BYTES);
    let message = M::decode(buffer.split_to(len).freeze());
    message.map(Some).map_err(|error| Fault::garbage(&error.to_string()))
}

/// What is sent: one frame, or one after the other as they come.
pub(super) enum Sent {
    One(Option<Bytes>),
    Many(mpsc::Receiver<Bytes>),
}

impl Body for Sent {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = match &mut *self {
            Self::One(frame) => Poll::Ready(frame.take()),
            Self::Many(frames) => frames.poll_recv(context),
        };
        next.map(|frame| frame.map(|frame| Ok(Frame::data(frame))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::One(None))
    }
}

#[cfg(test)]
mod tests {
    use gateway_etcd::pb::etcdserverpb::PutRequest;

    use super::*;

    #[test]
    fn messages_are_taken_as_they_become_whole() {
        let put = PutRequest { key: "k".into(), value: "v".into(), ..PutRequest::default() };
        let twice = [frame(&put), frame(&put)].concat();
        let mut buffer = BytesMut::new();
        let mut met = 0;
        for byte in twice {
            buffer.put_u8(byte);
            if let Some(taken) = take::<PutRequest>(&mut buffer).unwrap() {
                assert_eq!(taken, put);
                met += 1;
            }
        }
        assert_eq!((met, buffer.len()), (2, 0));
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        let mut compressed = BytesMut::from(&[1, 0, 0, 0, 0][..]);
        assert!(take::<PutRequest>(&mut compressed).is_err());
        let mut long = BytesMut::from(&[0, 255, 0, 0, 0][..]);
        assert!(take::<PutRequest>(&mut long).is_err());
    }
}
