//! What the tests share: the cluster, a model server, and the installation that the first test makes.

use std::time::{Duration, Instant};

use tokio::sync::OnceCell;

use crate::chat::Api;
use crate::cluster::{Cluster, root, until};
use crate::installation::{Database, Installation, Version};
use crate::model::Model;

/// The tenant of `deploy/examples`.
pub(crate) const TENANT: &str = "acme";
/// Its chatbot.
pub(crate) const CHATBOT: &str = "support";
/// Its knowledge source of uploads.
pub(crate) const SOURCE: &str = "manuals";
/// What the document of [`World::first_document`] answers.
pub(crate) const QUESTION: &str = "How do I reset my password?";

pub(crate) struct World {
    pub(crate) cluster: Cluster,
    model: OnceCell<Model>,
    installation: OnceCell<Installation>,
}

impl World {
    pub(crate) fn new(cluster: Cluster) -> Self {
        Self { cluster, model: OnceCell::new(), installation: OnceCell::new() }
    }

    /// A model server that pods reach.
    pub(crate) async fn model(&self) -> &Model {
        let host = self.cluster.host.expect("the test needs a host");
        self.model.get_or_init(|| Model::start(host)).await
    }

    /// The installation of all tests but the first, with a tenant whose chatbot answers; and how long that took.
    pub(crate) async fn installation(&self) -> &Installation {
        let made = self.installation.get_or_init(|| async {
            let database = Database::of_ones_own(&self.cluster).await.unwrap_or(Database::Pod);
            let version = Version::this(&self.cluster);
            self.install_and_ask(version, &database, self.chat_model().await.as_deref()).await
        });
        made.await
    }

    /// The base URL of the installation's chat model, where there can be one; else answers are quotes.
    async fn chat_model(&self) -> Option<String> {
        if self.cluster.host.is_some() { Some(self.model().await.base_url()) } else { None }
    }

    /// From `helm install` to a cited answer, timed.
    pub(crate) async fn install_and_ask(
        &self,
        version: Version,
        database: &Database,
        chat_model: Option<&str>,
    ) -> Installation {
        let began = Instant::now();
        let mut installation = Installation::make(&self.cluster, version, database, chat_model).await;
        let installed = began.elapsed();
        apply_examples(&self.cluster).await;
        let provisioned = began.elapsed();
        installation.api.upload(TENANT, SOURCE, vec![first_document()]).await;
        let uploaded = began.elapsed();
        until_answered(&installation.api).await;
        installation.took = began.elapsed();
        println!(
            "measured: from helm install to a cited answer {:.1} s with {}; installed after {:.1}, tenant after {:.1}, uploaded after {:.1}",
            installation.took.as_secs_f32(),
            database.name(),
            installed.as_secs_f32(),
            provisioned.as_secs_f32(),
            uploaded.as_secs_f32()
        );
        installation
    }
}

/// Tenant, knowledge source and chatbot, as the files of `deploy/examples` have them; without the sources that are
/// elsewhere.
async fn apply_examples(cluster: &Cluster) {
    let example = |name: &str| std::fs::read_to_string(root().join("deploy/examples").join(name)).unwrap();
    let sources = example("knowledge-sources.yaml");
    let uploads = sources.split("\n---\n").next().unwrap();
    assert!(uploads.contains("upload: {}"));
    cluster.apply(&example("tenant.yaml")).await;
    cluster.kubectl(&["wait", &format!("tenant/{TENANT}"), "--for=condition=Ready", "--timeout=60s"]).await;
    cluster.apply(uploads).await;
    // Files may come once the source is known.
    let source = format!("knowledgesource/{SOURCE}");
    cluster.kubectl(&["wait", "-n", TENANT, &source, "--for=condition=Ready", "--timeout=30s"]).await;
    cluster.apply(&example("chatbot.yaml")).await;
}

pub(crate) fn first_document() -> (String, String) {
    let text = "# Accounts\n\n## Passwords\n\nTo reset your password, open the sign-in page and choose *Forgot password*. \
                A link that is good for one hour is sent to your e-mail address.\n\n## Names\n\nYour name is changed in the settings.\n";
    ("accounts.md".to_owned(), text.to_owned())
}

/// Waits until the document is found.
async fn until_answered(api: &Api) {
    until("a cited answer", Duration::from_mins(2), async || {
        let reply = api.ask(TENANT, CHATBOT, QUESTION).await?;
        let citation = &reply["citations"][0];
        assert_eq!(citation["path"], "accounts.md", "{reply}");
        Ok(())
    })
    .await;
}
