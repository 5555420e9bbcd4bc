//! The tools of a chatbot.

use docbrain_core::answer::Question;
use docbrain_core::ids::ConversationId;
use docbrain_core::retrieve::Passage;
use docbrain_core::store::chatbots::ChatbotRow;
use docbrain_core::store::conversations::Channel;
use docbrain_core::telemetry::Scope;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, Implementation, JsonObject, ListToolsResult,
    PaginatedRequestParams, ServerCapabilities, ServerConfig, Tool, ToolAnnotations,
};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer, ServerHandler};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::access::TenantAccess;
use crate::middleware::log_causes;
use crate::problem::{Problem, ProblemKind};
use crate::routes::chat::asked::{self, Ask, Asked};
use crate::routes::chat::wire::{ChatReply, CitationBody};
use crate::state::AppState;

/// Passages that a search gives, unless it says otherwise.
const PASSAGES: u32 = 5;
const MOST_PASSAGES: u32 = 20;

/// A chatbot as a server, for one request.
#[derive(Clone)]
pub(super) struct Tools {
    pub(super) state: AppState,
    pub(super) access: TenantAccess,
    pub(super) bot: ChatbotRow,
    pub(super) scope: Scope,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SearchRequest {
    /// What to look for, in a sentence or a few words.
    #[schemars(length(min = 1, max = 4000))]
    question: String,
    /// Most passages to give; 5 unless said otherwise.
    #[schemars(range(min = 1, max = 20))]
    top_k: Option<u32>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Found {
    /// The passages, best first.
    passages: Vec<FoundPassage>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct FoundPassage {
    /// The passage in Markdown.
    text: String,
    /// Title of its document.
    title: String,
    /// Where the document can be opened.
    url: Option<String>,
    /// The document's path within its knowledge source.
    path: String,
    /// Headings from the outermost to the one it stands under.
    heading_path: Vec<String>,
    /// How well it fits, 0 to 1.
    score: f32,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct AskRequest {
    /// The question, in any language. It must say all that is needed to understand it.
    #[schemars(length(min = 1, max = 4000))]
    question: String,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Answered {
    /// Markdown, with citations as `[1]`.
    answer: String,
    /// Whether the documents hold an answer.
    answerable: bool,
    /// What the answer cites, by number.
    citations: Vec<Cited>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Cited {
    /// The number in the text.
    number: u32,
    /// Title of the document.
    title: String,
    /// Where the document can be opened.
    url: Option<String>,
    /// The document's path within its knowledge source.
    path: String,
    /// Headings from the outermost to the one the passage stands under.
    heading_path: Vec<String>,
    /// The words that bear the answer.
    quote: String,
}

impl Tools {
    fn all(&self) -> [Tool; 2] {
        let name = &self.bot.spec.display_name;
        let reads = || ToolAnnotations::new().read_only(true).destructive(false).idempotent(true).open_world(false);
        [
            Tool::new(
                "search",
                format!("Finds passages in the documents of {name}. Use it to read what they say word for word."),
                JsonObject::new(),
            )
            .with_title(format!("Search the documents of {name}"))
            .with_input_schema::<SearchRequest>()
            .with_output_schema::<Found>()
            .with_annotations(reads()),
            Tool::new(
                "ask",
                format!("Asks {name}, which answers from its documents alone, with citations."),
                JsonObject::new(),
            )
            .with_title(format!("Ask {name}"))
            .with_input_schema::<AskRequest>()
            .with_output_schema::<Answered>()
            .with_annotations(reads().idempotent(false)),
        ]
    }

    async fn search(&self, request: SearchRequest) -> Result<Found, Problem> {
        let question = asked::question("question", &request.question)?;
        let top_k = request.top_k.unwrap_or(PASSAGES);
        if !(1..=MOST_PASSAGES).contains(&top_k) {
            return Err(Problem::new(ProblemKind::InvalidField, "`top_k` must be 1 to 20"));
        }
        let found = asked::find(&self.state, &self.access, &self.bot, question, Some(top_k)).await?;
        Ok(Found { passages: found.passages.into_iter().map(Into::into).collect() })
    }

    async fn ask(&self, request: AskRequest) -> Result<Answered, Problem> {
        let text = asked::question("question", &request.question)?.to_owned();
        let ask = Ask {
            access: self.access.clone(),
            bot: self.bot.clone(),
            question: Question { text, history: Vec::new() },
            conversation: ConversationId::new(),
            channel: Channel::Mcp,
        };
        Ok(Asked::begin(&self.state, ask).await?.reply().await?.into())
    }

    /// What came of a call, as the model that called it reads it.
    fn told(&self, result: Result<impl Serialize, Problem>) -> CallToolResult {
        match result {
            Ok(found) => CallToolResult::structured(serde_json::to_value(found).expect("results are JSON")),
            Err(problem) => {
                self.scope.enter(|| log_causes(&problem));
                CallToolResult::error(vec![ContentBlock::text(problem.sentence())])
            }
        }
    }
}

impl ServerHandler for Tools {
    fn get_info(&self) -> ServerConfig {
        let server = Implementation::new("docbrain", env!("CARGO_PKG_VERSION")).with_title(&self.bot.spec.display_name);
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build()).with_server_info(server)
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(self.all().into()))
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        self.all().into_iter().find(|tool| tool.name == name)
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let arguments = request.arguments.unwrap_or_default();
        let result = match request.name.as_ref() {
            "search" => self.told(self.search(read(arguments)?).await),
            "ask" => self.told(self.ask(read(arguments)?).await),
            _ => return Err(ErrorData::invalid_params("there is no such tool; `search` and `ask` are there", None)),
        };
        Ok(result.into())
    }
}

fn read<T: DeserializeOwned>(arguments: JsonObject) -> Result<T, ErrorData> {
    serde_json::from_value(arguments.into()).map_err(|error| ErrorData::invalid_params(error.to_string(), None))
}

impl From<Passage> for FoundPassage {
    fn from(passage: Passage) -> Self {
        Self {
            text: passage.text,
            title: passage.title,
            url: passage.url,
            path: passage.path,
            heading_path: passage.heading_path,
            score: passage.score,
        }
    }
}

impl From<ChatReply> for Answered {
    fn from(reply: ChatReply) -> Self {
        let citations = reply.citations.into_iter().map(Into::into).collect();
        Self { answer: reply.answer, answerable: reply.answerable, citations }
    }
}

impl From<CitationBody> for Cited {
    fn from(citation: CitationBody) -> Self {
        Self {
            number: citation.number,
            title: citation.title,
            url: citation.url,
            path: citation.path,
            heading_path: citation.heading_path,
            quote: citation.quote,
        }
    }
}
