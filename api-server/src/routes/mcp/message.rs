//! Messages of JSON-RPC 2.0, as far as their form goes: what they say is the protocol's.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// What a client sends: a request, or, without `id`, a notification.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[schema(example = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}))]
#[schema(as = mcp::Message)]
pub(crate) struct Message {
    jsonrpc: Version,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<Id>,
    /// Such as `tools/list`.
    method: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    params: Option<Map<String, Value>>,
}

/// The version of JSON-RPC.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[schema(as = mcp::Version)]
enum Version {
    #[serde(rename = "2.0")]
    Two,
}

/// What an answer is recognised by.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = mcp::Id)]
enum Id {
    Number(i64),
    Text(String),
}

/// What a client is answered: either `result` or `error`.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it describes what the protocol's library writes")]
#[schema(as = mcp::Reply)]
pub(crate) struct Reply {
    jsonrpc: Version,
    id: Option<Id>,
    #[schema(value_type = Option<Object>)]
    result: Option<Map<String, Value>>,
    error: Option<ReplyError>,
}

/// Why a message was refused.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it describes what the protocol's library writes")]
#[schema(as = mcp::ReplyError)]
struct ReplyError {
    /// Of JSON-RPC, such as -32601 for a method that is not there.
    #[schema(example = -32601)]
    code: i32,
    message: String,
    data: Option<Value>,
}
