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
    /// Secrets that have come, changed or gone, or may have.
    pub changes: broadcast::Sender<SecretName>,
}

/// A Secret by its name, or all of a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretName {
    /// Its namespace.
    pub namespace: String,
    /// Its name; `None`: any of them may have changed.
    pub name: Option<String>,
}

impl SecretName {
    /// Whether the Secret of this name is meant, too.
    pub fn is(&self, namespace: Option<&str>, name: &str) -> bool {
        namespace == Some(&*self.namespace) && self.name.as_deref().is_none_or(|own| own == name)
    }
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
                    // Nobody listens while the controllers begin, which look at all of them then.
                    Ok(watcher::Event::Apply(secret) | watcher::Event::Delete(secret)) => {
                        let _ = changes.send(SecretName { namespace: of.clone(), name: Some(secret.name_any()) });
                    }
                    // What changed or went before the watch began, or while it was broken, nobody saw.
                    Ok(watcher::Event::InitDone) => {
                        let _ = changes.send(SecretName { namespace: of.clone(), name: None });
                    }
                    Ok(watcher::Event::Init | watcher::Event::InitApply(_)) => {}
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
