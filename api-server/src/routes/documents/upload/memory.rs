//! How much memory uploads may hold at a time. Each holds one file, and twice that while it is stored.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::MAX_FILE_BYTES;
use crate::problem::{Problem, ProblemKind};

/// Largest files that may be held at a time; of smaller ones, as many as take the same room.
const LARGEST_FILES: usize = 3;
/// Room is given out in pieces of this many bytes.
const PIECE: usize = 64 * 1024;
/// How long an upload waits for room.
const PATIENCE: Duration = Duration::from_secs(10);

/// The memory for uploads, given out first come, first served.
#[derive(Clone)]
pub(crate) struct UploadMemory {
    room: Arc<Semaphore>,
    patience: Duration,
}

impl Default for UploadMemory {
    fn default() -> Self {
        Self { room: Arc::new(Semaphore::new(LARGEST_FILES * pieces(None) as usize)), patience: PATIENCE }
    }
}

impl UploadMemory {
    /// Room for the files of a request of `length` bytes, one after the other.
    pub(super) async fn reserve(&self, length: Option<usize>) -> Result<OwnedSemaphorePermit, Problem> {
        let room = Arc::clone(&self.room).acquire_many_owned(pieces(length));
        match tokio::time::timeout(self.patience, room).await {
            Ok(room) => Ok(room.expect("the semaphore is never closed")),
            Err(_) => Err(Problem::new(ProblemKind::Busy, "other uploads are under way; try again in a moment")
                .retry_after(self.patience)),
        }
    }
}

/// What a request takes; as much as the largest file, when it does not say its length.
fn pieces(length: Option<usize>) -> u32 {
    let held = length.map_or(MAX_FILE_BYTES, |length| length.min(MAX_FILE_BYTES));
    u32::try_from(held.div_ceil(PIECE)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_upload_waits_for_room_but_not_for_ever() {
        let memory = UploadMemory { patience: Duration::from_millis(200), ..UploadMemory::default() };
        let mut held = Vec::new();
        for _ in 0..LARGEST_FILES - 1 {
            held.push(memory.reserve(None).await.unwrap());
        }
        held.push(memory.reserve(Some(MAX_FILE_BYTES / 2)).await.unwrap());
        let small = memory.reserve(Some(1_000)).await.unwrap();
        assert_eq!(memory.reserve(None).await.unwrap_err().kind, ProblemKind::Busy);
        drop(small);
        let (waiting, ()) = tokio::join!(memory.reserve(None), async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            drop(held.remove(0));
        });
        assert!(waiting.is_ok());
    }

    #[tokio::test]
    async fn a_request_takes_no_more_room_than_its_largest_file_could() {
        let memory = UploadMemory::default();
        let _many_files = memory.reserve(Some(50 * MAX_FILE_BYTES)).await.unwrap();
        assert_eq!(memory.room.available_permits(), (LARGEST_FILES - 1) * pieces(None) as usize);
    }
}
