//! The chat models behind one endpoint. One client a model, so that its connections are used again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::chat::ChatModel;
use crate::models::Endpoint;

/// Names come from specs; beyond this many the clients are made anew.
const MOST: usize = 64;

pub(super) struct ChatClients {
    endpoint: Endpoint,
    by_name: Mutex<HashMap<String, Arc<dyn ChatModel>>>,
}

impl ChatClients {
    pub(super) fn new(endpoint: Endpoint) -> Self {
        Self { endpoint, by_name: Mutex::default() }
    }

    /// The model of this name, or the endpoint's own.
    pub(super) fn named(&self, name: Option<&str>) -> Arc<dyn ChatModel> {
        let name = name.unwrap_or(&self.endpoint.model);
        let mut by_name = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(model) = by_name.get(name) {
            return Arc::clone(model);
        }
        if by_name.len() == MOST {
            by_name.clear();
        }
        let model = self.endpoint.chat(Some(name));
        by_name.insert(name.to_owned(), Arc::clone(&model));
        model
    }
}
