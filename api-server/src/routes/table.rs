//! A table of routes in which each one is declared with its caller, in the router and in the OpenAPI document alike.

use std::collections::BTreeMap;

use axum::Router;
use axum::extract::FromRef;
use axum::middleware::from_fn_with_state;
use axum::routing::MethodRouter;
use serde_json::json;
use utoipa::openapi::extensions::ExtensionsBuilder;
use utoipa::openapi::path::{Operation, ParameterBuilder, ParameterIn, PathItem};
use utoipa::openapi::security::SecurityRequirement;
use utoipa::openapi::{Content, ObjectBuilder, OpenApi, Ref, Required, ResponseBuilder, Type};
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter};

use super::docs;
use crate::access::caller::{self, Guard};
use crate::access::{AccessControl, Caller, TENANT_HEADER};
use crate::problem::{MEDIA_TYPE, ProblemKind};
use crate::state::AppState;

/// Routes by caller.
pub(crate) struct Table {
    pages: OpenApiRouter<AppState>,
    by_caller: BTreeMap<Caller, OpenApiRouter<AppState>>,
}

impl Table {
    pub(crate) fn new() -> Self {
        Self { pages: OpenApiRouter::with_openapi(docs::frame()), by_caller: BTreeMap::new() }
    }

    /// Adds a route that stands in the OpenAPI document.
    pub(crate) fn route(mut self, caller: Caller, (schemas, mut paths, methods): UtoipaMethodRouter<AppState>) -> Self {
        paths.paths.values_mut().flat_map(operations).for_each(|operation| describe(operation, caller));
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
            let guard = Guard { access: AccessControl::from_ref(state), caller };
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

/// Says who may call an operation, and writes out its problems: a handler lists the codes of its own as `x-problems`.
fn describe(operation: &mut Operation, caller: Caller) {
    let listed =
        operation.extensions.as_mut().and_then(|extensions| extensions.remove("x-problems")).unwrap_or_default();
    let codes: Vec<String> = serde_json::from_value(listed).unwrap_or_default();
    let mut kinds: Vec<_> =
        codes.iter().map(|code| ProblemKind::named(code).expect("`x-problems` lists codes of problems")).collect();
    let extensions = operation.extensions.get_or_insert_default();
    extensions.merge(ExtensionsBuilder::new().add("x-caller", json!(caller.word())).build());
    if caller != Caller::Public {
        kinds.extend([
            ProblemKind::Unauthorized,
            ProblemKind::TokenExpired,
            ProblemKind::Forbidden,
            ProblemKind::CsrfFailed,
            ProblemKind::Internal,
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
    kinds.sort_by_key(|kind| kind.code());
    kinds.dedup();
    let mut by_status: BTreeMap<u16, Vec<ProblemKind>> = BTreeMap::new();
    for kind in kinds {
        by_status.entry(kind.status().as_u16()).or_default().push(kind);
    }
    for (status, kinds) in by_status {
        let lines: Vec<String> = kinds.iter().map(|kind| format!("`{}`: {}", kind.code(), kind.title())).collect();
        let problem = Content::new(Some(Ref::from_schema_name("ProblemBody")));
        let response = ResponseBuilder::new().description(lines.join("  \n")).content(MEDIA_TYPE, problem).build();
        operation.responses.responses.insert(status.to_string(), response.into());
    }
}
