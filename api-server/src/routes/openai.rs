//! The OpenAI API: a chatbot is a model, so that what speaks to OpenAI can ask a chatbot.

use axum::Json as Reply;
use axum::extract::{FromRef, State};
use axum::response::sse::Event;
use axum::response::{IntoResponse, Response};
use chrono::Utc;
use docbrain_core::answer::Question;
use docbrain_core::ids::ConversationId;
use docbrain_core::store::conversations::Channel;
use docbrain_core::store::{self, Pool, TenantTx};
use futures::{StreamExt, stream};

use super::chat::asked::{self, Ask, Asked, Step};
use crate::access::TenantAccess;
use crate::extract::{Json, Path};
use crate::middleware::log_causes;
use crate::problem::{OpenAiProblem, Problem};
use crate::sse;
use crate::state::AppState;

mod chunk;
mod reply;
mod request;

use chunk::Chunk;
use reply::{ChatCompletion, Header, Model, ModelList};
use request::CompletionRequest;

/// Largest body of a request, in bytes: clients send the whole conversation each time.
pub(super) const MAX_BODY_BYTES: usize = 1024 * 1024;

/// Ask a chatbot in the form of the OpenAI API
///
/// `model` is the chatbot's name or id. The last message is the question, earlier ones of user and assistant are what
/// it is understood by. System and developer messages are ignored: the chatbot's own instructions rule. So are tools and
/// the settings of sampling. Each request is kept as a conversation of its own. What an answer cites stands in
/// `message.annotations`; of a stream, in the last delta that has any.
#[utoipa::path(
    post, path = "/v1/chat/completions", tag = "openai", request_body = CompletionRequest,
    extensions(("x-problems" = json!([
        "chatbot_not_found", "chatbot_suspended", "model_failed", "model_refused", "model_unavailable", "embedding_unavailable",
        "model_busy", "model_timeout"
    ]))),
    responses((status = 200, description = "The answer", content(
        (ChatCompletion = "application/json"),
        (sse::EventBody = "text/event-stream", example = "data: {\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Call \"}}]}\n\ndata: [DONE]\n\n")
    )))
)]
pub(crate) async fn create_completion(
    State(state): State<AppState>,
    access: TenantAccess,
    Json(request): Json<CompletionRequest>,
) -> Result<Response, Problem> {
    let (text, history) = request.question()?;
    let bot = asked::open(&Pool::from_ref(&state), &access, &request.model).await?;
    let question = Question { text: asked::question("content", &text)?.to_owned(), history };
    let conversation = ConversationId::new();
    let asked = Asked::begin(&state, Ask { access, bot, question, conversation, channel: Channel::OpenAi }).await?;
    let header = Header::new(conversation, Utc::now(), request.model.clone());
    if request.wants_stream() {
        Ok(tell(asked, header, request.wants_usage()))
    } else {
        Ok(Reply(ChatCompletion::new(header, asked.reply().await?)).into_response())
    }
}

/// The answer as it comes. When the client goes away the stream is dropped, and the model with it.
fn tell(asked: Asked, header: Header, with_usage: bool) -> Response {
    let first = data(&Chunk::role(&header));
    let rest = asked.steps().flat_map(move |step| {
        stream::iter(match step {
            Ok(Step::Text(text)) => vec![data(&Chunk::text(&header, text))],
            Ok(Step::Reply(reply)) => {
                let mut events: Vec<Event> = Chunk::of_end(&header, &reply, with_usage).iter().map(data).collect();
                events.push(Event::default().data("[DONE]"));
                events
            }
            Err(problem) => {
                log_causes(&problem);
                vec![data(&OpenAiProblem::from(&problem))]
            }
        })
    });
    sse::response(stream::iter([first]).chain(rest))
}

fn data(body: &impl serde::Serialize) -> Event {
    Event::default().json_data(body).expect("bodies are JSON")
}

/// The chatbots as models
///
/// Suspended ones are left out.
#[utoipa::path(
    get, path = "/v1/models", tag = "openai",
    responses((status = 200, description = "The models by name", body = ModelList))
)]
pub(crate) async fn list_models(State(pool): State<Pool>, access: TenantAccess) -> Result<Reply<ModelList>, Problem> {
    let mut tx = TenantTx::begin(&pool, access.tenant).await?;
    let chatbots = store::chatbots::list(&mut tx).await?;
    tx.commit().await?;
    let answering = chatbots.into_iter().filter(|chatbot| !chatbot.suspended);
    Ok(Reply(ModelList::new(answering.map(|chatbot| Model::new(chatbot.name, chatbot.id)).collect())))
}

/// A chatbot as a model
#[utoipa::path(
    get, path = "/v1/models/{model}", tag = "openai", params(("model" = String, Path, description = "Name or id of the chatbot")),
    extensions(("x-problems" = json!(["chatbot_not_found", "chatbot_suspended"]))),
    responses((status = 200, description = "The model", body = Model))
)]
pub(crate) async fn get_model(
    State(pool): State<Pool>,
    access: TenantAccess,
    Path(model): Path<String>,
) -> Result<Reply<Model>, Problem> {
    let bot = asked::open(&pool, &access, &model).await?;
    Ok(Reply(Model::new(bot.name, bot.id)))
}
