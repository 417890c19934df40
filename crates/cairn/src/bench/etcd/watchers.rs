//! One who watches, on a stream of his own.

use bytes::Bytes;
use gateway_etcd::pb::etcdserverpb::watch_request::RequestUnion;
use gateway_etcd::pb::etcdserverpb::{WatchCreateRequest, WatchRequest, WatchResponse};
use gateway_etcd::pb::mvccpb::event::EventType;
use wire::KeyRange;

use super::channel::Conversation;
use super::{Channel, Fault};

/// A watch under way.
pub(in super::super) struct Following {
    stream: Conversation<WatchRequest, WatchResponse>,
    prefix: Bytes,
    channel: Channel,
    /// The first revision that was not yet told.
    next: i64,
}

/// Begins to watch a prefix from now on; returns when the server has said that it does.
pub(in super::super) async fn follow(channel: Channel, prefix: Bytes) -> Result<Following, Fault> {
    let (stream, next) = begin(&channel, &prefix, 0).await?;
    Ok(Following { stream, prefix, channel, next })
}

async fn begin(
    channel: &Channel,
    prefix: &Bytes,
    from: i64,
) -> Result<(Conversation<WatchRequest, WatchResponse>, i64), Fault> {
    let create = WatchCreateRequest {
        key: prefix.clone(),
        range_end: KeyRange::prefix(prefix.clone()).end.unwrap_or(Bytes::from_static(b"\0")),
        start_revision: from,
        ..WatchCreateRequest::default()
    };
    let first = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
    let mut stream: Conversation<WatchRequest, WatchResponse> =
        channel.open("/etcdserverpb.Watch/Watch", &first).await?;
    let created = stream.hear_soon().await?;
    if !created.created || created.canceled {
        return Err(Fault::garbage("a watch was not begun"));
    }
    let now = created.header.map_or(0, |header| header.revision);
    Ok((stream, if from > 0 { from } else { now + 1 }))
}

impl Following {
    /// Waits for changes: of each the key and the new value.
    pub(in super::super) async fn next(&mut self) -> Result<Vec<(Bytes, Bytes)>, Fault> {
        let answer = self.stream.hear().await?;
        if answer.canceled {
            return Err(Fault::Lost(answer.cancel_reason));
        }
        let mut puts = Vec::new();
        for event in answer.events {
            let kind = event.r#type();
            let Some(item) = event.kv else { continue };
            self.next = self.next.max(item.mod_revision + 1);
            if kind == EventType::Put {
                puts.push((item.key, item.value));
            }
        }
        Ok(puts)
    }

    /// Goes on, on a new stream, with what was not yet told.
    pub(in super::super) async fn resume(&mut self) -> Result<(), Fault> {
        (self.stream, self.next) = begin(&self.channel, &self.prefix, self.next).await?;
        Ok(())
    }
}
