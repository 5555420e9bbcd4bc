//! Tenants: a namespace with its borders, rows with theirs, a database role.

use std::sync::Arc;
use std::time::Duration;

use docbrain_core::ids::TenantId;
use docbrain_crds::manifest::Resource as Manifest;
use docbrain_crds::{Chatbot, DeletionPolicy, KnowledgeSource, TENANT_LABEL, Tenant, TenantStatus};
use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{DeleteParams, ListParams, PartialObjectMeta, PostParams};
use kube::runtime::controller::Action;
use kube::runtime::reflector::ObjectRef;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource, ResourceExt};

use crate::conditions::{Draft, Verdict, reason, settle};
use crate::context::{Context, FIELD_MANAGER};
use crate::controller::WatchPauses;
use crate::reconcile::{
    Doing, ReconcileError, apply, ensure_finalizer, is_conflict, is_forced, is_not_found, now, remove_finalizer, report,
};

mod build;

pub use build::SERVICE_ACCOUNT;

/// Keeps a Tenant until what it has is gone.
pub const FINALIZER: &str = "docbrain.dev/tenant";
/// Between two looks at what is being deleted.
const SOON: Duration = Duration::from_secs(1);

/// Brings the world in line with a Tenant.
pub async fn reconcile(tenant: Arc<Tenant>, context: Arc<Context>) -> Result<Action, ReconcileError> {
    let api = context.cluster::<Tenant>();
    if tenant.metadata.deletion_timestamp.is_some() {
        return finalize(&context, &api, &tenant).await;
    }
    ensure_finalizer(&api, &*tenant, FINALIZER).await?;
    let name = tenant.own_namespace();
    let namespace = context.cluster::<Namespace>().get_opt(name).await.doing("look at the namespace")?;
    let found = match standing(&tenant, namespace.as_ref()) {
        Standing::Usable { made_here } => realise(&context, &tenant, made_here, namespace).await?,
        Standing::Terminating => Found {
            verdict: Verdict::reconciling(
                reason::NAMESPACE_TERMINATING,
                format!("namespace {name} is being deleted; it is made again when it is gone"),
            ),
            ..Found::default()
        },
        Standing::Taken { owner } => Found {
            verdict: Verdict::stalled(
                reason::NAMESPACE_TAKEN,
                match owner {
                    Some(owner) => format!("namespace {name} is tenant {owner}'s; choose another in spec.namespace"),
                    None => format!(
                        "namespace {name} is there and no tenant's; to give it to this one: kubectl label namespace {name} {TENANT_LABEL}={}",
                        tenant.name_any()
                    ),
                },
            ),
            ..Found::default()
        },
    };
    write_status(&context, &api, &tenant, &found).await?;
    if found.verdict.is_ready() && !was_told(&tenant, &found.verdict) {
        // Without a listener there is nobody who waits.
        let _ = context.tenants_ready.send(name.to_owned());
    }
    Ok(match found.verdict {
        Verdict::Reconciling { .. } => Action::requeue(SOON),
        Verdict::Ready { .. } | Verdict::Stalled { .. } => Action::await_change(),
    })
}

/// Namespaces of tenants that go: whoever deletes one has it made again.
pub fn namespaces_going(
    client: Client,
) -> impl Stream<Item = Result<PartialObjectMeta<Namespace>, watcher::Error>> + Send {
    let api = Api::<PartialObjectMeta<Namespace>>::all(client);
    let events = watcher(api, watcher::Config::default().labels(TENANT_LABEL).streaming_lists());
    events.backoff(WatchPauses::default()).filter_map(|event| {
        std::future::ready(match event {
            Ok(watcher::Event::Delete(namespace)) => Some(Ok(namespace)),
            Ok(watcher::Event::Apply(namespace)) if namespace.metadata.deletion_timestamp.is_some() => {
                Some(Ok(namespace))
            }
            // See controller::watched.
            Ok(_) | Err(_) => None,
        })
    })
}

/// The Tenant that a namespace belongs to.
pub fn owner_of(namespace: &PartialObjectMeta<Namespace>) -> Option<ObjectRef<Tenant>> {
    namespace.labels().get(TENANT_LABEL).map(|name| ObjectRef::new(name))
}

/// Whether the status says this already.
fn was_told(tenant: &Tenant, verdict: &Verdict) -> bool {
    let conditions = tenant.status.as_ref().map_or(&[][..], |status| &status.conditions);
    crate::conditions::holds(conditions, "Ready") == verdict.is_ready()
        && conditions.iter().any(|condition| condition.type_ == "Ready" && condition.reason == verdict.words().0)
}

