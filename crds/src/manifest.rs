//! YAML manifests to checked resources.

use std::sync::LazyLock;

use jsonschema::Validator;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::{API_VERSION, Chatbot, KnowledgeSource, ObjectMeta, Tenant};

mod secret;

pub use secret::Secret;

/// One resource of a manifest.
#[derive(Clone, Debug, PartialEq)]
pub enum Resource {
    /// A tenant.
    Tenant(Tenant),
    /// A chatbot.
    Chatbot(Chatbot),
    /// A knowledge source.
    KnowledgeSource(KnowledgeSource),
}

impl Resource {
    /// Kind and name as `kubectl` prints them, such as `chatbot/demo`.
    pub fn label(&self) -> String {
        format!("{}/{}", self.kind().name().to_lowercase(), self.name())
    }

    /// Its kind.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Tenant(_) => Kind::Tenant,
            Self::Chatbot(_) => Kind::Chatbot,
            Self::KnowledgeSource(_) => Kind::KnowledgeSource,
        }
    }

    /// Its metadata.
    pub fn metadata(&self) -> &ObjectMeta {
        match self {
            Self::Tenant(tenant) => &tenant.metadata,
            Self::Chatbot(chatbot) => &chatbot.metadata,
            Self::KnowledgeSource(source) => &source.metadata,
        }
    }

    /// Its spec with all defaults.
    pub fn spec(&self) -> Value {
        let spec = match self {
            Self::Tenant(tenant) => serde_json::to_value(&tenant.spec),
            Self::Chatbot(chatbot) => serde_json::to_value(&chatbot.spec),
            Self::KnowledgeSource(source) => serde_json::to_value(&source.spec),
        };
        spec.expect("a spec is JSON")
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.metadata().name.as_deref().unwrap_or_default()
    }

    /// The namespace, empty for a [`Tenant`].
    pub fn namespace(&self) -> &str {
        match self {
            Self::Tenant(_) => "",
            Self::Chatbot(_) | Self::KnowledgeSource(_) => self.metadata().namespace.as_deref().unwrap_or_default(),
        }
    }
}

/// A resource with its spec as a manifest has it: only what is said there.
#[derive(Clone, Debug, PartialEq)]
pub struct Stated {
    /// The resource, with all defaults.
    pub resource: Resource,
    /// The spec without them.
    pub spec: Value,
}

/// Which of the three resources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A [`Tenant`].
    Tenant,
    /// A [`Chatbot`].
    Chatbot,
    /// A [`KnowledgeSource`].
    KnowledgeSource,
}

impl Kind {
    /// As it stands in a manifest.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tenant => "Tenant",
            Self::Chatbot => "Chatbot",
            Self::KnowledgeSource => "KnowledgeSource",
        }
    }
}

/// Why a manifest was refused. `document` counts from 1 within the file.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message names each field")]
pub enum ManifestError {
    #[error("{detail}")]
    Yaml { detail: String },
    #[error(
        "document {document}: `{field}` is missing; a resource begins with apiVersion: {API_VERSION}, kind and metadata.name"
    )]
    Incomplete { document: usize, field: &'static str },
    #[error(
        "document {document}: {api_version}/{kind} is not a resource of DocBrain; known are Tenant, Chatbot and KnowledgeSource of {API_VERSION}"
    )]
    UnknownKind { document: usize, api_version: String, kind: String },
    #[error("document {document}: {kind} {name:?} is refused:\n{}", problems.iter().map(|p| format!("  {p}")).collect::<Vec<_>>().join("\n"))]
    Refused { document: usize, kind: String, name: String, problems: Vec<String> },
}

/// Reads a YAML file of one or several resources and checks each one as the Kubernetes API server would: the schema,
/// unknown fields (as `kubectl --validate=strict`), names, and the CEL rules.
pub fn read(yaml: &str) -> Result<Vec<Resource>, ManifestError> {
    documents(yaml)?.into_iter().map(|(document, value)| resource(document, value)).collect()
}

/// As [`read`], with what the file itself says.
pub fn read_stated(yaml: &str) -> Result<Vec<Stated>, ManifestError> {
    documents(yaml)?.into_iter().map(|(document, value)| stated(document, value)).collect()
}

