//! Threads that the process can't do without.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::JoinHandle;

use crate::errors::Fault;

/// Starts a thread. If it panics, an invariant of ours is broken: the process ends, for a node that
/// finds its own state impossible stops rather than lies.
pub(crate) fn start(
    name: &'static str,
    run: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, Fault> {
    let guarded = move || {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(run)) {
            let fault = Fault::Bug { thread: name.to_owned(), what: words_of(&*panic) };
            fault.end_process();
        }
    };
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(guarded)
        .map_err(|source| Fault::System { action: "start a thread", source })
}

fn words_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no words".into())
}
