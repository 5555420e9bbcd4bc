//! What the environment says, checked as a whole before anything starts.
//!
//! A secret may be given as `X`, or as `X_FILE`, the path of a file that holds it. All that is wrong is told at once,
//! each with its variable and what to set; no message holds a value of a secret.

use std::ffi::OsString;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use docbrain_core::config::{NamedKey, parse_keys};
use docbrain_core::fetch::AddressPolicy;
use docbrain_core::keyring::Keyring;
use docbrain_core::models::{EmbeddingChoice, Endpoint};
use docbrain_core::{env, store, telemetry};
use ipnet::IpNet;
use secrecy::SecretString;
use url::Url;

mod reader;
#[cfg(test)]
mod tests;
mod variables;

use crate::access::oidc::OidcSettings;
use crate::state::Registration;

use reader::Reader;
pub use variables::help;

/// Fewest characters of the admin token: 128 bits as hexadecimal digits.
const SHORTEST_TOKEN: usize = 32;
/// Bytes of a signing key: at least what HMAC-SHA-256 puts out (RFC 7518, 3.2).
const SIGNING_KEY_BYTES: RangeInclusive<usize> = 32..=128;

/// All settings of `docbrain-api`.
#[derive(Debug)]
pub struct Config {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Where people reach the installation.
    pub public_url: Url,
    /// Postgres as the role `docbrain_api`.
    pub database_url: SecretString,
    /// Most connections to it.
    pub database_connections: u32,
    /// Guards the API.
    pub admin_token: SecretString,
    /// Sign tokens, the first one; check them, all.
    pub signing_keys: Vec<NamedKey>,
    /// Wrap the data keys of tenants, the first one; unwrap them, all.
    pub encryption_keys: Keyring,
    /// Where configuration is kept.
    pub control_plane: ControlPlaneKind,
    /// Who may make an account.
    pub registration: Registration,
    /// Whose word on a client's address is taken.
    pub trusted_proxies: Vec<IpNet>,
    /// Where tenants' model servers may be.
    pub addresses: AddressPolicy,
    /// A company's identity provider.
    pub oidc: Option<OidcSettings>,
    /// The embedding model.
    pub embedding: EmbeddingChoice,
    /// The chat model's endpoint; without one, answers are quotes.
    pub chat: Option<Endpoint>,
    /// How long answers under way have to end after a stop signal.
    pub drain: Duration,
    /// Logs, traces and reports.
    pub telemetry: telemetry::Settings,
}

/// Where configuration is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlPlaneKind {
    /// In the database.
    Local,
    /// As custom resources of the cluster that the process runs in, or that `KUBECONFIG` names.
    Kubernetes,
}

impl FromStr for ControlPlaneKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "local" => Ok(Self::Local),
            "kubernetes" => Ok(Self::Kubernetes),
            other => Err(format!("{other:?} is no place for configuration; set local or kubernetes")),
        }
    }
}

/// What is wrong with one setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The variable, or the one that would have to be set.
    variable: String,
    /// What is wrong, and what to set.
    what: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.variable, self.what)
    }
}

/// Everything that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Mistakes(Vec<Mistake>);

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the configuration cannot be used; `docbrain-api --help` describes every variable")?;
        self.0.iter().try_for_each(|mistake| write!(f, "\n  {mistake}"))
    }
}

impl Config {
    /// Reads the settings; `environment` looks a variable up.
    pub fn read(environment: impl Fn(&str) -> Option<OsString>) -> Result<Self, Mistakes> {
        let mut reader = Reader::new(&environment);
        // Each is read before the first is missed.
        let listen = reader.defaulted(env::LISTEN, address);
        let public_url = reader.required(env::PUBLIC_URL, origin);
        let database_url = reader.required_secret(env::API_DATABASE_URL, database_url);
        let database_connections = reader.defaulted(env::DATABASE_CONNECTIONS, |text| number(text, 1..=1_000));
        let admin_token = reader.required_secret(env::ADMIN_TOKEN, token);
        let signing_keys = reader.required_secret(env::SIGNING_KEYS, |text| keys(text, SIGNING_KEY_BYTES));
        let encryption_keys = reader.required_secret(env::ENCRYPTION_KEYS, keyring);
        let control_plane = reader.defaulted(env::CONTROL_PLANE, str::parse);
        let registration = reader.defaulted(env::REGISTRATION, str::parse);
        let trusted_proxies = reader.optional(env::TRUSTED_PROXIES, networks).unwrap_or_default();
        let allowed = reader.optional(env::ALLOWED_NETWORKS, networks).unwrap_or_default();
        let oidc = oidc(&mut reader, public_url.as_ref());
        let embedding = embedding(&mut reader);
        let chat = endpoint(&mut reader, env::CHAT_BASE_URL, env::CHAT_MODEL, env::CHAT_API_KEY);
        let drain = reader.defaulted(env::DRAIN_SECONDS, |text| number(text, 0..=3_600));
        let format = reader.defaulted(env::LOG_FORMAT, str::parse);
        let filter = reader.optional(env::LOG_FILTER, str::parse).unwrap_or_default();
        let sentry = reader.optional_secret(env::SENTRY_DSN, str::parse);
        let traces = reader.optional(env::OTLP_ENDPOINT, str::parse);
        reader.finish(|| {
            Some(Self {
                listen: listen?,
                public_url: public_url?,
                database_url: database_url?,
                database_connections: database_connections?,
                admin_token: admin_token?,
                signing_keys: signing_keys?,
                encryption_keys: encryption_keys?,
                control_plane: control_plane?,
                registration: registration?,
                trusted_proxies,
                addresses: AddressPolicy::public_only().allowing(allowed),
                oidc,
                embedding: embedding?,
                chat,
                drain: Duration::from_secs(drain?.into()),
                telemetry: telemetry::Settings { format: format?, filter, sentry, traces },
            })
        })
    }

