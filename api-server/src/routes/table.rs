//! A table of routes in which each one is declared with its caller, in the router and in the OpenAPI document alike.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::http::header::RETRY_AFTER;
use axum::middleware::from_fn_with_state;
use axum::routing::MethodRouter;
use tower_http::timeout::TimeoutLayer;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn, PathItem};
use utoipa::openapi::security::SecurityRequirement;
use utoipa::openapi::{Content, ObjectBuilder, OpenApi, Ref, RefOr, Required, ResponseBuilder, Type};
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter};

use super::docs;
use crate::access::{self, TENANT_HEADER};
use crate::idempotency::IDEMPOTENCY_KEY;
use crate::problem::{MEDIA_TYPE, ProblemKind};
use crate::state::AppState;

/// Who may call a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Caller {
    /// Everybody who can reach the address.
    Public,
    /// Whoever shows the admin token, for one tenant at a time.
    Admin,
}

/// Routes by caller.
pub(crate) struct Table {
    public: OpenApiRouter<AppState>,
    admin: OpenApiRouter<AppState>,
}

impl Table {
    pub(crate) fn new() -> Self {
        Self { public: OpenApiRouter::with_openapi(docs::frame()), admin: OpenApiRouter::default() }
    }

    /// Adds a route that stands in the OpenAPI document, and answers within half a minute.
    pub(crate) fn route(self, caller: Caller, routes: UtoipaMethodRouter<AppState>) -> Self {
        self.route_within(Duration::from_secs(30), caller, routes)
    }

    /// Adds a route that stands in the OpenAPI document, and answers, or begins to stream, within `limit`.
    pub(crate) fn route_within(
        mut self,
        limit: Duration,
        caller: Caller,
        (schemas, mut paths, methods): UtoipaMethodRouter<AppState>,
    ) -> Self {
        let methods = methods.layer(TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, limit));
        paths.paths.values_mut().flat_map(operations).for_each(|operation| describe(operation, caller));
        let routes = (schemas, paths, methods);
        match caller {
            Caller::Public => self.public = self.public.routes(routes),
            Caller::Admin => self.admin = self.admin.routes(routes),
        }
        self
    }

    /// Adds a page, which everybody may read.
    pub(crate) fn page(mut self, path: &str, methods: MethodRouter<AppState>) -> Self {
        self.public = self.public.route(path, methods);
        self
    }

    pub(crate) fn into_router(self, state: &AppState) -> Router<AppState> {
        let guard = from_fn_with_state(state.clone(), access::require_admin);
        let Self { public, admin } = self;
        let (routes, openapi) = public.merge(admin.route_layer(guard)).split_for_parts();
        routes.merge(docs::pages(openapi))
    }

    pub(crate) fn into_openapi(self) -> OpenApi {
        self.public.merge(self.admin).into_openapi()
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.post, &mut item.put, &mut item.patch, &mut item.delete].into_iter().flatten()
}

/// Says who may call an operation, and writes out its problems: a handler lists the codes of its own as `x-problems`.
fn describe(operation: &mut Operation, caller: Caller) {
    let listed =
        operation.extensions.as_mut().and_then(|extensions| extensions.remove("x-problems")).unwrap_or_default();
    let codes: Vec<String> = serde_json::from_value(listed).unwrap_or_default();
    let mut kinds: Vec<_> =
        codes.iter().map(|code| ProblemKind::named(code).expect("`x-problems` lists codes of problems")).collect();
    if operation.extensions.as_ref().is_some_and(|extensions| extensions.is_empty()) {
        operation.extensions = None;
    }
    if caller == Caller::Admin {
        kinds.extend([
            ProblemKind::Unauthorized,
            ProblemKind::TenantRequired,
            ProblemKind::TenantNotFound,
            ProblemKind::Internal,
            ProblemKind::DatabaseUnavailable,
            ProblemKind::TimedOut,
        ]);
        operation.security = Some(vec![SecurityRequirement::new(docs::ADMIN_TOKEN, Vec::<String>::new())]);
        let tenant = ParameterBuilder::new()
            .name(TENANT_HEADER)
            .parameter_in(ParameterIn::Header)
            .required(Required::False)
            .description(Some("Name of the tenant; may be left out while there is only one."))
            .schema(Some(ObjectBuilder::new().schema_type(Type::String)))
            .build();
        operation.parameters.get_or_insert_default().push(tenant.into());
    }
    if takes_idempotency_key(operation) {
        kinds.extend([
            ProblemKind::IdempotencyKeyInUse,
            ProblemKind::AlreadyCreated,
            ProblemKind::IdempotencyKeyReused,
            ProblemKind::InvalidField,
        ]);
    }
    let mut by_status: BTreeMap<u16, Vec<ProblemKind>> = BTreeMap::new();
    for kind in kinds {
        let kinds = by_status.entry(kind.status().as_u16()).or_default();
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    for (status, kinds) in by_status {
        let lines: Vec<String> = kinds.iter().map(|kind| format!("`{}`: {}", kind.code(), kind.title())).collect();
        let problem = Content::new(Some(Ref::from_schema_name("ProblemBody")));
        let mut response = ResponseBuilder::new().description(lines.join("  \n")).content(MEDIA_TYPE, problem);
        if matches!(status, 429 | 503) {
            let pause = HeaderBuilder::new()
                .schema(Some(ObjectBuilder::new().schema_type(Type::Integer)))
                .description(Some("Seconds until the same request may succeed, where that is known."));
            response = response.header(RETRY_AFTER.as_str(), pause.build());
        }
        operation.responses.responses.insert(status.to_string(), response.build().into());
    }
}

fn takes_idempotency_key(operation: &Operation) -> bool {
    let is_key = |parameter: &RefOr<Parameter>| matches!(parameter, RefOr::T(parameter) if parameter.name.eq_ignore_ascii_case(IDEMPOTENCY_KEY.as_str()));
    operation.parameters.iter().flatten().any(is_key)
}

#[cfg(test)]
mod tests {
    use utoipa_axum::routes;

    use super::*;
    use crate::idempotency::IdempotencyKey;

    /// Create a thing
    #[utoipa::path(post, path = "/things", params(IdempotencyKey), responses((status = 201, description = "It is there")))]
    async fn create_thing() {}

    #[test]
    fn a_route_that_takes_an_idempotency_key_says_what_becomes_of_it() {
        let document = Table::new().route(Caller::Public, routes!(create_thing)).into_openapi();
        let document = serde_json::to_value(document).unwrap();
        let operation = &document["paths"]["/things"]["post"];
        assert_eq!(
            (&operation["parameters"][0]["name"], &operation["parameters"][0]["in"]),
            (&"Idempotency-Key".into(), &"header".into())
        );
        assert_eq!(operation["parameters"][0]["required"], false);
        for (status, code) in
            [("409", "idempotency_key_in_use"), ("409", "already_created"), ("422", "idempotency_key_reused")]
        {
            assert!(operation["responses"][status]["description"].as_str().unwrap().contains(code), "{operation}");
        }
    }
}
