//! Bodies that come so slowly that they only hold a connection.

use std::time::Duration;

use axum::BoxError;
use axum::body::{Body, HttpBody};
use axum::extract::Request;
use futures::{StreamExt, stream};
use tokio::time::{Instant, timeout_at};

/// Time that every body has, whatever its length.
const GRACE: Duration = Duration::from_secs(30);
/// Slowest sender that is waited for beyond it: the slowest mobile networks carry twice as much.
const BYTES_A_SECOND: u64 = 1024;

#[derive(Debug, thiserror::Error)]
#[error("the body came too slowly")]
struct TooSlow;

/// The request with a body that fails once it falls behind the slowest pace.
pub(crate) async fn keep_pace(request: Request) -> Request {
    if request.body().is_end_stream() {
        return request;
    }
    request.map(|body| paced(body, GRACE))
}

fn paced(body: Body, grace: Duration) -> Body {
    let begun = Instant::now();
    let state = Some((body.into_data_stream(), 0_u64));
    Body::from_stream(stream::unfold(state, move |state| async move {
        let (mut body, read) = state?;
        let due = begun + grace + Duration::from_secs(read / BYTES_A_SECOND);
        match timeout_at(due, body.next()).await {
            Ok(Some(Ok(piece))) => {
                let read = read + piece.len() as u64;
                Some((Ok(piece), Some((body, read))))
            }
            Ok(Some(Err(error))) => Some((Err(BoxError::from(error)), None)),
            Ok(None) => None,
            Err(_) => Some((Err(TooSlow.into()), None)),
        }
    }))
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;

    use super::*;

    /// A body of 50 pieces of this many bytes, with a pause of 20 milliseconds before each.
    fn dripping(bytes: usize) -> Body {
        Body::from_stream(stream::iter(0..50).then(move |_| async move {
            tokio::time::sleep(Duration::from_millis(20)).await;
            Ok::<_, BoxError>(vec![b'x'; bytes])
        }))
    }

    #[tokio::test]
    async fn a_dripping_body_fails_and_a_brisk_one_passes() {
        let grace = Duration::from_millis(100);
        let error = to_bytes(paced(dripping(1), grace), usize::MAX).await.unwrap_err();
        assert!(error.to_string().contains("too slowly"), "{error}");
        let brisk = paced(dripping(8 * 1024), grace);
        assert_eq!(to_bytes(brisk, usize::MAX).await.unwrap().len(), 50 * 8 * 1024);
    }
}
