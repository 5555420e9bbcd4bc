//! A release of the chart.

use std::net::TcpListener;
use std::path::PathBuf;
use std::time::Duration;

use docbrain_core::store::{self, bootstrap};
use secrecy::SecretString;
use serde_json::Value;
use url::Url;

use crate::chat::Api;
use crate::cluster::{Cluster, root, until};

pub(crate) const NAMESPACE: &str = "docbrain";
pub(crate) const RELEASE: &str = "docbrain";
/// The Secret with the URL of a database of one's own.
const DATABASE_SECRET: &str = "database";

pub(crate) enum Database {
    /// That of the chart.
    Pod,
    /// Another one, by the URL of its owner.
    Own(Url),
}

impl Database {
    /// An empty one outside of the cluster, where there can be one.
    pub(crate) async fn of_ones_own(cluster: &Cluster) -> Option<Self> {
        if let Some(url) = std::env::var("DOCBRAIN_TEST_DATABASE_URL").ok().filter(|url| !url.is_empty()) {
            return Some(Self::Own(url.parse().unwrap()));
        }
        let superuser = cluster.file("postgres/superuser-url")?;
        let mut url: Url = cluster.script("postgres.sh", &["start"]).await.parse().unwrap();
        let superuser = store::connect(std::fs::read_to_string(superuser).unwrap().trim(), 1).await.unwrap();
        let name = format!("docbrain_test_{}", std::process::id());
        let password = SecretString::from(url.password().unwrap().to_owned());
        bootstrap::create_database(&superuser, url.username(), &password, &name).await.unwrap();
        superuser.close().await;
        url.set_path(&name);
        Some(Self::Own(url))
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Pod => "a database in a pod",
            Self::Own(_) => "a database of one's own",
        }
    }
}

/// A checkout's chart, and the images of its programs.
#[derive(Clone)]
pub(crate) struct Version {
    folder: PathBuf,
    tag: String,
}

impl Version {
    /// What is tested.
    pub(crate) fn this(cluster: &Cluster) -> Self {
        Self { folder: root(), tag: cluster.tag.clone() }
    }

    /// The one before, as `tools/cluster/upgrade.sh` has prepared it.
    pub(crate) fn previous(cluster: &Cluster) -> Self {
        Self {
            folder: cluster.previous.clone().expect("the test needs an earlier version"),
            tag: "previous".to_owned(),
        }
    }

    fn chart(&self) -> String {
        self.folder.join("charts/docbrain").display().to_string()
    }
}

pub(crate) struct Installation {
    pub(crate) api: Api,
    version: Version,
    /// What each `helm upgrade` says again.
    settings: Vec<String>,
    /// From `helm install` to the first cited answer.
    pub(crate) took: Duration,
}

impl Installation {
    /// `helm install`, until it is ready.
    pub(crate) async fn make(
        cluster: &Cluster,
        version: Version,
        database: &Database,
        chat_model: Option<&str>,
    ) -> Self {
        let mut settings = settings(cluster);
        cluster.apply(&namespace()).await;
        if let Database::Own(url) = database {
            cluster.apply(&database_secret(url)).await;
            settings.extend([
                "--set=database.development.enabled=false".to_owned(),
                format!("--set=database.existingSecret.name={DATABASE_SECRET}"),
            ]);
        }
        if let Some(base_url) = chat_model {
            settings
                .extend([format!("--set=models.chat.baseUrl={base_url}"), "--set=models.chat.model=echo".to_owned()]);
        }
        Self::install(cluster, version, settings).await
    }

    /// The same once more, after it was uninstalled.
    pub(crate) async fn again(cluster: &Cluster, before: &Self) -> Self {
        Self::install(cluster, before.version.clone(), before.settings.clone()).await
    }

    async fn install(cluster: &Cluster, version: Version, settings: Vec<String>) -> Self {
        helm(cluster, "install", &version, "3m", &settings, &[]).await;
        Self { api: api(cluster).await, version, settings, took: Duration::ZERO }
    }

    /// `helm upgrade` with further settings, until it is ready.
    pub(crate) async fn upgrade(&self, cluster: &Cluster, further: &[&str]) {
        helm(cluster, "upgrade", &self.version, "4m", &self.settings, further).await;
    }

    /// `helm upgrade` to another version, until it is ready.
    pub(crate) async fn upgrade_to(&self, cluster: &Cluster, version: &Version) {
        helm(cluster, "upgrade", version, "4m", &self.settings, &[]).await;
    }
}