/// Whose a namespace is.
#[derive(Debug, PartialEq, Eq)]
enum Standing {
    /// The tenant's, or it is to be made.
    Usable {
        /// The operator makes it, or has made it.
        made_here: bool,
    },
    /// The tenant's, and going.
    Terminating,
    /// Not the tenant's.
    Taken { owner: Option<String> },
}

fn standing(tenant: &Tenant, namespace: Option<&Namespace>) -> Standing {
    let Some(namespace) = namespace else { return Standing::Usable { made_here: true } };
    match namespace.labels().get(TENANT_LABEL) {
        Some(owner) if *owner == tenant.name_any() => {
            if namespace.metadata.deletion_timestamp.is_some() {
                Standing::Terminating
            } else {
                Standing::Usable { made_here: namespace.annotations().contains_key(build::MADE_HERE) }
            }
        }
        owner => Standing::Taken { owner: owner.cloned() },
    }
}

/// What a reconcile found and did.
struct Found {
    verdict: Verdict,
    id: Option<TenantId>,
    namespace_ready: bool,
}

impl Default for Found {
    fn default() -> Self {
        Self { verdict: Verdict::reconciling(reason::NAMESPACE_TERMINATING, ""), id: None, namespace_ready: false }
    }
}

/// Makes what a tenant is made of; all of it is made again where it is missing.
async fn realise(
    context: &Context,
    tenant: &Tenant,
    made_here: bool,
    present: Option<Namespace>,
) -> Result<Found, ReconcileError> {
    let children = build::children(tenant, made_here, &context.config);
    let build::Children { namespace, service_account, role_binding, resource_quota, limit_range, network_policies } =
        children;
    let name = tenant.own_namespace();
    own(context, namespace, present).await?;
    let written = context.provisioner.apply(&Manifest::Tenant(tenant.clone())).await?;
    apply(&context.namespaced(name), &service_account).await?;
    if let Some(role_binding) = &role_binding {
        apply(&context.namespaced(name), role_binding).await?;
    }
    apply(&context.namespaced(name), &resource_quota).await?;
    apply(&context.namespaced(name), &limit_range).await?;
    for policy in &network_policies {
        apply(&context.namespaced(name), policy).await?;
    }
    let verdict = if tenant.spec.suspended {
        Verdict::ready(reason::SUSPENDED, "suspended: questions are refused and no run starts")
    } else {
        Verdict::ready(reason::RECONCILED, format!("namespace {name} and its rows are there"))
    };
    Ok(Found { verdict, id: Some(TenantId(written.id)), namespace_ready: true })
}

/// Makes the namespace, or brings it in line. If another tenant comes first, this fails, and the next look tells why:
/// a namespace is changed only as it was seen.
async fn own(context: &Context, mut desired: Namespace, present: Option<Namespace>) -> Result<(), ReconcileError> {
    let namespaces = context.cluster::<Namespace>();
    let seen = if let Some(present) = present {
        present
    } else {
        let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        namespaces.create(&params, &desired).await.doing("create the namespace")?
    };
    desired.metadata.uid = seen.metadata.uid;
    desired.metadata.resource_version = seen.metadata.resource_version;
    apply(&namespaces, &desired).await?;
    Ok(())
}

async fn write_status(
    context: &Context,
    api: &Api<Tenant>,
    tenant: &Tenant,
    found: &Found,
) -> Result<(), ReconcileError> {
    let before = tenant.status.as_ref();
    let conditions = before.map_or(&[][..], |status| &status.conditions);
    let generation = tenant.metadata.generation;
    let (word, sentence) = found.verdict.words();
    let mut others = vec![if found.namespace_ready {
        Draft::is("NamespaceReady", reason::RECONCILED, format!("namespace {} is there", tenant.own_namespace()))
    } else {
        Draft::not("NamespaceReady", word, sentence)
    }];
    others.push(if found.id.is_some() {
        Draft::is("DatabaseReady", reason::RECONCILED, "the tenant's rows and database role are there")
    } else {
        Draft::not("DatabaseReady", word, sentence)
    });
    let status = TenantStatus {
        observed_generation: generation,
        namespace: found.namespace_ready.then(|| tenant.own_namespace().to_owned()),
        id: found.id.map(|id| id.to_string()).or_else(|| before.and_then(|before| before.id.clone())),
        conditions: settle(conditions, &found.verdict, others, generation, &now()),
    };
    report(context, api, tenant, (before, conditions), &status, &found.verdict).await
}

