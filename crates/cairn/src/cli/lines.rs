//! Items and events as lines: for `scan` and `watch`, which may print without end.

use serde_json::{Map, Value};
use wire::{Change, Event, Item};

use super::Output;
use super::get::item_json;
use super::keys::{KeyForm, printable};

/// How lines are written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LineForm {
    /// Of what is printed.
    pub(crate) output: Output,
    /// Of keys.
    pub(crate) keys: KeyForm,
    /// Whether values are left out.
    pub(crate) keys_only: bool,
}

impl LineForm {
    /// An item of a scan.
    pub(crate) fn item(self, item: &Item) -> String {
        match self.output {
            Output::Text if self.keys_only => self.keys.show(&item.key),
            Output::Text => format!("{}\t{}", self.keys.show(&item.key), printable(&item.value)),
            Output::Json => Value::Object(self.object(item)).to_string(),
        }
    }

    /// An event of a watch.
    pub(crate) fn event(self, event: &Event) -> String {
        let (revision, key) = (event.revision.0, self.keys.show(event.key()));
        match (self.output, &event.change) {
            (Output::Text, Change::Put(_)) if self.keys_only => format!("{revision}\tput\t{key}"),
            (Output::Text, Change::Put(item)) => {
                format!("{revision}\tput\t{key}\t{}", printable(&item.value))
            }
            (Output::Text, Change::Delete { .. }) => format!("{revision}\tdelete\t{key}"),
            (Output::Json, change) => self.event_json(revision, change),
        }
    }

    fn event_json(self, revision: u64, change: &Change) -> String {
        let (kind, mut object) = match change {
            Change::Put(item) => ("put", self.object(item)),
            Change::Delete { key } => {
                let mut object = Map::new();
                self.keys.insert(&mut object, key);
                ("delete", object)
            }
        };
        object.insert("type".into(), kind.into());
        object.insert("revision".into(), revision.into());
        Value::Object(object).to_string()
    }

    fn object(self, item: &Item) -> Map<String, Value> {
        let mut object = item_json(item, self.keys);
        if self.keys_only {
            object.remove("value");
        }
        object
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use wire::Revision;

    fn item() -> Item {
        Item {
            key: Bytes::from_static(b"a"),
            value: Bytes::from_static(b"x\ty"),
            created: Revision(1),
            modified: Revision(2),
            version: 2,
            lease: 0,
        }
    }

    #[test]
    fn one_line_each() {
        let keys = KeyForm { hex_keys: false };
        let text = LineForm { output: Output::Text, keys, keys_only: false };
        let put = Event::new(Revision(2), Change::Put(item()));
        let key = Bytes::from_static(b"a");
        let delete = Event::new(Revision(3), Change::Delete { key });
        assert_eq!(text.item(&item()), "a\tx\\ty");
        assert_eq!(LineForm { keys_only: true, ..text }.item(&item()), "a");
        assert_eq!(text.event(&put), "2\tput\ta\tx\\ty");
        assert_eq!(text.event(&delete), "3\tdelete\ta");
        let json = LineForm { output: Output::Json, ..text };
        assert_eq!(
            json.event(&put),
            r#"{"created":1,"key":"a","modified":2,"revision":2,"type":"put","value":"x\ty","version":2}"#
        );
        assert_eq!(json.event(&delete), r#"{"key":"a","revision":3,"type":"delete"}"#);
    }
}
