//! [`KnowledgeSource`].
#![expect(unreachable_pub, reason = "the schema derive makes a hidden copy of each struct")]

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Condition, DeletionPolicy};

/// Documents that belong together, and how they are indexed.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "docbrain.dev",
    version = "v1alpha1",
    kind = "KnowledgeSource",
    namespaced,
    shortname = "ks",
    category = "docbrain",
    status = "KnowledgeSourceStatus",
    derive = "PartialEq",
    cel,
    selectable = ".spec.suspended",
    validation = Rule::new("size(self.metadata.name) <= 52").message("a knowledge source's name has at most 52 characters"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].reason"),
    printcolumn(name = "Documents", type_ = "integer", json_path = ".status.documents"),
    printcolumn(name = "Chunks", type_ = "integer", json_path = ".status.chunks"),
    printcolumn(name = "Last-Sync", type_ = "date", json_path = ".status.lastSuccessfulRun.finishedAt"),
    printcolumn(name = "Schedule", type_ = "string", json_path = ".spec.schedule", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[x_kube(validation = Rule::new("!has(self.timeZone) || has(self.schedule)").message("timeZone needs schedule"))]
#[x_kube(validation = Rule::new("!has(self.schedule) || !has(self.source.upload)")
    .message("uploaded files have no schedule: they are indexed when they arrive"))]
#[serde(rename_all = "camelCase")]
pub struct KnowledgeSourceSpec {
    /// Where documents come from; exactly one kind, which cannot change later.
    pub source: Source,
    /// How documents are cut into chunks. A change builds a new generation of the index beside the old one.
    #[serde(default)]
    pub chunking: Chunking,
    /// When documents are fetched again: five fields of cron, such as `30 4 * * 1-5`, or `@hourly`, `@daily`, `@weekly`,
    /// `@monthly`, which begin at a minute of the source's own. Left out: only when asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 100))]
    #[x_kube(validation = Rule::new("self.matches('^(@hourly|@daily|@weekly|@monthly|[^ @]+( [^ @]+){4})$')")
        .message("schedule is five fields of cron separated by single spaces, or @hourly, @daily, @weekly, @monthly"))]
    pub schedule: Option<String>,
    /// Time zone of `schedule`, such as `Europe/Berlin`; UTC when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), regex(pattern = "^[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+){0,2}$"))]
    pub time_zone: Option<String>,
    /// No run starts while true.
    #[serde(default)]
    pub suspended: bool,
    /// What becomes of documents and index when the resource is deleted.
    #[serde(default = "default_source_deletion_policy")]
    pub deletion_policy: DeletionPolicy,
}

/// Where documents come from.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(validation = Rule::new("(has(self.upload) ? 1 : 0) + (has(self.web) ? 1 : 0) + (has(self.git) ? 1 : 0) == 1")
    .message("name exactly one kind of source: upload, web or git"))]
#[x_kube(validation = Rule::new("has(self.upload) == has(oldSelf.upload) && has(self.web) == has(oldSelf.web) && has(self.git) == has(oldSelf.git)")
    .message("the kind of source cannot change; create a new KnowledgeSource instead"))]
#[serde(rename_all = "camelCase")]
pub struct Source {
    /// Files that people or programs upload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upload: Option<Upload>,
    /// Pages of web sites.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub web: Option<WebSource>,
    /// Files of a git repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git: Option<GitSource>,
}

impl Source {
    /// Where documents come from, in words.
    pub fn origin(&self) -> &'static str {
        match self {
            Self { web: Some(_), .. } => "web site",
            Self { git: Some(_), .. } => "git repository",
            Self { upload: _, web: None, git: None } => "uploads",
        }
    }
}

/// Uploaded files; there is nothing to set.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upload {}

/// Pages of web sites: what the start URLs link to on the same hosts, and what their sitemaps name. `robots.txt` is kept.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WebSource {
    /// Where crawling begins. Links are followed on these hosts alone, at or below the folder of a start URL.
    #[schemars(length(min = 1, max = 16), inner(length(min = 1, max = 2000)))]
    #[x_kube(validation = Rule::new("self.all(u, isURL(u) && u.matches('^(?i:https?)://[^/?#]'))")
        .message("a start URL is an http or https URL, such as https://example.com/docs/"))]
    pub start_urls: Vec<String>,
    /// Patterns of paths that are taken, such as `/docs/**`; all when left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 500)))]
    pub include: Vec<String>,
    /// Patterns of paths that are left out, such as `/docs/archive/**`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 500)))]
    pub exclude: Vec<String>,
    /// Read the sites' sitemaps, besides following links.
    #[serde(default = "default_sitemap")]
    pub sitemap: bool,
    /// Most links from a start URL to a page; 0 takes the start URLs and the sitemaps' pages alone.
    #[serde(default = "default_max_depth")]
    #[schemars(range(min = 0, max = 50))]
    pub max_depth: i32,
    /// Most pages of a run.
    #[serde(default = "default_max_pages")]
    #[schemars(range(min = 1, max = 100_000))]
    pub max_pages: i32,
    /// Most megabytes of a run.
    #[serde(default = "default_max_megabytes")]
    #[schemars(range(min = 1, max = 100_000))]
    pub max_megabytes: i32,
}

