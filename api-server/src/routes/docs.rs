//! The OpenAPI document, and pages to read and try it offline.

use axum::Router;
use axum::http::HeaderValue;
use axum::http::header::CONTENT_SECURITY_POLICY;
use axum::middleware::map_response;
use axum::response::Response;
use utoipa::OpenApi as _;
use utoipa::openapi::OpenApi;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa_swagger_ui::{Config, SwaggerUi};

use crate::problem::{ProblemBody, ProblemKind};
use crate::state::AppState;

/// Name of the security scheme.
pub(super) const ADMIN_TOKEN: &str = "admin_token";

const INTRODUCTION: &str = "\
Chatbots that answer from documents, with citations.

Every route but the health checks and the metrics wants the installation's admin token as `Authorization: Bearer …`. \
An installation with several tenants wants the tenant's name in the header `X-DocBrain-Tenant`.

Every refusal is a problem (RFC 9457, `application/problem+json`) whose `code` is one of:

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
        components(schemas(ProblemBody, ProblemKind)),
        tags(
            (name = "conversations", description = "Questions and cited answers"),
            (name = "chatbots", description = "Chatbots of a tenant"),
            (name = "documents", description = "What a chatbot knows"),
            (name = "providers", description = "A tenant's own model servers"),
            (name = "runs", description = "Ingestion as it happens"),
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
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("The installation's admin token."));
    let components = document.components.get_or_insert_default();
    components.security_schemes.insert(ADMIN_TOKEN.to_owned(), SecurityScheme::Http(bearer.build()).into());
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
