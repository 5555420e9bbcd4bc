//! `/healthz`, `/readyz` and `/metrics`.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use crate::metrics::Metrics;

/// What the operator says of itself.
#[derive(Clone)]
pub struct Vitals {
    /// Its numbers.
    pub metrics: Metrics,
    /// Whether it reconciles, or stands by for the one that does.
    pub ready: Arc<AtomicBool>,
}

/// Answers on `listener` until `stop`.
pub async fn serve(listener: TcpListener, vitals: Vitals, stop: impl Future<Output = ()>) {
    let mut stop = std::pin::pin!(stop);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut stop => return,
        };
        let Ok((connection, _)) = accepted else { continue };
        let vitals = vitals.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request: Request<Incoming>| {
                let response = answer(&request, &vitals);
                async move { Ok::<_, Infallible>(response) }
            });
            // A client that goes away is nobody's fault.
            let _ =
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(connection), service).await;
        });
    }
}

fn answer(request: &Request<Incoming>, vitals: &Vitals) -> Response<Full<Bytes>> {
    let (status, text) = match (request.method(), request.uri().path()) {
        (&Method::GET, "/healthz") => (StatusCode::OK, "ok\n".to_owned()),
        (&Method::GET, "/readyz") if vitals.ready.load(Ordering::Relaxed) => (StatusCode::OK, "ok\n".to_owned()),
        (&Method::GET, "/readyz") => (StatusCode::SERVICE_UNAVAILABLE, "starting\n".to_owned()),
        (&Method::GET, "/metrics") => (StatusCode::OK, vitals.metrics.text()),
        _ => (StatusCode::NOT_FOUND, "known here: GET /healthz, /readyz, /metrics\n".to_owned()),
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response
}
