//! Streams of answers, each made when the one before it has been sent: nothing is queued.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tonic::Status;
use tonic::codegen::tokio_stream::Stream;

/// A stream of answers of any kind.
pub(crate) type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Makes one answer after another from a state, until there is none. The next one is not begun before
/// it is asked for.
pub(crate) fn unfold<S, T, F, N>(state: S, next: N) -> Answers<T>
where
    S: Send + 'static,
    T: Send + 'static,
    F: Future<Output = (Option<Result<T, Status>>, S)> + Send + 'static,
    N: FnMut(S) -> F + Send + 'static,
{
    Box::pin(Unfold { state: Some(state), next, making: None })
}

struct Unfold<S, F, N> {
    /// Present while nothing is being made and the end is not reached.
    state: Option<S>,
    next: N,
    making: Option<Pin<Box<F>>>,
}

// What is pinned is in a box of its own.
impl<S, F, N> Unpin for Unfold<S, F, N> {}

impl<S, T, F, N> Stream for Unfold<S, F, N>
where
    F: Future<Output = (Option<Result<T, Status>>, S)>,
    N: FnMut(S) -> F,
{
    type Item = Result<T, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if let Some(state) = this.state.take() {
            this.making = Some(Box::pin((this.next)(state)));
        }
        let Some(making) = &mut this.making else { return Poll::Ready(None) };
        let (item, state) = ready!(making.as_mut().poll(context));
        this.making = None;
        if matches!(item, Some(Ok(_))) {
            this.state = Some(state);
        }
        Poll::Ready(item)
    }
}
