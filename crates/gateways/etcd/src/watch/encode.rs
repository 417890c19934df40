//! Watch responses as bytes, made once for all who get the same.
//!
//! What differs between two watchers of one range is the watch id alone. So a response is made without
//! it (a protobuf message may have its fields in any order, and a repeated field may stand between
//! others), and the id is written behind it when the message leaves: [`Message::encode`].

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message as _;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};
use wire::{Change, Event, Item, Revision};

use super::outlet::Message;
use crate::header::signed;
use crate::pb::etcdserverpb::{ResponseHeader, WatchResponse};
use crate::pb::mvccpb;

const HEADER_TAG: u32 = 1;
const WATCH_ID_TAG: u32 = 2;
const FRAGMENT_TAG: u32 = 7;
const EVENTS_TAG: u32 = 11;

/// What a watcher wants to see. Watchers of one range that want the same get the same bytes.
#[expect(clippy::struct_excessive_bools, reason = "they are the protocol's own flags")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Flavour {
    /// What each key was before.
    pub(crate) previous: bool,
    /// Keys that get a value.
    pub(crate) puts: bool,
    /// Keys that vanish.
    pub(crate) deletes: bool,
    /// Responses over the limit in fragments.
    pub(crate) fragment: bool,
}

impl Flavour {
    fn wants(self, event: &Event) -> bool {
        match event.change {
            Change::Put(_) => self.puts,
            Change::Delete { .. } => self.deletes,
        }
    }
}

/// How large responses become.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    /// Changes of several revisions share a response up to this.
    pub(crate) response_bytes: usize,
    /// A larger response goes in fragments of at most this, to those who want that.
    pub(crate) fragment_bytes: usize,
}

/// One response to a watcher.
#[derive(Clone, Debug)]
pub(crate) struct Response {
    /// The revision of its first change: where a watcher goes on that does not get it.
    pub(crate) first: Revision,
    /// Its bytes; several if it is fragmented.
    pub(crate) parts: Vec<Bytes>,
}

/// Changes in both forms in which watchers want them, each made when it is first needed.
pub(crate) struct Encoder<'a> {
    header: ResponseHeader,
    sizes: Sizes,
    events: &'a [Event],
    encoded: Vec<[Option<Bytes>; 2]>,
}

impl<'a> Encoder<'a> {
    /// For these changes. The header's revision is not looked at.
    pub(crate) fn new(header: ResponseHeader, sizes: Sizes, events: &'a [Event]) -> Self {
        let encoded = std::iter::repeat_with(|| [None, None]).take(events.len()).collect();
        Self { header, sizes, events, encoded }
    }

    /// The responses that tell of the changes at these places, in order. All changes of a revision are
    /// in one.
    pub(crate) fn responses(
        &mut self,
        places: impl Iterator<Item = usize>,
        flavour: Flavour,
    ) -> Vec<Response> {
        let mut responses = Vec::new();
        let mut open: Vec<(Revision, Bytes)> = Vec::new();
        let mut bytes = 0;
        for place in places {
            let events = self.events;
            let event = &events[place];
            if !flavour.wants(event) {
                continue;
            }
            let begins = open.last().is_some_and(|(last, _)| *last < event.revision);
            if begins && bytes >= self.sizes.response_bytes {
                responses.push(self.response(&open, flavour));
                open.clear();
                bytes = 0;
            }
            let encoded = self.event(place, flavour.previous);
            bytes += encoded.len();
            open.push((event.revision, encoded));
        }
        if !open.is_empty() {
            responses.push(self.response(&open, flavour));
        }
        responses
    }

    /// The event at this place as a field of a response.
    fn event(&mut self, place: usize, previous: bool) -> Bytes {
        let event = &self.events[place];
        let previous = previous && event.previous.is_some();
        let slot = &mut self.encoded[place][usize::from(previous)];
        slot.get_or_insert_with(|| encode_event(event, previous)).clone()
    }

