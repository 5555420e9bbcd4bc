//! Chatbots: their projection, with the key of their model.

use std::sync::Arc;

use docbrain_core::ids::ChatbotId;
use docbrain_core::provision::{self, ProvisionError};
use docbrain_core::store::secret_refs;
use docbrain_crds::manifest::Resource as Manifest;
use docbrain_crds::{Chatbot, ChatbotStatus, KnowledgeSource, SecretKeyRef};
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::ResourceExt;
use kube::runtime::controller::Action;
use kube::runtime::reflector::ObjectRef;
use secrecy::SecretString;
use sha2::{Digest, Sha256};

use crate::conditions::{Verdict, reason, settle};
use crate::context::Context;
use crate::reconcile::{Doing, ReconcileError, ensure_finalizer, is_forced, now, reference, remove_finalizer, report};
use crate::secret_watch::SecretName;
use crate::tenant::retains_rows;

mod judgement;

use judgement::{Credentials, Facts, Knowledge, judge};

/// Keeps a Chatbot until its rows are gone.
pub const FINALIZER: &str = "docbrain.dev/chatbot";

/// Brings the rows of a Chatbot in line with it.
pub async fn reconcile(chatbot: Arc<Chatbot>, context: Arc<Context>) -> Result<Action, ReconcileError> {
    let namespace = chatbot.namespace().unwrap_or_default();
    let api = context.namespaced::<Chatbot>(&namespace);
    if chatbot.metadata.deletion_timestamp.is_some() {
        return finalize(&context, &api, &chatbot).await;
    }
    if let Some(verdict) = without_tenant(&context, &namespace) {
        write_status(&context, &api, &chatbot, None, &verdict, Vec::new(), None).await?;
        return Ok(Action::await_change());
    }
    ensure_finalizer(&api, &*chatbot, FINALIZER).await?;
    let key_ref = chatbot.spec.model.as_ref().and_then(|model| model.api_key_secret_ref.as_ref());
    let key = match key_ref {
        Some(key_ref) => {
            context.secret_watch.look_at(&namespace);
            find(&context, &namespace, key_ref).await?
        }
        None => Key::NotNeeded,
    };
    let mut tx = match context.provisioner.begin(&namespace).await {
        // Its Tenant is on its way, and will call.
        Err(ProvisionError::NoTenant { .. }) => {
            let verdict = tenant_not_ready(&namespace);
            write_status(&context, &api, &chatbot, None, &verdict, Vec::new(), None).await?;
            return Ok(Action::await_change());
        }
        begun => begun?,
    };
    let author = provision::author_of(&chatbot.metadata);
    let written = provision::write(&mut tx, &Manifest::Chatbot(Chatbot::clone(&chatbot)), &author).await?;
    if let (Key::Found { value, .. }, Some(key_ref)) = (&key, key_ref) {
        secret_refs::put_if_changed(&mut tx, &context.secrets, key_ref, value).await?;
    }
    // A new chatbot refers to more, not to less.
    if written.changed && written.revision > 1 {
        secret_refs::delete_unreferenced(&mut tx).await?;
    }
    tx.commit().await?;

    let facts = Facts {
        suspended: chatbot.spec.suspended || context.is_suspended(&namespace),
        credentials: key.credentials(),
        knowledge: knowledge(&context, &namespace, &chatbot),
    };
    let judgement = judge(&facts);
    write_status(
        &context,
        &api,
        &chatbot,
        Some((ChatbotId(written.id), config_hash(&chatbot, &key))),
        &judgement.verdict,
        judgement.others,
        Some(judgement.sources_ready),
    )
    .await?;
    Ok(Action::await_change())
}

/// What a resource is told whose namespace is no tenant's.
pub fn without_tenant(context: &Context, namespace: &str) -> Option<Verdict> {
    context.tenant_of(namespace).is_none().then(|| {
        let message = format!("namespace {namespace} belongs to no tenant; apply a Tenant whose namespace it is");
        Verdict::stalled(reason::NO_TENANT, message)
    })
}

/// What a resource is told whose tenant has no rows yet.
pub fn tenant_not_ready(namespace: &str) -> Verdict {
    let message = format!("the tenant of namespace {namespace} is not ready yet; kubectl describe tenant says why");
    Verdict::reconciling(reason::TENANT_NOT_READY, message)
}

/// Chatbots that name a knowledge source.
pub fn naming(context: &Context, source: &ObjectRef<KnowledgeSource>) -> Vec<ObjectRef<Chatbot>> {
    let named = context.chatbots.state_filter(|chatbot| {
        chatbot.namespace() == source.namespace
            && chatbot.spec.knowledge_sources.iter().any(|reference| reference.name == source.name)
    });
    named.iter().map(|chatbot| ObjectRef::from_obj(&**chatbot)).collect()
}

