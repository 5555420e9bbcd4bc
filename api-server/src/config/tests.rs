//! A table of environments that cannot be used, and what is said of each.

use secrecy::ExposeSecret;

use super::*;

/// Stands in every secret of these tests.
const CANARY: &str = "canary";

fn complete() -> Vec<(&'static str, String)> {
    // 32 bytes that begin with the canary.
    let key = "Y2FuYXJ5Y2FuYXJ5Y2FuYXJ5Y2FuYXJ5Y2FuYXJ5Y2E=";
    vec![
        (env::PUBLIC_URL, "https://docs.example.com".to_owned()),
        (env::API_DATABASE_URL, format!("postgres://docbrain_api:{CANARY}@db/docbrain")),
        (env::ADMIN_TOKEN, CANARY.repeat(6)),
        (env::SIGNING_KEYS, format!("a:{key},b:{key}")),
        (env::ENCRYPTION_KEYS, format!("a:{key}")),
        (env::MODEL_DIR, env!("CARGO_MANIFEST_DIR").to_owned()),
        (env::CHAT_BASE_URL, "https://models.example/v1".to_owned()),
        (env::CHAT_API_KEY, CANARY.to_owned()),
        (env::SENTRY_DSN, format!("https://{CANARY}@sentry.example/1")),
    ]
}

fn read(variables: &[(&str, String)]) -> Result<Config, Mistakes> {
    let variables: Vec<(String, OsString)> =
        variables.iter().map(|(name, value)| ((*name).to_owned(), value.into())).collect();
    Config::read(|name| variables.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value.clone()))
}

