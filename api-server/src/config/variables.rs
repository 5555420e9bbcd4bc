//! The variables of `docbrain-api` as its help describes them.

use std::fmt::Write;

use docbrain_core::env;

/// A variable.
pub(super) struct Variable {
    pub(super) name: &'static str,
    /// What it holds, as the object of "set".
    pub(super) what: &'static str,
    pub(super) example: &'static str,
    pub(super) default: Option<&'static str>,
    need: Need,
}

#[derive(PartialEq)]
enum Need {
    Required,
    RequiredSecret,
    Optional,
    OptionalSecret,
}

use Need::{Optional, OptionalSecret, Required, RequiredSecret};

#[rustfmt::skip]
const VARIABLES: [Variable; 26] = [
    variable(env::PUBLIC_URL, Required, "the address where people reach the installation (with https, cookies are sent over it alone)", "https://docs.example.com", None),
    variable(env::API_DATABASE_URL, RequiredSecret, "the URL of Postgres for the role docbrain_api", "postgres://docbrain_api:password@db:5432/docbrain", None),
    variable(env::ADMIN_TOKEN, RequiredSecret, "the operator's bearer token, at least 32 characters", "the output of `openssl rand -hex 32`", None),
    variable(env::SIGNING_KEYS, RequiredSecret, "the keys that sign tokens, at least 32 bytes each, the newest first", "2026-11:<`openssl rand -base64 32`>,2026-05:<the one before>", None),
    variable(env::ENCRYPTION_KEYS, RequiredSecret, "the keys that provider keys are encrypted under, exactly 32 bytes each, the newest first", "2026-11:<`openssl rand -base64 32`>", None),
    variable(env::MODEL_DIR, Required, "the folder of the built-in embedding model, or DOCBRAIN_EMBEDDING_BASE_URL instead of it", "/models/all-MiniLM-L6-v2", None),
    variable(env::EMBEDDING_BASE_URL, Optional, "the OpenAI-compatible base URL for embeddings, instead of the built-in model", "https://api.openai.com/v1", None),
    variable(env::EMBEDDING_MODEL, Optional, "the model's name there", "text-embedding-3-small", Some("text-embedding-3-small")),
    variable(env::EMBEDDING_API_KEY, OptionalSecret, "the key for that endpoint", "sk-…", None),
    variable(env::CHAT_BASE_URL, Optional, "the OpenAI-compatible base URL for chat; without one, answers are quotes", "https://api.openai.com/v1", None),
    variable(env::CHAT_MODEL, Optional, "the model's name there", "gpt-4.1-mini", Some("gpt-4.1-mini")),
    variable(env::CHAT_API_KEY, OptionalSecret, "the key for that endpoint", "sk-…", None),
    variable(env::LISTEN, Optional, "the address and port to listen on", "0.0.0.0:8080", Some("0.0.0.0:8080")),
    variable(env::DATABASE_CONNECTIONS, Optional, "the most connections to Postgres, 1 to 1000", "16", Some("16")),
    variable(env::REGISTRATION, Optional, "who may make an account: open, invite or closed", "invite", Some("closed")),
    variable(env::CONTROL_PLANE, Optional, "where configuration is kept: local (the database) or kubernetes (custom resources)", "kubernetes", Some("local")),
    variable(env::TRUSTED_PROXIES, Optional, "the networks of proxies whose X-Forwarded-For is believed", "10.0.0.0/8,fd00::/8", None),
    variable(env::ALLOWED_NETWORKS, Optional, "the networks besides the public ones that tenants' model servers may be in", "10.1.0.0/16", None),
    variable(env::OIDC_ISSUER, Optional, "the identity provider (OpenID Connect) that people may sign in at", "https://login.example.com/realms/acme", None),
    variable(env::OIDC_CLIENT_ID, Optional, "the id of DocBrain there", "docbrain", None),
    variable(env::OIDC_CLIENT_SECRET, OptionalSecret, "the secret of DocBrain there", "the one the provider shows", None),
    variable(env::DRAIN_SECONDS, Optional, "the seconds that answers have to end after a stop signal, 0 to 3600", "30", Some("30")),
    variable(env::LOG_FORMAT, Optional, "how log lines are written: text or json", "json", Some("json")),
    variable(env::LOG_FILTER, Optional, "which log lines are written", "info,docbrain_api=debug", None),
    variable(env::OTLP_ENDPOINT, Optional, "the OpenTelemetry collector that spans are sent to", "http://collector:4318", None),
    variable(env::SENTRY_DSN, OptionalSecret, "the Sentry DSN that errors are reported to", "https://key@sentry.example.com/1", None),
];

const fn variable(
    name: &'static str,
    need: Need,
    what: &'static str,
    example: &'static str,
    default: Option<&'static str>,
) -> Variable {
    Variable { name, what, example, default, need }
}

pub(super) fn named(name: &str) -> &'static Variable {
    VARIABLES.iter().find(|variable| variable.name == name).expect("every variable that is read is in the table")
}

/// The variables for people, with examples.
pub fn help() -> String {
    let mut text = "Variables (a secret X may be given as X_FILE, the path of a file that holds it):\n".to_owned();
    for Variable { name, what, example, default, need } in &VARIABLES {
        let note = match (need, default) {
            (Required, _) => " (required)".to_owned(),
            (RequiredSecret, _) => " (required, secret)".to_owned(),
            (OptionalSecret, _) => " (secret)".to_owned(),
            (Optional, Some(default)) => format!(" [{default}]"),
            (Optional, None) => String::new(),
        };
        writeln!(text, "\n  {name}{note}\n      {what}\n      example: {example}").expect("a string takes all");
    }
    text
}
