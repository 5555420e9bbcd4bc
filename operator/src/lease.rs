//! Leader election by a Lease: at most one operator writes.
//!
//! The algorithm is client-go's (`tools/leaderelection`): who sees the Lease unchanged for its duration, by his own
//! monotonic clock, takes it with the resource version as precondition. The holder renews it, and stops to lead long
//! before others may take it. A process that was frozen finds its deadline passed before it does anything else: what it
//! was in the middle of is dropped at the next step, the connections of [`Leadership::client`] as well. Nothing but the
//! one request whose bytes it was just handing over can still leave it.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, ObjectMeta, PostParams};
use kube::client::ClientBuilder;
use kube::{Client, Config};
use tokio::time::{sleep, timeout};

/// How long others wait from the last renewal they saw.
const DURATION: Duration = Duration::from_secs(15);
/// How long the holder leads from its own last renewal.
const DEADLINE: Duration = Duration::from_secs(10);
/// The pause between two attempts, and how long one may take.
const RETRY: Duration = Duration::from_secs(2);

/// A claim on the Lease.
pub struct Candidate {
    leases: Api<Lease>,
    name: String,
    identity: String,
}

/// The Lease, held. Cheap to clone.
#[derive(Clone)]
pub struct Leadership(Arc<Mutex<Instant>>);

impl Leadership {
    /// Whether nobody else can hold it now.
    pub fn holds(&self) -> bool {
        self.renewed_at().elapsed() < DEADLINE
    }

    /// Somebody who needs no Lease, for tests of what a leader does.
    pub fn unrivalled() -> Self {
        Self(Arc::new(Mutex::new(Instant::now() + Duration::from_hours(24 * 365))))
    }

    /// Does work for as long as nobody else can hold it; `None`: dropped, because the Lease may be another's.
    pub async fn while_held<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        poll_fn(|task| if self.holds() { work.as_mut().poll(task).map(Some) } else { Poll::Ready(None) }).await
    }

    /// A client whose connections end with the leadership, with whatever waits in them.
    ///
    /// # Errors
    /// The configuration cannot be used.
    pub fn client(&self, config: Config) -> Result<Client, kube::Error> {
        Ok(ClientBuilder::try_from((config, Connections(self.clone())))?.build())
    }

    fn renewed_at(&self) -> Instant {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn renew(&self, at: Instant) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = at;
    }
}

/// Runs connections, each of which is one future that sends what was asked of it.
#[derive(Clone)]
struct Connections(Leadership);

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Connections {
    fn execute(&self, connection: F) {
        let leadership = self.0.clone();
        tokio::spawn(async move { leadership.while_held(connection).await });
    }
}

impl Candidate {
    /// `identity` must be another for each process.
    pub fn new(client: Client, namespace: &str, name: &str, identity: String) -> Self {
        Self { leases: Api::namespaced(client, namespace), name: name.to_owned(), identity }
    }

