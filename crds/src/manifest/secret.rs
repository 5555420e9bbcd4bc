//! Secrets of a manifest: on one machine they are kept by `docbrain`, in a cluster by Kubernetes.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::api::core::v1;
use serde_json::Value;

use super::{ManifestError, bad_names};

/// Longest name of a key.
const LONGEST_KEY: usize = 50;
/// Largest value of a key, in bytes.
const LARGEST_VALUE: usize = 64 << 10;
/// What a Secret may hold besides its keys.
const FIELDS: [&str; 7] = ["apiVersion", "kind", "metadata", "type", "data", "stringData", "immutable"];

/// A Secret, as far as its values are text.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    /// Its name.
    pub name: String,
    /// Its namespace, which is a tenant's.
    pub namespace: String,
    /// Its keys with their values.
    pub keys: BTreeMap<String, String>,
}

impl Secret {
    /// Kind and name as `kubectl` prints them.
    pub fn label(&self) -> String {
        format!("secret/{}", self.name)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret")
            .field("name", &self.name)
            .field("namespace", &self.namespace)
            .field("keys", &self.keys.keys().collect::<Vec<_>>())
            .finish()
    }
}

/// Whether a document of a manifest is a Secret.
pub(super) fn is_secret(value: &Value) -> bool {
    value["apiVersion"] == "v1" && value["kind"] == "Secret"
}

/// Reads a document that is one. What is told of it holds no value.
pub(super) fn read(document: usize, value: &Value) -> Result<Secret, ManifestError> {
    let name = value["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let refuse = |problems: Vec<String>| ManifestError::Refused {
        document,
        kind: "Secret".to_owned(),
        name: name.clone(),
        problems,
    };
    let mut problems = bad_names("Secret", value);
    let fields = value.as_object().into_iter().flat_map(|fields| fields.keys());
    problems.extend(
        fields.filter(|field| !FIELDS.contains(&field.as_str())).map(|field| format!("{field}: unknown field")),
    );
    let Ok(secret) = serde_json::from_value::<v1::Secret>(value.clone()) else {
        problems.push("data is base64, and stringData is text, by key".to_owned());
        return Err(refuse(problems));
    };
    let mut keys = BTreeMap::new();
    for (key, bytes) in secret.data.unwrap_or_default() {
        match String::from_utf8(bytes.0) {
            Ok(text) => drop(keys.insert(key, text)),
            Err(_) => problems.push(format!("data.{key}: its value is no text")),
        }
    }
    // As Kubernetes has it: stringData comes over data.
    keys.extend(secret.string_data.unwrap_or_default());
    for (key, text) in &keys {
        let is_name = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if key.is_empty() || key.len() > LONGEST_KEY || !key.chars().all(is_name) {
            problems.push(format!(
                "{key:?} is not a key of letters, digits, hyphens, underscores and dots (at most {LONGEST_KEY})"
            ));
        }
        if text.len() > LARGEST_VALUE || text.contains('\0') {
            problems.push(format!("{key}: its value is no text of at most {LARGEST_VALUE} bytes"));
        }
    }
    if !problems.is_empty() {
        return Err(refuse(problems));
    }
    let namespace = secret.metadata.namespace.unwrap_or_default();
    Ok(Secret { name: name.clone(), namespace, keys })
}