/// What is said of a complete configuration with these changes; an empty value is none.
fn said(changes: &[(&'static str, &str)]) -> String {
    let mut variables = complete();
    variables.extend(changes.iter().map(|(name, value)| (*name, (*value).to_owned())));
    let mistakes = read(&variables).unwrap_err().to_string();
    assert!(!mistakes.contains(CANARY), "{mistakes}");
    mistakes
}

#[test]
fn a_complete_configuration_is_read_and_shows_no_secret() {
    let config = read(&complete()).unwrap();
    assert_eq!(config.listen.port(), 8080);
    assert_eq!(config.signing_keys.iter().map(|key| &*key.id).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!((config.registration, config.drain), (Registration::Closed, Duration::from_secs(30)));
    assert!(config.secure_cookies() && config.chat.is_some());
    assert!(matches!(&config.embedding, EmbeddingChoice::BuiltIn(folder) if folder.ends_with("api-server")));
    let shown = format!("{config:?}");
    assert!(!shown.contains(CANARY) && !shown.contains("99, 97, 110"), "{shown}");
}

#[test]
fn nothing_set_is_told_as_a_whole() {
    insta::assert_snapshot!(read(&[]).unwrap_err(), @r#"
    the configuration cannot be used; `docbrain-api --help` describes every variable
      DOCBRAIN_PUBLIC_URL: it is not set; set the address where people reach the installation (with https, cookies are sent over it alone), such as https://docs.example.com
      DOCBRAIN_API_DATABASE_URL: it is not set; set the URL of Postgres for the role docbrain_api, such as postgres://docbrain_api:password@db:5432/docbrain
      DOCBRAIN_ADMIN_TOKEN: it is not set; set the operator's bearer token, at least 32 characters, such as the output of `openssl rand -hex 32`
      DOCBRAIN_SIGNING_KEYS: it is not set; set the keys that sign tokens, at least 32 bytes each, the newest first, such as 2026-11:<`openssl rand -base64 32`>,2026-05:<the one before>
      DOCBRAIN_ENCRYPTION_KEYS: it is not set; set the keys that provider keys are encrypted under, exactly 32 bytes each, the newest first, such as 2026-11:<`openssl rand -base64 32`>
      DOCBRAIN_MODEL_DIR: it is not set; set the folder of the built-in embedding model, or DOCBRAIN_EMBEDDING_BASE_URL instead of it, such as /models/all-MiniLM-L6-v2
    "#);
}

#[test]
fn each_mistake_is_told_with_its_remedy() {
    insta::assert_snapshot!(said(&[
        (env::LISTEN, "8080"),
        (env::PUBLIC_URL, "https://docs.example.com/app"),
        (env::API_DATABASE_URL, "mysql://docbrain_api:canary@db/docbrain"),
        (env::DATABASE_CONNECTIONS, "0"),
        (env::ADMIN_TOKEN, "canary"),
        (env::SIGNING_KEYS, "a:Y2FuYXJ5"),
        (env::ENCRYPTION_KEYS, "canary"),
        (env::CONTROL_PLANE, "nomad"),
        (env::REGISTRATION, "everyone"),
        (env::TRUSTED_PROXIES, "10.0.0.0/8, proxy"),
        (env::EMBEDDING_BASE_URL, "models.example"),
        (env::CHAT_BASE_URL, "ftp://models.example"),
        (env::DRAIN_SECONDS, "half a minute"),
        (env::LOG_FORMAT, "xml"),
        (env::LOG_FILTER, "loud=x=y"),
        (env::SENTRY_DSN, "canary"),
        (env::OTLP_ENDPOINT, "collector:4318"),
    ]), @r#"
    the configuration cannot be used; `docbrain-api --help` describes every variable
      DOCBRAIN_LISTEN: "8080" is no address with a port; set one such as 0.0.0.0:8080
      DOCBRAIN_PUBLIC_URL: it is no address of a site; set one without a path, such as https://docs.example.com
      DOCBRAIN_API_DATABASE_URL: it is no database URL; set postgres://docbrain_api:password@host:5432/database
      DOCBRAIN_DATABASE_CONNECTIONS: "0" is no number from 1 to 1000; set one
      DOCBRAIN_ADMIN_TOKEN: it has 6 characters; set at least 32, made by `openssl rand -hex 32`
      DOCBRAIN_SIGNING_KEYS: the key of entry 1 has 6 bytes instead of 32 to 128; set id:base64, made by `openssl rand -base64 32`
      DOCBRAIN_ENCRYPTION_KEYS: entry 1 of DOCBRAIN_ENCRYPTION_KEYS is not of the form id:base64; `docbrain keys generate` makes one that fits
      DOCBRAIN_CONTROL_PLANE: "nomad" is no place for configuration; set local or kubernetes
      DOCBRAIN_REGISTRATION: "everyone" is no mode of registration; set open, invite or closed
      DOCBRAIN_TRUSTED_PROXIES: "proxy" is no network; set networks such as 10.0.0.0/8,fd00::/8
      DOCBRAIN_EMBEDDING_BASE_URL: it is no http or https URL; set one such as https://api.openai.com/v1
      DOCBRAIN_CHAT_BASE_URL: it is no http or https URL; set one such as https://api.openai.com/v1
      DOCBRAIN_DRAIN_SECONDS: "half a minute" is no number from 0 to 3600; set one
      LOG_FORMAT: "xml" is not a log format; use text or json
      RUST_LOG: "loud=x=y" is not a log filter; use a level such as info, or info,docbrain_api=debug
      SENTRY_DSN: it is not a Sentry DSN; use one of the form https://key@host/project
      OTEL_EXPORTER_OTLP_ENDPOINT: it is not the base URL of a collector; use one such as http://collector:4318
    "#);
}

#[test]
fn a_model_folder_that_is_not_there_is_told() {
    insta::assert_snapshot!(said(&[(env::MODEL_DIR, "/nowhere")]), @r#"
    the configuration cannot be used; `docbrain-api --help` describes every variable
      DOCBRAIN_MODEL_DIR: /nowhere is no folder; set the one of a sentence-transformers model with ONNX and tokenizer.json
    "#);
}

#[test]
fn a_secret_may_be_in_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    std::fs::write(&path, format!("{}\n", "from a file ".repeat(3))).unwrap();
    let file = format!("{}{}", env::ADMIN_TOKEN, env::FILE_SUFFIX);
    let with = |token: &str, path: &str| {
        let mut variables = complete();
        variables.extend([(env::ADMIN_TOKEN, token.to_owned()), (&*file, path.to_owned())]);
        read(&variables)
    };
    let path = path.to_str().unwrap();
    assert_eq!(with("", path).unwrap().admin_token.expose_secret(), "from a file from a file from a file");
    let both = with(&CANARY.repeat(6), path).unwrap_err().to_string();
    assert!(both.contains("DOCBRAIN_ADMIN_TOKEN: DOCBRAIN_ADMIN_TOKEN_FILE is set, too; set one of them"), "{both}");
    let missing = with("", "/nowhere").unwrap_err().to_string();
    assert!(
        missing.contains("DOCBRAIN_ADMIN_TOKEN_FILE: the file /nowhere cannot be read (entity not found)"),
        "{missing}"
    );
    std::fs::write(path, " \n").unwrap();
    let empty = with("", path).unwrap_err().to_string();
    assert!(empty.contains("is empty; put the secret there"), "{empty}");
}

#[test]
fn help_names_every_variable_with_an_example() {
    let help = help();
    for name in [env::PUBLIC_URL, env::SENTRY_DSN, env::DRAIN_SECONDS] {
        assert!(help.contains(name), "{help}");
    }
    assert_eq!(help.matches("example:").count(), 26);
}