async fn helm(
    cluster: &Cluster,
    command: &str,
    version: &Version,
    timeout: &str,
    settings: &[String],
    further: &[&str],
) {
    let values = version.folder.join("tools/cluster/values.yaml");
    let (chart, values, tag) =
        (version.chart(), format!("--values={}", values.display()), format!("--set=image.tag={}", version.tag));
    let release = [command, RELEASE, &chart, "--namespace", NAMESPACE, "--wait", "--timeout", timeout, &values, &tag];
    // What is said last, holds.
    let settings = settings.iter().map(String::as_str);
    let arguments: Vec<&str> = release.into_iter().chain(settings).chain(further.iter().copied()).collect();
    cluster.helm(&arguments).await;
}

/// `helm uninstall`, and what it leaves on purpose but for definitions and tenants.
pub(crate) async fn uninstall(cluster: &Cluster) {
    cluster.helm(&["uninstall", RELEASE, "--namespace", NAMESPACE, "--wait", "--timeout", "2m"]).await;
}

/// The tenant and all that is left, so that the next test finds a cluster without DocBrain.
pub(crate) async fn wipe(cluster: &Cluster) {
    cluster.kubectl(&["annotate", "tenants", "--all", "--overwrite", "docbrain.dev/allow-delete=true"]).await;
    cluster.delete(&["tenants", "--all"]).await;
    uninstall(cluster).await;
    // The protection of definitions is gone as well, which the API server notices a moment later.
    let definitions = ["chatbots.docbrain.dev", "knowledgesources.docbrain.dev", "tenants.docbrain.dev"];
    let delete = [&["delete", "--ignore-not-found", "--timeout=60s", "crd"][..], &definitions].concat();
    until("no definitions", Duration::from_mins(1), async || {
        let output = cluster.try_kubectl(&delete, None).await;
        if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
    })
    .await;
    cluster.delete(&["namespace", NAMESPACE]).await;
}

fn settings(cluster: &Cluster) -> Vec<String> {
    let mut settings = vec![format!("--set=image.registry={}", cluster.registry)];
    if let Some(host) = cluster.host {
        settings.push(format!("--set=networks.allowed={{{host}/32}}"));
    }
    settings
}

fn namespace() -> String {
    format!(
        "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {NAMESPACE}\n  labels:\n    pod-security.kubernetes.io/enforce: restricted\n"
    )
}

/// In the form that CloudNativePG writes.
fn database_secret(url: &Url) -> String {
    let (host, port) = (url.host_str().unwrap(), url.port().unwrap_or(5432));
    format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: {DATABASE_SECRET}, namespace: {NAMESPACE}}}\n\
         stringData: {{uri: '{url}', host: '{host}', port: '{port}', dbname: '{}'}}\n",
        url.path().trim_start_matches('/')
    )
}

/// The API, by the best way there is from here.
async fn api(cluster: &Cluster) -> Api {
    let secret = cluster.get(&["-n", NAMESPACE, "secret", RELEASE]).await;
    let token = decoded(&secret["data"]["admin-token"]);
    let service = cluster.get(&["-n", NAMESPACE, "service", "docbrain-api"]).await;
    let named = std::env::var("DOCBRAIN_TEST_API_URL").ok().filter(|url| !url.is_empty());
    let address = service["spec"]["clusterIP"].as_str().unwrap();
    if let Some(url) = named {
        return Api::new(url, token, true, None);
    }
    let answers = async |url: &str| {
        let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(1)).build().unwrap();
        client.get(format!("{url}/readyz")).send().await.is_ok_and(|reply| reply.status().is_success())
    };
    let own = format!("http://{address}");
    // The node's proxy hears of pods that are ready a moment later.
    for _ in 0..20 {
        if answers(&own).await {
            return Api::new(own, token, true, None);
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let forward = cluster.port_forward(NAMESPACE, "service/docbrain-api", port);
    let forwarded = format!("http://127.0.0.1:{port}");
    until("a forwarded port", Duration::from_secs(20), async || {
        if answers(&forwarded).await { Ok(()) } else { Err("nothing".to_owned()) }
    })
    .await;
    Api::new(forwarded, token, false, Some(forward))
}

/// A value of a Secret.
fn decoded(value: &Value) -> String {
    let bytes: k8s_openapi::ByteString = serde_json::from_value(value.clone()).unwrap();
    String::from_utf8(bytes.0).unwrap()
}
