//! The OpenAPI document, and pages to read and try it offline.

use axum::Router;
use axum::http::HeaderValue;
use axum::http::header::CONTENT_SECURITY_POLICY;
use axum::middleware::map_response;
use axum::response::Response;
use docbrain_crds::manifest::Kind;
use utoipa::OpenApi as _;
use utoipa::openapi::OpenApi;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa_swagger_ui::{Config, SwaggerUi};

use crate::problem::{OpenAiProblem, ProblemBody, ProblemKind};
use crate::state::AppState;

mod spec;

/// Names of the security schemes; any one of them will do.
pub(super) const SCHEMES: [&str; 2] = ["bearer", "session"];

const INTRODUCTION: &str = "\
Chatbots that answer from documents, with citations.

A caller shows who it is by `Authorization: Bearer …` with an access token (`POST /auth/login`), an API token of a tenant \
(`POST /tokens`), a visitor's session token (`POST /widget/session`) or the installation's admin token; or by the cookie of a \
browser's session, whose changes need the header `X-CSRF-Token` as well. Who belongs to several tenants names one in the header \
`X-DocBrain-Tenant`. Each operation says in `x-caller` who may call it: `public`, `visitor`, `viewer`, `editor`, `admin`, \
`account` or `superuser`.

Every refusal is a problem (RFC 9457, `application/problem+json`; below `/v1/` in the form of the OpenAI API) whose \
`code` is one of:

";

/// The API as OpenAPI 3.1 describes it.
pub fn openapi() -> OpenApi {
    super::table().into_openapi()
}

/// The document without any route.
pub(super) fn frame() -> OpenApi {
    #[derive(utoipa::OpenApi)]
    #[openapi(
        info(title = "DocBrain API", license(name = "Apache-2.0", identifier = "Apache-2.0")),
        components(schemas(OpenAiProblem, ProblemBody, ProblemKind)),
        tags(
            (name = "accounts", description = "Signing in, members, tokens"),
            (name = "conversations", description = "Questions and cited answers"),
            (name = "openai", description = "For clients of the OpenAI API: a chatbot is a model"),
            (name = "mcp", description = "For clients of the Model Context Protocol: a chatbot is a server"),
            (name = "chatbots", description = "Chatbots of a tenant"),
            (name = "sources", description = "Where documents come from"),
            (name = "documents", description = "What a chatbot knows"),
            (name = "statistics", description = "Chats, counted"),
            (name = "providers", description = "A tenant's own model servers"),
            (name = "runs", description = "Ingestion as it happens"),
            (name = "tenants", description = "Settings of a tenant, and tenants of an installation"),
            (name = "widget", description = "Visitors of pages that embed a chatbot"),
            (name = "operation", description = "For load balancers and monitoring"),
        )
    )]
    struct Frame;

    let mut document = Frame::openapi();
    let kinds = ProblemKind::ALL.iter();
    let rows: Vec<String> =
        kinds.map(|kind| format!("| `{}` | {} | {} |", kind.code(), kind.status().as_u16(), kind.title())).collect();
    document.info.description =
        Some(format!("{INTRODUCTION}| code | status | meaning |\n|---|---|---|\n{}", rows.join("\n")));
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(
        "An access token, an API token, a visitor's session token or the installation's admin token.",
    ));
    let cookie = ApiKeyValue::with_description(
        "__Host-docbrain",
        "A browser's session; `docbrain` where the installation is reached by plain HTTP.",
    );
    let schemes = [SecurityScheme::Http(bearer.build()), SecurityScheme::ApiKey(ApiKey::Cookie(cookie))];
    let components = document.components.get_or_insert_default();
    components.security_schemes.extend(SCHEMES.map(str::to_owned).into_iter().zip(schemes.map(Into::into)));
    for kind in [Kind::Tenant, Kind::Chatbot, Kind::KnowledgeSource] {
        components.schemas.insert(format!("{}Spec", kind.name()), spec::schema(kind));
    }
    document
}

/// `/openapi.json`, and Swagger UI at `/docs` out of this program: nothing is loaded from elsewhere.
pub(super) fn pages(document: OpenApi) -> Router<AppState> {
    const POLICY: HeaderValue = HeaderValue::from_static(
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; \
         base-uri 'none'; frame-ancestors 'none'",
    );
    let config = Config::default().validator_url("none").try_it_out_enabled(true);
    Router::from(SwaggerUi::new("/docs").config(config).url("/openapi.json", document)).layer(map_response(
        async |mut response: Response| {
            response.headers_mut().insert(CONTENT_SECURITY_POLICY, POLICY);
            response
        },
    ))
}