/// Chatbots and knowledge sources go first, then the rows, then the namespace.
async fn finalize(context: &Context, api: &Api<Tenant>, tenant: &Tenant) -> Result<Action, ReconcileError> {
    if !tenant.finalizers().iter().any(|finalizer| finalizer == FINALIZER) {
        return Ok(Action::await_change());
    }
    let name = tenant.own_namespace();
    let namespaces = context.cluster::<Namespace>();
    let namespace = namespaces.get_opt(name).await.doing("look at the namespace")?;
    let is_ours = namespace
        .as_ref()
        .is_some_and(|namespace| namespace.labels().get(TENANT_LABEL).is_some_and(|owner| *owner == tenant.name_any()));
    if is_ours {
        let left = delete_all::<Chatbot>(context, name).await? + delete_all::<KnowledgeSource>(context, name).await?;
        if left > 0 {
            let message = format!("{left} chatbots and knowledge sources are still being deleted");
            return waiting(context, api, tenant, message).await;
        }
    }
    if is_ours {
        context.secret_watch.look_away(name);
    }
    match context.provisioner.delete(&Manifest::Tenant(tenant.clone())).await.map_err(ReconcileError::from) {
        Err(error) if !(error.is_of_the_database() && is_forced(tenant)) => return Err(error),
        _ => {}
    }
    if let Some(namespace) =
        namespace.filter(|namespace| is_ours && namespace.annotations().contains_key(build::MADE_HERE))
    {
        if namespace.metadata.deletion_timestamp.is_none() {
            match namespaces.delete(name, &DeleteParams::default()).await {
                Err(error) if !is_not_found(&error) && !is_conflict(&error) => {
                    return Err(error).doing("delete the namespace");
                }
                _ => {}
            }
        }
        return waiting(context, api, tenant, format!("namespace {name} is still being deleted")).await;
    }
    remove_finalizer(api, tenant, FINALIZER).await?;
    Ok(Action::await_change())
}

async fn waiting(
    context: &Context,
    api: &Api<Tenant>,
    tenant: &Tenant,
    message: String,
) -> Result<Action, ReconcileError> {
    let found =
        Found { verdict: Verdict::reconciling(reason::DELETING, message), namespace_ready: true, ..Found::default() };
    write_status(context, api, tenant, &found).await?;
    Ok(Action::requeue(SOON))
}

/// Asks for the deletion of all resources of a kind in a namespace; how many there still are.
async fn delete_all<K>(context: &Context, namespace: &str) -> Result<usize, ReconcileError>
where
    K: crate::controller::Kind + Resource<Scope = k8s_openapi::NamespaceResourceScope>,
{
    let api: Api<K> = context.namespaced(namespace);
    let all = api.list_metadata(&ListParams::default()).await.doing("list what a tenant has")?.items;
    for one in all.iter().filter(|one| one.metadata.deletion_timestamp.is_none()) {
        match api.delete(&one.name_any(), &DeleteParams::default()).await {
            Err(error) if !is_not_found(&error) => return Err(error).doing("delete what a tenant has"),
            _ => {}
        }
    }
    Ok(all.len())
}

/// Whether the rows of a namespace outlive its resources: its Tenant goes, and retains them.
pub fn retains_rows(context: &Context, namespace: &str) -> bool {
    context.tenant_of(namespace).is_some_and(|tenant| {
        tenant.metadata.deletion_timestamp.is_some() && tenant.spec.deletion_policy == DeletionPolicy::Retain
    })
}

#[cfg(test)]
mod tests {
    use docbrain_crds::{ObjectMeta, TenantSpec};

    use super::*;

    fn tenant() -> Tenant {
        let spec: TenantSpec = serde_json::from_value(serde_json::json!({ "displayName": "Acme" })).unwrap();
        Tenant::new("acme", spec)
    }

    fn namespace(owner: Option<&str>) -> Namespace {
        let labels = owner.map(|owner| [(TENANT_LABEL.to_owned(), owner.to_owned())].into());
        Namespace { metadata: ObjectMeta { labels, ..ObjectMeta::default() }, ..Namespace::default() }
    }

    #[test]
    fn a_namespace_is_used_only_by_the_tenant_it_is_labelled_for() {
        let tenant = tenant();
        assert_eq!(standing(&tenant, None), Standing::Usable { made_here: true });
        assert_eq!(standing(&tenant, Some(&namespace(Some("acme")))), Standing::Usable { made_here: false });
        assert_eq!(standing(&tenant, Some(&namespace(None))), Standing::Taken { owner: None });
        let other = Some("other".to_owned());
        assert_eq!(standing(&tenant, Some(&namespace(Some("other")))), Standing::Taken { owner: other });
    }
}