/// The same where Secrets may stand between the resources.
pub fn read_with_secrets(yaml: &str) -> Result<(Vec<Stated>, Vec<Secret>), ManifestError> {
    let (mut resources, mut secrets) = (Vec::new(), Vec::new());
    for (document, value) in documents(yaml)? {
        if secret::is_secret(&value) {
            secrets.push(secret::read(document, &value)?);
        } else {
            resources.push(stated(document, value)?);
        }
    }
    Ok((resources, secrets))
}

fn stated(document: usize, value: Value) -> Result<Stated, ManifestError> {
    let spec = value["spec"].clone();
    Ok(Stated { resource: resource(document, value)?, spec })
}

/// The documents of a file that are not empty, counted from 1.
fn documents(yaml: &str) -> Result<Vec<(usize, Value)>, ManifestError> {
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(yaml).map_err(|error| ManifestError::Yaml { detail: error.to_string() })?;
    Ok(documents
        .into_iter()
        .enumerate()
        .filter(|(_, value)| !value.is_null())
        .map(|(index, value)| (index + 1, value))
        .collect())
}

/// The resource of this kind, name and spec, checked as [`read`] checks a manifest.
pub fn resource_of(kind: Kind, namespace: &str, name: &str, spec: &Value) -> Result<Resource, ManifestError> {
    let metadata = match kind {
        Kind::Tenant => json!({ "name": name }),
        Kind::Chatbot | Kind::KnowledgeSource => json!({ "name": name, "namespace": namespace }),
    };
    resource(1, json!({ "apiVersion": API_VERSION, "kind": kind.name(), "metadata": metadata, "spec": spec }))
}

/// The schema of a kind's spec, as it stands in the generated CRD.
pub fn spec_schema(kind: Kind) -> Value {
    schema_of(kind.name()).document["properties"]["spec"].clone()
}

fn resource(document: usize, value: Value) -> Result<Resource, ManifestError> {
    let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let incomplete = |field| ManifestError::Incomplete { document, field };
    let api_version = text("/apiVersion").ok_or_else(|| incomplete("apiVersion"))?;
    let kind = text("/kind").ok_or_else(|| incomplete("kind"))?;
    let name = text("/metadata/name").ok_or_else(|| incomplete("metadata.name"))?;
    let check = Check { document, kind: kind.clone(), name };
    if api_version == API_VERSION {
        match kind.as_str() {
            "Tenant" => return check.typed(value, Tenant::validate_cel).map(Resource::Tenant),
            "Chatbot" => return check.typed(value, Chatbot::validate_cel).map(Resource::Chatbot),
            "KnowledgeSource" => {
                return check.typed(value, KnowledgeSource::validate_cel).map(Resource::KnowledgeSource);
            }
            _ => {}
        }
    }
    Err(ManifestError::UnknownKind { document, api_version, kind })
}

/// A value that is longer as JSON, in bytes, is not repeated in what is said of it.
const LONGEST_REPEATED: usize = 200;

struct Check {
    document: usize,
    kind: String,
    name: String,
}

impl Check {
    fn typed<R: DeserializeOwned, E: std::fmt::Display>(
        self,
        value: Value,
        rules: impl Fn(&R) -> Result<(), E>,
    ) -> Result<R, ManifestError> {
        let schema = schema_of(&self.kind);
        let mut problems = unknown_fields(&schema.document, &value, "");
        problems.extend(schema.validator.iter_errors(&value).map(|error| {
            let place = field_name(&error.instance_path().to_string());
            let is_long = error.instance().to_string().len() > LONGEST_REPEATED;
            if is_long { format!("{place}: {}", error.masked_with("it")) } else { format!("{place}: {error}") }
        }));
        problems.extend(duplicates(&schema.document, &value, ""));
        problems.extend(bad_names(&self.kind, &value));
        if !problems.is_empty() {
            return Err(self.refused(problems));
        }
        let typed: R = serde_json::from_value(value).map_err(|error| ManifestError::Refused {
            document: self.document,
            kind: self.kind.clone(),
            name: self.name.clone(),
            problems: vec![error.to_string()],
        })?;
        match rules(&typed) {
            Ok(()) => Ok(typed),
            Err(error) => Err(self.refused(vec![error.to_string()])),
        }
    }

    fn refused(self, problems: Vec<String>) -> ManifestError {
        ManifestError::Refused { document: self.document, kind: self.kind, name: self.name, problems }
    }
}

struct Schema {
    kind: String,
    document: Value,
    validator: Validator,
}

