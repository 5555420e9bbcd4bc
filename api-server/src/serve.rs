//! Connections: who may hold one, and how all of them end.

use std::future::Future;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, FromRef};
use docbrain_core::limits::Limits;
use docbrain_core::store::Pool;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tower::ServiceExt;

use crate::control_plane::ControlPlane;
use crate::draining::Draining;
use crate::state::AppState;
use crate::upkeep;

/// How long a connection may take to send the head of a request, idle time included: longer than proxies keep idle
/// connections (nginx: 60 seconds), so that none of them finds one closed under its hands.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);
/// How long answers that were broken off have to reach their clients.
const LAST_BYTES: Duration = Duration::from_secs(2);
/// Pause after the system refused a connection, such as for want of file descriptors.
const BREATH: Duration = Duration::from_millis(200);

/// Serves the API until `stop` completes; from then on no connection is taken, and requests under way have `drain` to
/// end. Streams that are left then get an `error` event.
pub async fn serve(
    listener: TcpListener,
    state: AppState,
    stop: impl Future<Output = ()>,
    drain: Duration,
) -> io::Result<()> {
    let draining = Draining::from_ref(&state);
    let upkeep = tokio::spawn(upkeep::hourly(Pool::from_ref(&state), <Arc<dyn ControlPlane>>::from_ref(&state)));
    let (end, ended) = oneshot::channel::<()>();
    let limits = Limits::from_ref(&state);
    let reporting = tokio::spawn(async move { limits.report_until(ended).await });
    let routes = crate::router(state);
    let mut connections = JoinSet::new();
    let mut stop = pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    connections.spawn(answer(stream, peer, routes.clone(), draining.clone()));
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    tracing::error!(error = &error as &dyn std::error::Error, "cannot take a connection");
                    tokio::time::sleep(BREATH).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
    drop(listener);
    draining.begin();
    if timeout(drain, all_ended(&mut connections)).await.is_err() {
        tracing::warn!(connections = connections.len(), "breaking off what is still under way");
        draining.end();
        // Whoever does not read its last bytes by then loses them.
        let _ = timeout(LAST_BYTES, all_ended(&mut connections)).await;
    }
    upkeep.abort();
    drop(end);
    // What the last answers have used up.
    reporting.await.map_err(io::Error::other)
}

/// Answers the requests of one connection.
async fn answer(stream: TcpStream, peer: SocketAddr, routes: Router, draining: Draining) {
    // Otherwise the pieces of a stream wait for each other's acknowledgement.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "failed to set TCP_NODELAY");
    }
    let service = service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        routes.clone().oneshot(request)
    });
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    let mut connection = pin!(server.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = draining.begun() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error = &error as &dyn std::error::Error, "a connection broke off");
    }
}

async fn all_ended(connections: &mut JoinSet<()>) {
    while connections.join_next().await.is_some() {}
}

fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset)
}
