//! Panics of nodes are findings: kept quiet, and remembered with their place.

use std::cell::{Cell, RefCell};
use std::panic::{self, PanicHookInfo};
use std::sync::Once;

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
    static LAST: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Does `work`, which catches its own panics and tells whether there was one. Returns what the last
/// one said. Panics of other threads are not touched.
pub(crate) fn quietly(work: impl FnOnce() -> bool) -> Option<String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let former = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if QUIET.get() {
                LAST.set(Some(words(info)));
            } else {
                former(info);
            }
        }));
    });
    QUIET.set(true);
    let panicked = work();
    QUIET.set(false);
    let last = LAST.take();
    panicked.then(|| last.unwrap_or_else(|| "a panic without words".to_owned()))
}

fn words(info: &PanicHookInfo<'_>) -> String {
    let said = info.payload_as_str().unwrap_or("something that is no text");
    let place = info.location().map(|place| {
        // The same text wherever the source lies.
        let file = place.file();
        let file = file.find("crates/").map_or(file, |at| &file[at..]);
        format!(" ({file}:{})", place.line())
    });
    format!("a node panicked: {said}{}", place.unwrap_or_default())
}
