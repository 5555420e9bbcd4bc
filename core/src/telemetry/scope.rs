//! Which request a piece of work belongs to.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;

use futures::future;
use sentry::Hub;
use tracing::Span;

use super::reports;

/// The span of a request, and where its errors are reported. Work that goes on elsewhere, in a task or while a stream
/// is read, is done within the scope of the request that began it.
#[derive(Clone)]
pub struct Scope {
    span: Span,
    hub: Option<Arc<Hub>>,
}

impl Scope {
    /// The scope of a request, or of work that one asked for.
    pub fn of_request(span: Span, request_id: Option<&str>) -> Self {
        Self { span, hub: reports::hub_of(request_id) }
    }

    /// The scope this code runs in.
    pub fn current() -> Self {
        let hub = Hub::current();
        Self { span: Span::current(), hub: hub.client().is_some().then_some(hub) }
    }

    /// Runs `work` within the scope.
    pub fn enter<T>(&self, work: impl FnOnce() -> T) -> T {
        match &self.hub {
            Some(hub) => Hub::run(Arc::clone(hub), || self.span.in_scope(work)),
            None => self.span.in_scope(work),
        }
    }

    /// Runs `work` within the scope, whichever thread drives it.
    pub async fn run<F: Future>(self, work: F) -> F::Output {
        let mut work = pin!(work);
        future::poll_fn(|context| self.enter(|| work.as_mut().poll(context))).await
    }
}