    fn response(&self, events: &[(Revision, Bytes)], flavour: Flavour) -> Response {
        let (first, last) = (events[0].0, events[events.len() - 1].0);
        let header = encode_header(&ResponseHeader { revision: signed(last.0), ..self.header });
        let total = header.len() + events.iter().map(|(_, event)| event.len()).sum::<usize>();
        if !flavour.fragment || total < self.sizes.fragment_bytes {
            return Response { first, parts: vec![join(&header, events, Whole::Last)] };
        }
        let mut parts = Vec::new();
        let mut rest = events;
        while !rest.is_empty() {
            let mut bytes = header.len();
            let fits = |(_, event): &&(Revision, Bytes)| {
                bytes += event.len();
                bytes < self.sizes.fragment_bytes
            };
            let len = rest.iter().take_while(fits).count().max(1);
            let (part, after) = rest.split_at(len);
            let whole = if after.is_empty() { Whole::Last } else { Whole::MoreFollows };
            parts.push(join(&header, part, whole));
            rest = after;
        }
        Response { first, parts }
    }
}

/// Whether a part of a response is its last.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whole {
    Last,
    MoreFollows,
}

fn join(header: &[u8], events: &[(Revision, Bytes)], whole: Whole) -> Bytes {
    let len = header.len() + 2 + events.iter().map(|(_, event)| event.len()).sum::<usize>();
    let mut out = BytesMut::with_capacity(len);
    out.put_slice(header);
    if whole == Whole::MoreFollows {
        prost::encoding::bool::encode(FRAGMENT_TAG, &true, &mut out);
    }
    for (_, event) in events {
        out.put_slice(event);
    }
    out.freeze()
}

fn encode_header(header: &ResponseHeader) -> Bytes {
    field(HEADER_TAG, header)
}

