//! Files that become documents.
//!
//! Each file is stored in a transaction of its own as it arrives, so that a request of any number of files needs the
//! memory of one. Whatever ends the request, what was stored gets its run.

use axum::Json;
use axum::extract::State;
use axum::extract::multipart::{Field, Multipart, MultipartError, MultipartRejection};
use axum::http::header::CONTENT_LENGTH;
use axum::http::{HeaderMap, StatusCode};
use docbrain_core::ids::{DocumentId, KnowledgeSourceId, RunId, TenantId};
use docbrain_core::limits::Limits;
use docbrain_core::store::chatbots::{self, ChatbotRef};
use docbrain_core::store::documents::{self, NewDocument, Put};
use docbrain_core::store::{Pool, TenantTx, runs, sources};
use docbrain_core::telemetry::metrics;
use serde::{Deserialize, Serialize};
use tokio::sync::OwnedSemaphorePermit;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::access::TenantAccess;
use crate::limit;
use crate::middleware::RequestId;
use crate::problem::{Problem, ProblemKind};

pub(crate) mod memory;
mod path;

use memory::UploadMemory;

/// Largest file, in bytes: 200 MiB and a little.
const MAX_FILE_BYTES: usize = 201 * 1024 * 1024;
/// Longest value of a field that is no file, in bytes.
const MAX_FIELD_BYTES: usize = 1_024;

/// Files for a knowledge source. The fields come before the files.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "it describes a form, which is read field by field")]
struct UploadForm {
    /// Name or id of the chatbot whose knowledge source the files are for.
    #[schema(example = "demo", nullable = false)]
    chatbot: Option<String>,
    /// Name of the knowledge source; needed when no chatbot is named, or one with several knowledge sources.
    #[schema(nullable = false)]
    source: Option<String>,
    /// `true`: documents of the knowledge source that are not in this request are deleted.
    #[schema(nullable = false)]
    replace_all: Option<bool>,
    /// The files. A file's name is the document's path: the same path again replaces the document.
    #[schema(min_items = 1, format = Binary, content_media_type = "application/octet-stream")]
    file: Vec<String>,
}

/// What became of an upload.
#[derive(Serialize, ToSchema)]
pub(crate) struct Accepted {
    /// The run that indexes the files; null when there is nothing to index.
    run_id: Option<Uuid>,
    /// The documents, in the order of the files.
    documents: Vec<AcceptedDocument>,
}

/// A file that was stored.
#[derive(Serialize, ToSchema)]
struct AcceptedDocument {
    /// Its document.
    id: Uuid,
    /// The document's path.
    #[schema(example = "guide/install.md")]
    path: String,
    /// `pending`: the run indexes it; `unchanged`: the same content is indexed already.
    status: AcceptedStatus,
}

#[derive(Clone, Copy, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum AcceptedStatus {
    Pending,
    Unchanged,
}

/// Upload files to be indexed
#[utoipa::path(
    post, path = "/document/ingest", tag = "documents",
    request_body(content = UploadForm, content_type = "multipart/form-data"),
    extensions(("x-problems" = json!([
        "bad_request", "chatbot_not_found", "knowledge_source_not_found", "knowledge_source_suspended", "knowledge_source_not_for_uploads", "quota_exceeded",
        "rate_limited", "busy", "body_too_large",
        "unsupported_media_type", "invalid_field", "invalid_path", "knowledge_source_required"
    ]))),
    responses((status = 202, body = Accepted, description = "The files are stored; the run indexes them"))
)]
pub(crate) async fn create_documents(
    State(pool): State<Pool>,
    State(limits): State<Limits>,
    State(memory): State<UploadMemory>,
    TenantAccess { tenant, .. }: TenantAccess,
    request_id: RequestId,
    headers: HeaderMap,
    form: Result<Multipart, MultipartRejection>,
) -> Result<(StatusCode, Json<Accepted>), Problem> {
    let form = form.map_err(|rejection| Problem::new(ProblemKind::UnsupportedMediaType, rejection.body_text()))?;
    limit::admit_upload(&limits, &pool, tenant).await?;
    let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    let upload = Upload {
        _memory: memory.reserve(length).await?,
        pool,
        tenant,
        request_id,
        chatbot: None,
        source_name: None,
        source: None,
        replace_all: false,
        documents: Vec::new(),
    };
    Ok((StatusCode::ACCEPTED, Json(upload.receive(form).await?)))
}

struct Upload {
    _memory: OwnedSemaphorePermit,
    pool: Pool,
    tenant: TenantId,
    request_id: RequestId,
    chatbot: Option<String>,
    source_name: Option<String>,
    /// Known from the first file on.
    source: Option<KnowledgeSourceId>,
    replace_all: bool,
    documents: Vec<AcceptedDocument>,
}

impl Upload {
    async fn receive(mut self, form: Multipart) -> Result<Accepted, Problem> {
        let read = self.read(form).await;
        let run_id = match self.source {
            Some(source) => self.finish(source, read.is_ok()).await?,
            None => None,
        };
        let stored = self.documents.len();
        match read {
            Ok(()) => Ok(Accepted { run_id: run_id.map(|run| run.0), documents: self.documents }),
            Err(problem) if stored > 0 => Err(problem.also(&format!("files before it were stored: {stored}"))),
            Err(problem) => Err(problem),
        }
    }