/// Files of a git repository at one commit.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GitSource {
    /// The repository: `https://…`, or `ssh://user@host/path` with a key in the Secret.
    #[schemars(length(min = 1, max = 2000))]
    #[x_kube(validation = Rule::new("isURL(self) && self.matches('^(?i:https?|ssh)://[^/?#]')")
        .message("url is an https or ssh URL, such as https://example.com/team/docs.git or ssh://git@example.com/team/docs.git"))]
    pub url: String,
    /// Branch, tag, or commit in full; the repository's default branch when left out.
    #[serde(default, rename = "ref", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 250), regex(pattern = "^[A-Za-z0-9_][A-Za-z0-9_./+-]*$"))]
    pub reference: Option<String>,
    /// Patterns of paths that are taken, such as `docs/**/*.md`; all documents when left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 500)))]
    pub include: Vec<String>,
    /// Patterns of paths that are left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 500)))]
    pub exclude: Vec<String>,
    /// A Secret of the same namespace: `username` and `password` (a token) for https, `ssh-privatekey` and `known_hosts`
    /// for ssh.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_secret_ref: Option<SecretRef>,
    /// Where a visitor reads a file: `{commit}` and `{path}` are filled in, as in
    /// `https://example.com/team/docs/blob/{commit}/{path}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2000))]
    #[x_kube(validation = Rule::new("self.startsWith('https://') || self.startsWith('http://')")
        .message("webUrl begins with https:// or http://"))]
    pub web_url: Option<String>,
}

/// A Secret of the same namespace.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
}

/// How documents are cut into chunks; sizes are tokens of the embedding model.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(validation = Rule::new("self.overlap < self.size").message("overlap must be smaller than size"))]
#[serde(rename_all = "camelCase")]
pub struct Chunking {
    /// Which strategy cuts.
    #[serde(default)]
    pub strategy: ChunkingStrategy,
    /// Most tokens of a chunk.
    #[serde(default = "default_chunk_size")]
    #[schemars(range(min = 32, max = 8000))]
    pub size: i32,
    /// Tokens that neighbouring chunks share (Standard).
    #[serde(default = "default_chunk_overlap")]
    #[schemars(range(min = 0, max = 2000))]
    pub overlap: i32,
    /// Sentences returned on each side of the one that was found (Window).
    #[serde(default = "default_chunk_window")]
    #[schemars(range(min = 0, max = 20))]
    pub window: i32,
}

impl Default for Chunking {
    fn default() -> Self {
        Self {
            strategy: ChunkingStrategy::default(),
            size: default_chunk_size(),
            overlap: default_chunk_overlap(),
            window: default_chunk_window(),
        }
    }
}

/// The four ways to cut a document.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChunkingStrategy {
    /// Windows of a fixed number of tokens that end at sentences and overlap.
    Standard,
    /// By structure: headings, tables, code and lists stay whole.
    #[default]
    Markdown,
    /// Where the meaning of neighbouring sentences changes most.
    Semantic,
    /// Single sentences, returned with their neighbours.
    Window,
}

/// What the operator says of a knowledge source.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KnowledgeSourceStatus {
    /// Generation of the spec this status speaks of; -1 before the operator has seen the resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The knowledge source's id in the API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Documents of the source.
    #[serde(default)]
    pub documents: i32,
    /// Documents that could not be indexed; the API tells why.
    #[serde(default)]
    pub failed_documents: i32,
    /// Chunks of the active index generation.
    #[serde(default)]
    pub chunks: i32,
    /// The annotation `docbrain.dev/sync-requested-at` that was answered last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_sync_request: Option<String>,
    /// The run that is queued or running.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current_run: Option<CurrentRun>,
    /// The last run that went well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_successful_run: Option<EndedRun>,
    /// The last runs that ended, latest first; the API has all of them.
    #[serde(default)]
    #[schemars(length(max = 5))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["id".into()]))]
    pub recent_runs: Vec<EndedRun>,
    /// Conditions, one a type.
    #[serde(default)]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// A run that has not ended.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CurrentRun {
    /// Its id.
    pub id: String,
    /// Documents it has handled.
    pub documents_done: i32,
    /// Documents it knows of.
    pub documents_total: i32,
}

/// A run that ended.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndedRun {
    /// Its id.
    pub id: String,
    /// How it ended.
    pub result: RunResult,
    /// When it ended (RFC 3339).
    pub finished_at: String,
    /// Documents it indexed.
    pub indexed: i32,
    /// Documents that failed.
    pub failed: i32,
    /// Why it failed, in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 300))]
    pub reason: Option<String>,
}

/// How a run ended.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the words say it")]
pub enum RunResult {
    Succeeded,
    Failed,
}

fn default_sitemap() -> bool {
    true
}

fn default_max_depth() -> i32 {
    5
}

fn default_max_pages() -> i32 {
    1_000
}

fn default_max_megabytes() -> i32 {
    200
}

fn default_source_deletion_policy() -> DeletionPolicy {
    DeletionPolicy::Delete
}

fn default_chunk_size() -> i32 {
    220
}

fn default_chunk_overlap() -> i32 {
    40
}

fn default_chunk_window() -> i32 {
    2
}