fn schema_of(kind: &str) -> &'static Schema {
    static SCHEMAS: LazyLock<Vec<Schema>> = LazyLock::new(|| {
        crate::definitions()
            .into_iter()
            .map(|definition| {
                let schema = definition.spec.versions[0].schema.as_ref().and_then(|s| s.open_api_v3_schema.as_ref());
                let document = serde_json::to_value(schema).expect("a schema is JSON");
                let validator = jsonschema::validator_for(&document).expect("a generated schema is valid");
                Schema { kind: definition.spec.names.kind, document, validator }
            })
            .collect()
    });
    SCHEMAS.iter().find(|schema| schema.kind == kind).expect("asked only for known kinds")
}

/// Fields that the schema does not know: mistakes in spelling, mostly, which a cluster would silently drop.
fn unknown_fields(schema: &Value, value: &Value, place: &str) -> Vec<String> {
    match (value, schema) {
        (Value::Array(items), _) => items
            .iter()
            .enumerate()
            .flat_map(|(index, item)| unknown_fields(&schema["items"], item, &format!("{place}[{index}]")))
            .collect(),
        (Value::Object(fields), Value::Object(schema)) => match schema.get("properties") {
            Some(Value::Object(known)) => known_fields(known, fields, place),
            _ => Vec::new(),
        },
        _ => Vec::new(),
    }
}

fn known_fields(known: &Map<String, Value>, fields: &Map<String, Value>, place: &str) -> Vec<String> {
    let root = place.is_empty();
    fields
        .iter()
        .filter(|(name, _)| !(root && matches!(name.as_str(), "apiVersion" | "kind" | "metadata")))
        .flat_map(|(name, value)| {
            let place = if root { name.clone() } else { format!("{place}.{name}") };
            if let Some(schema) = known.get(name) {
                return unknown_fields(schema, value, &place);
            }
            let names: Vec<&str> = known.keys().map(String::as_str).collect();
            vec![format!("{place}: unknown field; known here: {}", names.join(", "))]
        })
        .collect()
}

/// Items that stand twice in a list whose items are told apart, by their keys or as a whole.
fn duplicates(schema: &Value, value: &Value, place: &str) -> Vec<String> {
    match value {
        Value::Array(items) => {
            let mut problems = Vec::new();
            let mut seen = Vec::new();
            for (index, item) in items.iter().enumerate() {
                let place = format!("{place}[{index}]");
                problems.extend(duplicates(&schema["items"], item, &place));
                let Some(identity) = identity(schema, item) else { continue };
                if seen.contains(&identity) {
                    problems.push(format!("{place}: stands in the list twice"));
                }
                seen.push(identity);
            }
            problems
        }
        Value::Object(fields) => fields
            .iter()
            .flat_map(|(name, value)| {
                let place = if place.is_empty() { name.clone() } else { format!("{place}.{name}") };
                duplicates(&schema["properties"][name], value, &place)
            })
            .collect(),
        _ => Vec::new(),
    }
}

/// What tells an item from others of its list; `None`: nothing.
fn identity(list: &Value, item: &Value) -> Option<Value> {
    match list.get("x-kubernetes-list-type")?.as_str()? {
        "set" => Some(item.clone()),
        "map" => {
            let keys = list.get("x-kubernetes-list-map-keys")?.as_array()?;
            Some(keys.iter().filter_map(Value::as_str).map(|key| item[key].clone()).collect())
        }
        _ => None,
    }
}

/// Names are DNS labels (RFC 1123), as the API server demands of the namespaces and Jobs made from them.
fn bad_names(kind: &str, value: &Value) -> Vec<String> {
    let mut problems = Vec::new();
    let mut check = |field: &str| {
        let name = value.pointer(&format!("/metadata/{field}")).and_then(Value::as_str).unwrap_or_default();
        let ends_well = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
        let well_formed = name.len() <= 63
            && ends_well(name.chars().next())
            && ends_well(name.chars().next_back())
            && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        if !well_formed {
            problems.push(format!(
                "metadata.{field}: {name:?} is not a name of lower-case letters, digits and inner hyphens (at most 63)"
            ));
        }
    };
    check("name");
    if kind != "Tenant" {
        check("namespace");
    }
    problems
}

fn field_name(pointer: &str) -> String {
    let name = pointer.trim_start_matches('/').replace('/', ".");
    if name.is_empty() { "resource".to_owned() } else { name }
}

#[cfg(test)]
mod tests;