    async fn read(&mut self, mut form: Multipart) -> Result<(), Problem> {
        while let Some(field) = form.next_field().await.map_err(|error| unreadable(&error))? {
            match field.name().unwrap_or_default() {
                "file" => self.store(field).await?,
                "chatbot" => self.chatbot = Some(self.text(field).await?),
                "source" => self.source_name = Some(self.text(field).await?),
                "replace_all" => self.replace_all = flag(&self.text(field).await?)?,
                other => {
                    let detail = format!(
                        "the form has no field {other:?}; its fields are `chatbot`, `source`, `replace_all` and `file`"
                    );
                    return Err(Problem::new(ProblemKind::InvalidField, detail));
                }
            }
        }
        if self.source.is_none() {
            return Err(Problem::new(ProblemKind::InvalidField, "the form has no field `file` with a file name"));
        }
        Ok(())
    }

    /// The value of a field that is no file.
    async fn text(&self, mut field: Field<'_>) -> Result<String, Problem> {
        let name = field.name().unwrap_or_default().to_owned();
        if self.source.is_some() && name != "replace_all" {
            return Err(Problem::new(
                ProblemKind::InvalidField,
                format!("the field `{name}` must come before the first file"),
            ));
        }
        let bytes = limited(&mut field, MAX_FIELD_BYTES).await?;
        let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok()).filter(|text| !text.contains('\0'));
        text.ok_or_else(|| {
            Problem::new(
                ProblemKind::InvalidField,
                format!("the field `{name}` is no text of at most {MAX_FIELD_BYTES} bytes"),
            )
        })
    }

    async fn store(&mut self, mut field: Field<'_>) -> Result<(), Problem> {
        let source = match self.source {
            Some(source) => source,
            None => self.find_source().await?,
        };
        self.source = Some(source);
        let path = path::checked(field.file_name().unwrap_or_default())?;
        let too_large = || {
            Problem::new(ProblemKind::BodyTooLarge, format!("the file {path:?} is larger than {MAX_FILE_BYTES} bytes"))
        };
        let bytes = limited(&mut field, MAX_FILE_BYTES).await?.ok_or_else(too_large)?;
        let mut tx = TenantTx::begin(&self.pool, self.tenant).await?;
        let put = documents::put(&mut tx, source, &NewDocument { path: &path, url: None, bytes: &bytes }).await?;
        tx.commit().await?;
        metrics().uploads_total.inc();
        let status = match put {
            Put::Pending(_) => AcceptedStatus::Pending,
            Put::Unchanged(_) => AcceptedStatus::Unchanged,
        };
        self.documents.push(AcceptedDocument { id: put.id().0, path, status });
        Ok(())
    }

    async fn find_source(&self) -> Result<KnowledgeSourceId, Problem> {
        let mut tx = TenantTx::begin(&self.pool, self.tenant).await?;
        let of_chatbot = match &self.chatbot {
            Some(chatbot) => Some(chatbots::get(&mut tx, &ChatbotRef::from(chatbot.as_str())).await?.sources),
            None => None,
        };
        let source = match (&self.source_name, of_chatbot.as_deref()) {
            (Some(name), _) => sources::by_name(&mut tx, name).await?,
            (None, Some(&[only])) => sources::get(&mut tx, only).await?,
            (None, of_chatbot) => return Err(source_required(of_chatbot)),
        };
        tx.commit().await?;
        if of_chatbot.is_some_and(|of_chatbot| !of_chatbot.contains(&source.id)) {
            return Err(Problem::new(
                ProblemKind::KnowledgeSourceNotFound,
                "the chatbot has no knowledge source of that name",
            ));
        }
        if source.spec.source.upload.is_none() {
            return Err(Problem::new(
                ProblemKind::KnowledgeSourceNotForUploads,
                format!(
                    "its documents are fetched from its {}; name another in the field `source`",
                    source.spec.source.origin()
                ),
            ));
        }
        if source.suspended {
            return Err(Problem::new(
                ProblemKind::KnowledgeSourceSuspended,
                "no file was stored; resume the knowledge source first",
            ));
        }
        Ok(source.id)
    }

    /// Asks for the run, and, where the whole request was read, removes what a mirror does not hold.
    async fn finish(&self, source: KnowledgeSourceId, complete: bool) -> Result<Option<RunId>, Problem> {
        let mut tx = TenantTx::begin(&self.pool, self.tenant).await?;
        if complete && self.replace_all {
            let keep: Vec<DocumentId> = self.documents.iter().map(|document| document.id.into()).collect();
            documents::delete_others(&mut tx, source, &keep).await?;
        }
        let run = if self.documents.iter().any(|document| document.status == AcceptedStatus::Pending) {
            let run = runs::enqueue(&mut tx, source, &format!("upload:{}", Uuid::now_v7())).await?;
            runs::note_request(&mut tx, run, &self.request_id.to_string()).await?;
            Some(run)
        } else {
            None
        };
        tx.commit().await?;
        Ok(run)
    }
}

fn source_required(of_chatbot: Option<&[KnowledgeSourceId]>) -> Problem {
    let detail = match of_chatbot {
        None => "name a `chatbot` or a `source` before the first file",
        Some([]) => "the chatbot has no knowledge source yet; apply one first",
        Some(_) => "the chatbot has several knowledge sources; name one in the field `source`, before the first file",
    };
    Problem::new(ProblemKind::KnowledgeSourceRequired, detail)
}

fn flag(text: &str) -> Result<bool, Problem> {
    text.parse().map_err(|_| Problem::new(ProblemKind::InvalidField, "the field `replace_all` is `true` or `false`"))
}

/// The bytes of a field; `None` when there are more than `most`.
async fn limited(field: &mut Field<'_>, most: usize) -> Result<Option<Vec<u8>>, Problem> {
    let mut bytes = Vec::new();
    while let Some(piece) = field.chunk().await.map_err(|error| unreadable(&error))? {
        if bytes.len() + piece.len() > most {
            return Ok(None);
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(Some(bytes))
}

fn unreadable(error: &MultipartError) -> Problem {
    Problem::new(ProblemKind::of_status(error.status()), error.body_text())
}