    /// Reads the settings of this process.
    pub fn of_process() -> Result<Self, Mistakes> {
        Self::read(|name| std::env::var_os(name))
    }

    /// Whether cookies may be sent over an encrypted connection alone.
    pub fn secure_cookies(&self) -> bool {
        self.public_url.scheme() == "https"
    }
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| format!("{text:?} is no address with a port; set one such as 0.0.0.0:8080"))
}

fn number(text: &str, range: RangeInclusive<u32>) -> Result<u32, String> {
    let number = text.parse().ok().filter(|number| range.contains(number));
    number.ok_or_else(|| format!("{text:?} is no number from {} to {}; set one", range.start(), range.end()))
}

fn web_url(text: &str) -> Option<Url> {
    text.parse().ok().filter(|url: &Url| matches!(url.scheme(), "http" | "https") && url.has_host())
}

/// The address of a whole site: a page or a user name in it would be lost.
fn origin(text: &str) -> Result<Url, String> {
    let whole = |url: &Url| url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    let url = web_url(text).filter(|url| whole(url) && url.username().is_empty() && url.password().is_none());
    url.ok_or_else(|| "it is no address of a site; set one without a path, such as https://docs.example.com".to_owned())
}

fn base_url(text: &str) -> Result<String, String> {
    let url = web_url(text).map(|_| text.to_owned());
    url.ok_or_else(|| "it is no http or https URL; set one such as https://api.openai.com/v1".to_owned())
}

fn database_url(text: &str) -> Result<SecretString, String> {
    let unreadable = |_| "it is no database URL; set postgres://docbrain_api:password@host:5432/database".to_owned();
    store::check_url(text).map_err(unreadable)?;
    Ok(text.into())
}

fn token(text: &str) -> Result<SecretString, String> {
    match text.chars().count() {
        SHORTEST_TOKEN.. => Ok(text.into()),
        short => {
            Err(format!("it has {short} characters; set at least {SHORTEST_TOKEN}, made by `openssl rand -hex 32`"))
        }
    }
}

fn keys(text: &str, lengths: RangeInclusive<usize>) -> Result<Vec<NamedKey>, String> {
    parse_keys(text, lengths).map_err(|wrong| format!("{wrong}; set id:base64, made by `openssl rand -base64 32`"))
}

fn keyring(text: &str) -> Result<Keyring, String> {
    Keyring::parse(&text.into()).map_err(|wrong| wrong.to_string())
}

fn networks(text: &str) -> Result<Vec<IpNet>, String> {
    let network = |entry: &str| {
        let alone = || entry.parse::<IpAddr>().map(IpNet::from);
        let wrong = |_| format!("{entry:?} is no network; set networks such as 10.0.0.0/8,fd00::/8");
        entry.parse().or_else(|_| alone()).map_err(wrong)
    };
    text.split(',').map(str::trim).map(network).collect()
}

fn folder(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    let wrong =
        || format!("{text} is no folder; set the one of a sentence-transformers model with ONNX and tokenizer.json");
    path.is_dir().then_some(path).ok_or_else(wrong)
}

fn embedding(reader: &mut Reader<'_>) -> Option<EmbeddingChoice> {
    let remote = endpoint(reader, env::EMBEDDING_BASE_URL, env::EMBEDDING_MODEL, env::EMBEDDING_API_KEY);
    match remote {
        Some(endpoint) => Some(EmbeddingChoice::Remote(endpoint)),
        None if reader.is_set(env::EMBEDDING_BASE_URL) => None,
        None => reader.required(env::MODEL_DIR, folder).map(EmbeddingChoice::BuiltIn),
    }
}

/// `None` where no issuer is set.
fn oidc(reader: &mut Reader<'_>, public_url: Option<&Url>) -> Option<OidcSettings> {
    if !reader.is_set(env::OIDC_ISSUER) {
        return None;
    }
    let text = |text: &str| Ok(text.to_owned());
    let issuer = reader.optional(env::OIDC_ISSUER, base_url);
    let client_id = reader.required(env::OIDC_CLIENT_ID, text);
    let client_secret = reader.required_secret(env::OIDC_CLIENT_SECRET, |text| Ok(text.into()));
    let redirect_url = public_url?.join("/auth/oidc/callback").ok()?.to_string();
    Some(OidcSettings { issuer: issuer?, client_id: client_id?, client_secret: client_secret?, redirect_url })
}

/// `None` where no base URL is set.
fn endpoint(reader: &mut Reader<'_>, url: &str, model: &str, key: &str) -> Option<Endpoint> {
    let base_url = reader.optional(url, base_url);
    let model = reader.defaulted(model, |text| Ok(text.to_owned()));
    let api_key = reader.optional_secret(key, |text| Ok(text.into()));
    Some(Endpoint::new(&base_url?, &model?, api_key))
}
