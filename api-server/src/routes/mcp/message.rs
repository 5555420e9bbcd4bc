//! Messages of JSON-RPC 2.0, as far as their form goes: what they say is the protocol's.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Number, Value};
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
    Number(#[serde(deserialize_with = "whole")] i64),
    Text(String),
}

/// JSON has one kind of numbers: `7.0` is the whole number 7.
fn whole<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    /// From here on, numbers with a fraction are not told apart (2^53).
    const UNSAFE: f64 = 9_007_199_254_740_992.0;
    let number = Number::deserialize(deserializer)?;
    #[expect(clippy::cast_possible_truncation, reason = "it is whole, and less than 2^53")]
    let of_fraction = |number: f64| (number.fract() == 0.0 && number.abs() < UNSAFE).then_some(number as i64);
    number.as_i64().or_else(|| number.as_f64().and_then(of_fraction)).ok_or_else(|| D::Error::custom("no whole number"))
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