    /// Waits until this process holds the Lease.
    pub async fn acquire(&self) -> Leadership {
        let mut seen: Option<(LeaseSpec, Instant)> = None;
        loop {
            let asked_at = Instant::now();
            match timeout(RETRY, self.try_acquire(&mut seen)).await {
                Ok(Ok(true)) => return Leadership(Arc::new(Mutex::new(asked_at))),
                Ok(Ok(false)) => {}
                Ok(Err(error)) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "cannot read or write the lease");
                }
                Err(_) => tracing::warn!("the API server did not answer about the lease"),
            }
            sleep(RETRY).await;
        }
    }

    /// Renews it for as long as that works; returns when it is lost.
    pub async fn keep(&self, leadership: &Leadership) {
        loop {
            sleep(RETRY).await;
            if !leadership.holds() {
                return;
            }
            let asked_at = Instant::now();
            match timeout(RETRY, self.renew()).await {
                Ok(Ok(true)) => leadership.renew(asked_at),
                Ok(Ok(false)) => return,
                Ok(Err(error)) => tracing::warn!(error = &error as &dyn std::error::Error, "cannot renew the lease"),
                Err(_) => tracing::warn!("the API server did not answer about the lease"),
            }
        }
    }

    /// Lets another have it at once.
    pub async fn release(&self) {
        let released = timeout(RETRY, async {
            let mut lease = self.leases.get(&self.name).await?;
            if let Some(spec) = lease.spec.as_mut().filter(|spec| spec.holder_identity.as_ref() == Some(&self.identity))
            {
                spec.holder_identity = Some(String::new());
                self.leases.replace(&self.name, &PostParams::default(), &lease).await?;
            }
            Ok::<_, kube::Error>(())
        });
        if !matches!(released.await, Ok(Ok(()))) {
            tracing::warn!("the lease was not released; another operator takes it once it has run out");
        }
    }

    async fn try_acquire(&self, seen: &mut Option<(LeaseSpec, Instant)>) -> Result<bool, kube::Error> {
        let Some(mut lease) = self.leases.get_opt(&self.name).await? else {
            let lease = Lease {
                metadata: ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() },
                spec: Some(self.held(0, Timestamp::now())),
            };
            return won(self.leases.create(&PostParams::default(), &lease).await);
        };
        let spec = lease.spec.clone().unwrap_or_default();
        let holder = spec.holder_identity.as_deref().unwrap_or_default();
        let is_free = holder.is_empty() || holder == self.identity;
        if !is_free {
            match seen {
                Some((last, since)) if *last == spec => {
                    if since.elapsed() < DURATION {
                        return Ok(false);
                    }
                }
                _ => {
                    *seen = Some((spec, Instant::now()));
                    return Ok(false);
                }
            }
        }
        lease.spec = Some(self.held(spec.lease_transitions.unwrap_or(0) + 1, Timestamp::now()));
        won(self.leases.replace(&self.name, &PostParams::default(), &lease).await)
    }

    async fn renew(&self) -> Result<bool, kube::Error> {
        let Some(mut lease) = self.leases.get_opt(&self.name).await? else { return Ok(false) };
        let Some(spec) = lease.spec.as_mut().filter(|spec| spec.holder_identity.as_ref() == Some(&self.identity))
        else {
            return Ok(false);
        };
        spec.renew_time = Some(MicroTime(Timestamp::now()));
        won(self.leases.replace(&self.name, &PostParams::default(), &lease).await)
    }

    fn held(&self, transitions: i32, now: Timestamp) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: Some(i32::try_from(DURATION.as_secs()).expect("it is short")),
            acquire_time: Some(MicroTime(now)),
            renew_time: Some(MicroTime(now)),
            lease_transitions: Some(transitions),
            ..LeaseSpec::default()
        }
    }
}

/// Whether a write with a precondition was ours.
fn won<T>(written: Result<T, kube::Error>) -> Result<bool, kube::Error> {
    match written {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use hyper::Request;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn what_is_in_the_middle_of_something_does_not_go_on_once_the_lease_is_lost() {
        let leadership = Leadership::unrivalled();
        assert_eq!(leadership.while_held(async { 1 }).await, Some(1));
        let went_on = leadership.while_held(async {
            leadership.renew(Instant::now().checked_sub(DEADLINE).unwrap());
            tokio::task::yield_now().await;
        });
        assert_eq!(went_on.await, None);
        assert_eq!(leadership.while_held(async { 1 }).await, None);
    }

    #[tokio::test]
    async fn what_waits_in_a_connection_does_not_leave_it_once_the_lease_is_lost() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let leadership = Leadership::unrivalled();
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let client = leadership.client(Config::new(url)).unwrap();
        let ask = || client.request_text(Request::get("/version").body(Vec::new()).unwrap());
        let answer = async {
            let (mut connection, _) = listener.accept().await.unwrap();
            let read = connection.read(&mut [0; 4096]).await.unwrap();
            connection.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await.unwrap();
            (connection, read)
        };
        let (answered, (mut connection, read)) = tokio::join!(ask(), answer);
        assert_eq!(answered.unwrap(), "{}");
        assert!(read > 0);

        leadership.renew(Instant::now().checked_sub(DEADLINE).unwrap());
        timeout(RETRY, ask()).await.expect("it is not waited for").unwrap_err();
        assert_eq!(connection.read(&mut [0; 4096]).await.unwrap(), 0, "the connection ended without another byte");
    }
}
