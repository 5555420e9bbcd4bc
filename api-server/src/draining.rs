//! How a server ends: first nothing new, then what is under way, then nothing.

use tokio_util::sync::CancellationToken;

/// How far the end is; clones share it.
#[derive(Clone, Default)]
pub(crate) struct Draining {
    begun: CancellationToken,
    over: CancellationToken,
}

impl Draining {
    /// From now on the server is not ready, and connections close after the answer they wait for.
    pub(crate) fn begin(&self) {
        self.begun.cancel();
    }

    /// The patience is at its end: what is still under way ends now, and is told why.
    pub(crate) fn end(&self) {
        self.over.cancel();
    }

    pub(crate) fn has_begun(&self) -> bool {
        self.begun.is_cancelled()
    }

    pub(crate) async fn begun(&self) {
        self.begun.cancelled().await;
    }

    pub(crate) async fn over(&self) {
        self.over.cancelled().await;
    }
}
