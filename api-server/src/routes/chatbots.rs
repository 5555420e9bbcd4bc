//! Chatbots of a tenant.

use axum::Json;
use axum::extract::State;
use docbrain_core::store::chatbots::ChatbotSummary;
use docbrain_core::store::{self, Pool, TenantTx};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::access::AdminTenant;
use crate::problem::Problem;

/// The chatbots of a tenant.
#[derive(Serialize, ToSchema)]
pub(crate) struct ChatbotList {
    /// By name.
    chatbots: Vec<ChatbotBody>,
}

/// A chatbot.
#[derive(Serialize, ToSchema)]
struct ChatbotBody {
    /// Its id.
    id: Uuid,
    /// Its name, unique within the tenant.
    #[schema(example = "demo")]
    name: String,
    /// The name shown to visitors.
    #[schema(example = "DocBrain demo")]
    display_name: String,
    /// Whether its tenant, or it, is suspended.
    suspended: bool,
    /// Names of the knowledge sources it answers from.
    #[schema(example = json!(["docs"]))]
    knowledge_sources: Vec<String>,
}

/// All chatbots of the tenant
#[utoipa::path(get, path = "/chatbots", tag = "chatbots", responses((status = 200, description = "The chatbots by name", body = ChatbotList)))]
pub(crate) async fn list_chatbots(State(pool): State<Pool>, admin: AdminTenant) -> Result<Json<ChatbotList>, Problem> {
    let mut tx = TenantTx::begin(&pool, admin.tenant).await?;
    let chatbots = store::chatbots::list(&mut tx).await?;
    tx.commit().await?;
    Ok(Json(ChatbotList { chatbots: chatbots.into_iter().map(Into::into).collect() }))
}

impl From<ChatbotSummary> for ChatbotBody {
    fn from(chatbot: ChatbotSummary) -> Self {
        Self {
            id: chatbot.id.0,
            name: chatbot.name,
            display_name: chatbot.spec.display_name,
            suspended: chatbot.suspended,
            knowledge_sources: chatbot.spec.knowledge_sources.into_iter().map(|source| source.name).collect(),
        }
    }
}
