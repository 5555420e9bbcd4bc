//! Changes of the Secrets that chatbots and knowledge sources name.
//!
//! The operator may read Secrets in tenants' namespaces alone, so each namespace with such a reference has a watch of its
//! own; the others cost nothing.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use futures::StreamExt;
use k8s_openapi::api::core::v1::Secret;
use kube::api::PartialObjectMeta;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use tokio::sync::broadcast;
use tokio::task::AbortHandle;

use crate::context::news;

/// The Secrets of all namespaces that are looked at.
pub struct SecretWatch {
    client: Client,
    watches: Mutex<HashMap<String, AbortHandle>>,
    /// Secrets that have come, changed or gone.
    pub changes: broadcast::Sender<SecretName>,
}

/// A Secret by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretName {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl SecretWatch {
    /// Nothing is looked at yet.
    pub fn new(client: Client) -> Self {
        Self { client, watches: Mutex::default(), changes: news() }
    }

    /// Looks at a namespace from now on. What changes after this call is heard of, at least once.
    pub fn look_at(&self, namespace: &str) {
        let mut watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
        if watches.contains_key(namespace) {
            return;
        }
        let api = Api::<PartialObjectMeta<Secret>>::namespaced(self.client.clone(), namespace);
        let (changes, of) = (self.changes.clone(), namespace.to_owned());
        let watch = tokio::spawn(async move {
            let events = watcher(api, watcher::Config::default()).default_backoff();
            let mut events = std::pin::pin!(events);
            while let Some(event) = events.next().await {
                match event {
                    Ok(
                        watcher::Event::Apply(secret)
                        | watcher::Event::InitApply(secret)
                        | watcher::Event::Delete(secret),
                    ) => {
                        // Nobody listens while the controllers begin, which look at all of them then.
                        let _ = changes.send(SecretName { namespace: of.clone(), name: secret.name_any() });
                    }
                    Ok(watcher::Event::Init | watcher::Event::InitDone) => {}
                    Err(error) => {
                        tracing::debug!(
                            namespace = of,
                            error = &error as &dyn std::error::Error,
                            "cannot watch Secrets"
                        );
                    }
                }
            }
        });
        watches.insert(namespace.to_owned(), watch.abort_handle());
    }

    /// Looks at a namespace no more.
    pub fn look_away(&self, namespace: &str) {
        if let Some(watch) = self.watches.lock().unwrap_or_else(PoisonError::into_inner).remove(namespace) {
            watch.abort();
        }
    }
}

impl Drop for SecretWatch {
    fn drop(&mut self) {
        for watch in self.watches.get_mut().unwrap_or_else(PoisonError::into_inner).values() {
            watch.abort();
        }
    }
}
