//! The name of every environment variable, once: the programs that write them and the programs that read them
//! use the same constant.

/// Postgres as the owner of the schema: `postgres://user:password@host:port/database`.
pub const DATABASE_URL: &str = "DATABASE_URL";
/// Folder of everything `docbrain` keeps on one machine: database, secrets, tools.
pub const HOME: &str = "DOCBRAIN_HOME";
/// Folder of the built-in embedding model (ONNX and `tokenizer.json`).
pub const MODEL_DIR: &str = "DOCBRAIN_MODEL_DIR";
/// Bearer token that guards the API; at least 32 characters for `docbrain-api`.
pub const ADMIN_TOKEN: &str = "DOCBRAIN_ADMIN_TOKEN";
/// Appended to the name of a secret variable: the path of a file that holds the secret instead.
pub const FILE_SUFFIX: &str = "_FILE";
/// The file that holds [`DATABASE_URL`] instead.
pub const DATABASE_URL_FILE: &str = "DATABASE_URL_FILE";
/// The file that holds [`ADMIN_TOKEN`] instead.
pub const ADMIN_TOKEN_FILE: &str = "DOCBRAIN_ADMIN_TOKEN_FILE";
/// Postgres as the role `docbrain_api`, for `docbrain-api`.
pub const API_DATABASE_URL: &str = "DOCBRAIN_API_DATABASE_URL";
/// Password of the role `docbrain_api`, which `docbrain migrate` sets; letters and digits alone, for it becomes part of
/// [`API_DATABASE_URL`].
pub const API_PASSWORD: &str = "DOCBRAIN_API_PASSWORD";
/// Most connections to Postgres of one process.
pub const DATABASE_CONNECTIONS: &str = "DOCBRAIN_DATABASE_CONNECTIONS";
/// Address and port to listen on, such as `0.0.0.0:8080`.
pub const LISTEN: &str = "DOCBRAIN_LISTEN";
/// Where people reach the installation, such as `https://docs.example.com`; with `https`, cookies are sent over it alone.
pub const PUBLIC_URL: &str = "DOCBRAIN_PUBLIC_URL";
/// Keys that sign tokens: a list of `id:base64`, at least 32 bytes each; the first one signs, all are accepted.
pub const SIGNING_KEYS: &str = "DOCBRAIN_SIGNING_KEYS";
/// Keys that wrap the data keys of tenants: a list of `id:base64`, exactly 32 bytes each; the first one wraps.
pub const ENCRYPTION_KEYS: &str = "DOCBRAIN_ENCRYPTION_KEYS";
/// Who may make an account: `open`, `invite` or `closed`.
pub const REGISTRATION: &str = "DOCBRAIN_REGISTRATION";
/// Networks of reverse proxies whose word on a client's address is taken, such as `10.0.0.0/8,fd00::/8`.
pub const TRUSTED_PROXIES: &str = "DOCBRAIN_TRUSTED_PROXIES";
/// Seconds that answers under way have to end after a stop signal.
pub const DRAIN_SECONDS: &str = "DOCBRAIN_DRAIN_SECONDS";
/// OpenAI-compatible base URL for embeddings, such as `http://127.0.0.1:11434/v1`; unset: the built-in model.
pub const EMBEDDING_BASE_URL: &str = "DOCBRAIN_EMBEDDING_BASE_URL";
/// Model name at [`EMBEDDING_BASE_URL`].
pub const EMBEDDING_MODEL: &str = "DOCBRAIN_EMBEDDING_MODEL";
/// Key for [`EMBEDDING_BASE_URL`].
pub const EMBEDDING_API_KEY: &str = "DOCBRAIN_EMBEDDING_API_KEY";
/// OpenAI-compatible base URL for chat; unset: extractive answers.
pub const CHAT_BASE_URL: &str = "DOCBRAIN_CHAT_BASE_URL";
/// Model name at [`CHAT_BASE_URL`].
pub const CHAT_MODEL: &str = "DOCBRAIN_CHAT_MODEL";
/// Key for [`CHAT_BASE_URL`].
pub const CHAT_API_KEY: &str = "DOCBRAIN_CHAT_API_KEY";
/// What the model server of [`EMBEDDING_BASE_URL`] is: `openai`, `azure` or `compatible` (default).
pub const EMBEDDING_KIND: &str = "DOCBRAIN_EMBEDDING_KIND";
/// `true`: a tenant chose [`EMBEDDING_BASE_URL`], so it must be a public address or one of [`ALLOWED_NETWORKS`].
pub const EMBEDDING_GUARDED: &str = "DOCBRAIN_EMBEDDING_GUARDED";
/// Networks besides the public ones that a tenant's web sites, repositories and model servers may be in: CIDR blocks
/// separated by commas, such as `10.1.0.0/16,fd00::/8`.
pub const ALLOWED_NETWORKS: &str = "DOCBRAIN_ALLOWED_NETWORKS";
/// A company's identity provider (OpenID Connect), such as `https://login.example.com/realms/acme`.
pub const OIDC_ISSUER: &str = "DOCBRAIN_OIDC_ISSUER";
/// Id at [`OIDC_ISSUER`].
pub const OIDC_CLIENT_ID: &str = "DOCBRAIN_OIDC_CLIENT_ID";
/// Secret at [`OIDC_ISSUER`].
pub const OIDC_CLIENT_SECRET: &str = "DOCBRAIN_OIDC_CLIENT_SECRET";
/// Postgres as the login role of one tenant, for an ingestion run.
pub const INGEST_DATABASE_URL: &str = "DOCBRAIN_INGEST_DATABASE_URL";
/// The run an ingestion process carries out.
pub const RUN_ID: &str = "DOCBRAIN_RUN_ID";
/// The tenant an ingestion process works for.
pub const TENANT_ID: &str = "DOCBRAIN_TENANT_ID";
/// The request that asked for an ingestion run; stands in the process's log lines.
pub const REQUEST_ID: &str = "DOCBRAIN_REQUEST_ID";
/// Where errors are reported to, in Sentry's form `https://key@host/project`; unset: nowhere.
pub const SENTRY_DSN: &str = "SENTRY_DSN";
/// Collector of OpenTelemetry spans over HTTP, such as `http://collector:4318`; unset: no spans are made.
pub const OTLP_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
/// How log lines are written: `text`, or `json`, which is the default of `docbrain-api`.
pub const LOG_FORMAT: &str = "LOG_FORMAT";
/// Which log lines are written, in the syntax of tracing's `EnvFilter`; default `info`.
pub const LOG_FILTER: &str = "RUST_LOG";
/// The knowledge source of a run that its own process asks for, as a schedule's does: with [`TRIGGER`], in the place of
/// [`RUN_ID`].
pub const SOURCE_ID: &str = "DOCBRAIN_SOURCE_ID";
/// What sets such a run off: the same word never runs twice.
pub const TRIGGER: &str = "DOCBRAIN_TRIGGER";
/// Folder with a file for each key of the Secret that a knowledge source names: `username`, `password`,
/// `ssh-privatekey`, `known_hosts`.
pub const CREDENTIALS_DIR: &str = "DOCBRAIN_CREDENTIALS_DIR";
/// Where configuration is kept: `local` (rows, the default) or `kubernetes` (custom resources).
pub const CONTROL_PLANE: &str = "DOCBRAIN_CONTROL_PLANE";
/// What the passwords of database roles are derived from; at least 32 characters.
pub const ROLE_SECRET: &str = "DOCBRAIN_ROLE_SECRET";
/// Image of `docbrain-ingest`, which the operator runs.
pub const INGEST_IMAGE: &str = "DOCBRAIN_INGEST_IMAGE";
/// When that image is pulled: `IfNotPresent` (default), `Always` or `Never`.
pub const INGEST_IMAGE_PULL_POLICY: &str = "DOCBRAIN_INGEST_IMAGE_PULL_POLICY";
/// Networks of the cluster, its services and nodes, which a tenant's pods must not reach: CIDR blocks separated by commas.
pub const CLUSTER_NETWORKS: &str = "DOCBRAIN_CLUSTER_NETWORKS";
/// Namespace and name of the pod that a program runs in.
pub const POD_NAMESPACE: &str = "POD_NAMESPACE";
/// See [`POD_NAMESPACE`].
pub const POD_NAME: &str = "POD_NAME";
/// `ServiceAccount` that a program runs as.
pub const SERVICE_ACCOUNT: &str = "DOCBRAIN_SERVICE_ACCOUNT";
/// `ClusterRole` with the rights to a tenant's Secrets, which the operator binds in each tenant's namespace.
pub const SECRETS_ROLE: &str = "DOCBRAIN_SECRETS_ROLE";
/// Seconds that the Job of an ingestion run may take.
pub const RUN_SECONDS: &str = "DOCBRAIN_RUN_SECONDS";
