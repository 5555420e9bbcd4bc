//! News of runs, as they come and change.

use sqlx::postgres::PgListener;

use super::super::{Error, Pool};

/// The channel that `runs_announce()` writes to.
const CHANNEL: &str = "docbrain_runs";

/// Hears of runs of all tenants. For the owner, who starts processes for them.
pub struct RunEvents(PgListener);

/// What was heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunEvent {
    /// A run of this knowledge source has come, or its state has changed.
    Changed {
        /// The namespace of its tenant.
        namespace: String,
        /// The knowledge source's name.
        source: String,
    },
    /// The connection was lost and is there again: anything may have happened.
    Missed,
}

impl RunEvents {
    /// Begins to listen.
    pub async fn listen(owner: &Pool) -> Result<Self, Error> {
        let mut listener = PgListener::connect_with(owner).await?;
        listener.listen(CHANNEL).await?;
        Ok(Self(listener))
    }

    /// Waits for the next one. After an error the caller asks again, a moment later.
    pub async fn next(&mut self) -> Result<RunEvent, Error> {
        loop {
            let Some(notification) = self.0.try_recv().await? else { return Ok(RunEvent::Missed) };
            if let Some((namespace, source)) = notification.payload().split_once('/') {
                return Ok(RunEvent::Changed { namespace: namespace.to_owned(), source: source.to_owned() });
            }
        }
    }
}
