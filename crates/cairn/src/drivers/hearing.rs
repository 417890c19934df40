//! What another node has to say, on the connection that it opened.

use std::future::Future;

use bytes::BytesMut;
use node::{Event, PeerEnvelope};
use tokio::io::{AsyncRead, AsyncReadExt};
use wire::{FrameKind, NodeId, Reader, split_frame};

use super::frames::make_room;
use super::mailbox::Mailbox;
use super::metrics::Metrics;

/// Hears what node `from` has to say, until it hangs up or `gone` says that it has no more to say here.
/// Returns why, if it was not in order.
pub(crate) async fn hear(
    mut stream: impl AsyncRead + Unpin,
    mut buffer: BytesMut,
    from: NodeId,
    gone: impl Future<Output = ()>,
    mailbox: &Mailbox,
    metrics: &Metrics,
) -> Result<(), String> {
    let mut gone = std::pin::pin!(gone);
    let mut messages = Vec::new();
    let result = loop {
        if let Err(why) = take_messages(&mut buffer, from, &mut messages) {
            break Err(why);
        }
        if !messages.is_empty() {
            metrics.peer_dropped.inc_by(mailbox.messages(&mut messages) as u64);
        }
        make_room(&mut buffer);
        tokio::select! {
            biased;
            read = stream.read_buf(&mut buffer) => match read {
                Ok(0) | Err(_) => break Ok(()),
                Ok(_) => {}
            },
            () = &mut gone => break Ok(()),
        }
    };
    mailbox.event(Event::PeerLost(from));
    result
}

fn take_messages(
    buffer: &mut BytesMut,
    from: NodeId,
    into: &mut Vec<PeerEnvelope>,
) -> Result<(), String> {
    while let Some(frame) = split_frame(buffer).map_err(|error| error.to_string())? {
        if frame.kind != FrameKind::Peer {
            return Err(format!("a {:?} where a node's message was expected", frame.kind));
        }
        let message = PeerEnvelope::decode(&mut Reader::new(frame.body))
            .map_err(|error| error.to_string())?;
        if message.from != from {
            return Err(format!("a message of {} on the connection of {from}", message.from));
        }
        into.push(message);
    }
    Ok(())
}
