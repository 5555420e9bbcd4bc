//! A table of routes in which each one is declared with its caller, in the router and in the OpenAPI document alike.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Router;
use axum::extract::FromRef;
use axum::http::StatusCode;
use axum::http::header::RETRY_AFTER;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::MethodRouter;
use serde_json::json;
use tower_http::timeout::TimeoutLayer;
use utoipa::openapi::extensions::ExtensionsBuilder;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn, PathItem};
use utoipa::openapi::security::SecurityRequirement;
use utoipa::openapi::{Content, ObjectBuilder, OpenApi, Ref, RefOr, Required, ResponseBuilder, Schema, Type};
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter};

use super::docs;
use crate::access::caller::{self, Guard};
use crate::access::{AccessControl, Caller, TENANT_HEADER};
use crate::client_ip::TrustedProxies;
use crate::idempotency::IDEMPOTENCY_KEY;
use crate::middleware::carry_through;
use crate::problem::{ProblemKind, Shape};
use crate::state::AppState;

/// Routes by caller.
pub(crate) struct Table {
    /// Schemas by name: of two with one name the OpenAPI document would keep one.
    schemas: BTreeMap<String, RefOr<Schema>>,
    pages: OpenApiRouter<AppState>,
    by_caller: BTreeMap<Caller, OpenApiRouter<AppState>>,
}

impl Table {
    pub(crate) fn new() -> Self {
        Self { schemas: BTreeMap::new(), pages: OpenApiRouter::with_openapi(docs::frame()), by_caller: BTreeMap::new() }
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
        let methods = if caller.may_change() { methods.layer(from_fn(carry_through)) } else { methods };
        let methods = methods.layer(TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, limit));
        for (path, item) in &mut paths.paths {
            operations(item).for_each(|operation| describe(operation, caller, Shape::of(path)));
        }
        for (name, schema) in &schemas {
            let known = self.schemas.entry(name.clone()).or_insert_with(|| schema.clone());
            assert!(known == schema, "two schemas are called {name}: give one another name by `#[schema(as = …)]`");
        }
        let group = self.by_caller.remove(&caller).unwrap_or_default();
        self.by_caller.insert(caller, group.routes((schemas, paths, methods)));
        self
    }

    /// Adds a page, which everybody may read.
    pub(crate) fn page(mut self, path: &str, methods: MethodRouter<AppState>) -> Self {
        self.pages = self.pages.route(path, methods);
        self
    }

    pub(crate) fn into_router(self, state: &AppState) -> Router<AppState> {
        let mut all = self.pages;
        for (caller, group) in self.by_caller {
            let (access, proxies) = (AccessControl::from_ref(state), TrustedProxies::from_ref(state));
            let guard = Guard { access, proxies, caller };
            all = all.merge(match caller {
                Caller::Public => group,
                _ => group.route_layer(from_fn_with_state(guard, caller::keep)),
            });
        }
        let (routes, openapi) = all.split_for_parts();
        routes.merge(docs::pages(openapi))
    }

    pub(crate) fn into_openapi(self) -> OpenApi {
        self.by_caller.into_values().fold(self.pages, OpenApiRouter::merge).into_openapi()
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.post, &mut item.put, &mut item.patch, &mut item.delete].into_iter().flatten()
}

/// Says who may call an operation, and writes out its problems: a handler lists the codes of its own as `x-problems`;
/// those of reading a request follow from what the operation reads.
fn describe(operation: &mut Operation, caller: Caller, shape: Shape) {
    let listed =
        operation.extensions.as_mut().and_then(|extensions| extensions.remove("x-problems")).unwrap_or_default();
    let codes: Vec<String> = serde_json::from_value(listed).unwrap_or_default();
    let mut kinds: Vec<_> =
        codes.iter().map(|code| ProblemKind::named(code).expect("`x-problems` lists codes of problems")).collect();
    let extensions = operation.extensions.get_or_insert_default();
    extensions.merge(ExtensionsBuilder::new().add("x-caller", json!(caller.word())).build());
    kinds.extend(problems_of_reading(operation));
    if caller != Caller::Public {
        kinds.extend([
            ProblemKind::Unauthorized,
            ProblemKind::TokenExpired,
            ProblemKind::Forbidden,
            ProblemKind::CsrfFailed,
            ProblemKind::Internal,
            ProblemKind::DatabaseUnavailable,
            ProblemKind::TimedOut,
        ]);
        operation.security =
            Some(docs::SCHEMES.map(|name| SecurityRequirement::new(name, Vec::<String>::new())).into());
    }
    if caller.right().is_some() {
        kinds.extend([ProblemKind::TenantRequired, ProblemKind::TenantNotFound]);
        let tenant = ParameterBuilder::new()
            .name(TENANT_HEADER)
            .parameter_in(ParameterIn::Header)
            .required(Required::False)
            .description(Some("Name of the tenant; may be left out where the caller has only one."))
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
        let problem = Content::new(Some(Ref::from_schema_name(shape.schema())));
        let refusal = ResponseBuilder::new().description("").build().into();
        // A handler of another protocol has described its own refusals already.
        let refusal = operation.responses.responses.entry(status.to_string()).or_insert(refusal);
        if let RefOr::T(refusal) = refusal {
            let own = (!refusal.description.is_empty()).then(|| refusal.description.clone());
            refusal.description = own.into_iter().chain(lines).collect::<Vec<_>>().join("  \n");
            refusal.content.insert(shape.media_type().to_owned(), problem.into());
            if matches!(status, 429 | 503) {
                let pause = HeaderBuilder::new()
                    .schema(Some(ObjectBuilder::new().schema_type(Type::Integer)))
                    .description(Some("Seconds until the same request may succeed, where that is known."));
                refusal.headers.insert(RETRY_AFTER.to_string(), pause.build().into());
            }
        }
    }
}

/// What can be wrong with the path, the query and the body of a request, before a handler sees them.
fn problems_of_reading(operation: &Operation) -> Vec<ProblemKind> {
    let reads = |place: ParameterIn| {
        let is_there = |parameter: &RefOr<Parameter>| matches!(parameter, RefOr::T(it) if it.parameter_in == place);
        operation.parameters.iter().flatten().any(is_there)
    };
    let mut kinds = Vec::new();
    if reads(ParameterIn::Path) {
        kinds.push(ProblemKind::RouteNotFound);
    }
    if reads(ParameterIn::Query) {
        kinds.extend([ProblemKind::BadRequest, ProblemKind::InvalidField]);
    }
    if operation.request_body.is_some() {
        kinds.extend([
            ProblemKind::BadRequest,
            ProblemKind::BodyTooLarge,
            ProblemKind::UnsupportedMediaType,
            ProblemKind::InvalidField,
        ]);
    }
    kinds
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