/// Chatbots whose key is in a Secret.
pub fn keyed_by(context: &Context, secret: &SecretName) -> Vec<ObjectRef<Chatbot>> {
    let keyed = context.chatbots.state_filter(|chatbot| {
        let key = chatbot.spec.model.as_ref().and_then(|model| model.api_key_secret_ref.as_ref());
        key.is_some_and(|key| secret.is(chatbot.namespace().as_deref(), &key.name))
    });
    keyed.iter().map(|chatbot| ObjectRef::from_obj(&**chatbot)).collect()
}

/// The key of a chatbot's model.
enum Key {
    NotNeeded,
    Found { value: SecretString, version: String },
    LacksSecret { name: String },
    LacksValue { name: String, key: String },
}

impl Key {
    fn credentials(&self) -> Credentials {
        match self {
            Self::NotNeeded => Credentials::NotNeeded,
            Self::Found { .. } => Credentials::Found,
            Self::LacksSecret { name } => Credentials::NoSecret { name: name.clone() },
            Self::LacksValue { name, key } => Credentials::NoKey { name: name.clone(), key: key.clone() },
        }
    }
}

async fn find(context: &Context, namespace: &str, wanted: &SecretKeyRef) -> Result<Key, ReconcileError> {
    let secrets: Api<Secret> = context.namespaced(namespace);
    let Some(secret) = secrets.get_opt(&wanted.name).await.doing("read a Secret")? else {
        return Ok(Key::LacksSecret { name: wanted.name.clone() });
    };
    let version = secret.resource_version().unwrap_or_default();
    let value = secret.data.unwrap_or_default().remove(&wanted.key).and_then(|bytes| String::from_utf8(bytes.0).ok());
    // A file that was made by an editor ends with a line break that no key has.
    match value.map(|value| value.trim().to_owned()).filter(|value| !value.is_empty()) {
        Some(value) => Ok(Key::Found { value: value.into(), version }),
        None => Ok(Key::LacksValue { name: wanted.name.clone(), key: wanted.key.clone() }),
    }
}

fn knowledge(context: &Context, namespace: &str, chatbot: &Chatbot) -> Vec<(String, Knowledge)> {
    let named = chatbot.spec.knowledge_sources.iter();
    named
        .map(|source| {
            let object = reference::<KnowledgeSource>(namespace, &source.name);
            let there = context.sources.get(&object).filter(|source| source.metadata.deletion_timestamp.is_none());
            let state = match (there, context.knowledge.of(&object)) {
                (None, _) => Knowledge::Missing,
                (Some(_), Some(true)) => Knowledge::Ready,
                (Some(_), _) => Knowledge::NotReady,
            };
            (source.name.clone(), state)
        })
        .collect()
}

/// The same for the same configuration, another after a rotation of the key.
fn config_hash(chatbot: &Chatbot, key: &Key) -> String {
    let mut hash = Sha256::new();
    hash.update(serde_json::to_vec(&chatbot.spec).expect("a spec is JSON"));
    if let Key::Found { version, .. } = key {
        hash.update(version.as_bytes());
    }
    hex::encode(&hash.finalize()[..8])
}

async fn write_status(
    context: &Context,
    api: &Api<Chatbot>,
    chatbot: &Chatbot,
    published: Option<(ChatbotId, String)>,
    verdict: &Verdict,
    others: Vec<crate::conditions::Draft>,
    sources_ready: Option<String>,
) -> Result<(), ReconcileError> {
    let before = chatbot.status.as_ref();
    let conditions = before.map_or(&[][..], |status| &status.conditions);
    let generation = chatbot.metadata.generation;
    let (id, config_hash) = published.unzip();
    let status = ChatbotStatus {
        observed_generation: generation,
        url: id.zip(context.config.public_url.as_ref()).map(|(id, public)| format!("{public}/chatbots/{id}")),
        id: id.map(|id| id.to_string()),
        sources_ready,
        config_hash,
        conditions: settle(conditions, verdict, others, generation, &now()),
    };
    report(context, api, chatbot, (before, conditions), &status, verdict).await
}

async fn finalize(context: &Context, api: &Api<Chatbot>, chatbot: &Chatbot) -> Result<Action, ReconcileError> {
    let namespace = chatbot.namespace().unwrap_or_default();
    if !retains_rows(context, &namespace) {
        match unpublish(context, &namespace, chatbot).await {
            Err(error) if !(error.is_of_the_database() && is_forced(chatbot)) => return Err(error),
            _ => {}
        }
    }
    remove_finalizer(api, chatbot, FINALIZER).await?;
    Ok(Action::await_change())
}

async fn unpublish(context: &Context, namespace: &str, chatbot: &Chatbot) -> Result<(), ReconcileError> {
    context.provisioner.delete(&Manifest::Chatbot(chatbot.clone())).await?;
    match context.provisioner.begin(namespace).await {
        Err(ProvisionError::NoTenant { .. }) => Ok(()),
        begun => {
            let mut tx = begun?;
            secret_refs::delete_unreferenced(&mut tx).await?;
            Ok(tx.commit().await?)
        }
    }
}