fn encode_event(event: &Event, previous: bool) -> Bytes {
    let (kind, kv) = match &event.change {
        Change::Put(item) => (mvccpb::event::EventType::Put, key_value(item)),
        Change::Delete { key } => {
            let mod_revision = signed(event.revision.0);
            let kv = mvccpb::KeyValue { key: key.clone(), mod_revision, ..Default::default() };
            (mvccpb::event::EventType::Delete, kv)
        }
    };
    let prev_kv = event.previous.as_ref().filter(|_| previous).map(key_value);
    field(EVENTS_TAG, &mvccpb::Event { r#type: kind.into(), kv: Some(kv), prev_kv })
}

fn key_value(item: &Item) -> mvccpb::KeyValue {
    mvccpb::KeyValue {
        key: item.key.clone(),
        create_revision: signed(item.created.0),
        mod_revision: signed(item.modified.0),
        version: signed(item.version),
        value: item.value.clone(),
        // A lease's name is any 64 bits.
        lease: item.lease.cast_signed(),
    }
}

fn field(tag: u32, message: &impl prost::Message) -> Bytes {
    let len = message.encoded_len();
    let mut out = BytesMut::with_capacity(key_len(tag) + encoded_len_varint(len as u64) + len);
    encode_key(tag, WireType::LengthDelimited, &mut out);
    encode_varint(len as u64, &mut out);
    message.encode_raw(&mut out);
    out.freeze()
}

/// A response without changes; its watch id is the message's.
pub(crate) fn encode_control(response: &WatchResponse) -> Bytes {
    WatchResponse { watch_id: 0, ..response.clone() }.encode_to_vec().into()
}

impl Message {
    /// Appends the whole response.
    pub(crate) fn encode(&self, out: &mut impl BufMut) {
        out.put_slice(&self.body);
        if self.watch != 0 {
            encode_key(WATCH_ID_TAG, WireType::Varint, out);
            encode_varint(self.watch.cast_unsigned(), out);
        }
    }

    /// The response itself.
    pub(super) fn decode(&self) -> WatchResponse {
        let mut response =
            WatchResponse::decode(self.body.clone()).expect("we have just encoded it ourselves");
        response.watch_id = self.watch;
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZES: Sizes = Sizes { response_bytes: 1000, fragment_bytes: 500 };
    const ALL: Flavour = Flavour { previous: false, puts: true, deletes: true, fragment: false };

    fn item(key: &str, revision: u64) -> Item {
        Item {
            key: Bytes::copy_from_slice(key.as_bytes()),
            value: Bytes::from(vec![7; 100]),
            created: Revision(2),
            modified: Revision(revision),
            version: 3,
            lease: u64::MAX,
        }
    }

    fn put(key: &str, revision: u64) -> Event {
        Event::new(Revision(revision), Change::Put(item(key, revision)))
    }

    fn header() -> ResponseHeader {
        ResponseHeader { cluster_id: 1, member_id: 2, revision: 99, raft_term: 4 }
    }

    fn decoded(responses: &[Response]) -> Vec<WatchResponse> {
        let parts = responses.iter().flat_map(|response| &response.parts);
        let whole = |body: &Bytes| {
            let message = Message { body: body.clone(), watch: 300 };
            let mut out = BytesMut::new();
            message.encode(&mut out);
            let response = WatchResponse::decode(out.freeze()).unwrap();
            assert_eq!(response, message.decode());
            response
        };
        parts.map(whole).collect()
    }

    #[test]
    fn what_is_spliced_together_reads_as_a_response() {
        let mut gone = Event::new(Revision(6), Change::Delete { key: Bytes::from_static(b"b") });
        gone.previous = Some(item("b", 4));
        let events = [put("a", 5), gone];
        let mut encoder = Encoder::new(header(), SIZES, &events);
        let plain = decoded(&encoder.responses(0..2, ALL));
        assert_eq!(plain.len(), 1);
        assert_eq!(plain[0].watch_id, 300);
        assert_eq!(plain[0].header, Some(ResponseHeader { revision: 6, ..header() }));
        let kv = plain[0].events[0].kv.clone().unwrap();
        assert_eq!((kv.create_revision, kv.mod_revision, kv.version, kv.lease), (2, 5, 3, -1));
        assert_eq!(plain[0].events[1].r#type(), mvccpb::event::EventType::Delete);
        assert_eq!(plain[0].events[1].prev_kv, None);
        let full = decoded(&encoder.responses(0..2, Flavour { previous: true, ..ALL }));
        assert_eq!(full[0].events[1].prev_kv.as_ref().unwrap().mod_revision, 4);
        let puts = decoded(&encoder.responses(0..2, Flavour { deletes: false, ..ALL }));
        assert_eq!((puts[0].events.len(), puts[0].header.unwrap().revision), (1, 5));
        let deletes = decoded(&encoder.responses(0..1, Flavour { puts: false, ..ALL }));
        assert_eq!(deletes, []);
    }

    #[test]
    fn a_revision_is_never_split_but_in_fragments() {
        let mut events: Vec<Event> = (0..20).map(|_| put("a", 5)).collect();
        events.extend((6..30).map(|revision| put("b", revision)));
        let mut encoder = Encoder::new(header(), SIZES, &events);
        let plain = encoder.responses(0..44, ALL);
        assert_eq!(plain[0].first, Revision(5));
        let told = decoded(&plain);
        assert_eq!(told[0].events.len(), 20);
        assert!(told.len() > 2 && told.iter().all(|response| !response.fragment));
        assert_eq!(told.iter().map(|response| response.events.len()).sum::<usize>(), 44);

        let fragmented = encoder.responses(0..44, Flavour { fragment: true, ..ALL });
        assert_eq!(fragmented.len(), plain.len());
        let told = decoded(&fragmented[..1]);
        assert!(told.len() > 3);
        for (at, part) in told.iter().enumerate() {
            assert_eq!(part.fragment, at + 1 < told.len());
            assert_eq!(part.header.unwrap().revision, 5);
            assert!(part.encoded_len() < 520);
        }
        assert_eq!(told.iter().map(|part| part.events.len()).sum::<usize>(), 20);
    }
}
