//! Upper limits of tenants and chatbots; their documentation is the schema's.
#![expect(unreachable_pub, reason = "the schema derive makes a hidden copy of each struct")]

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Upper limits of a tenant.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Quota {
    /// Documents over all knowledge sources.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub max_documents: Option<i32>,
    /// Chunks over all knowledge sources.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub max_chunks: Option<i32>,
    /// Questions to all chatbots in a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub requests_per_minute: Option<i32>,
    /// Uploads in a minute, of any number of files each; 600 when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000))]
    pub uploads_per_minute: Option<i32>,
    /// What all chatbots together may use up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
}

/// What may be used up in a day and in a month of UTC; no limit where left out.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(validation = Rule::new("!has(self.tokensPerDay) || !has(self.tokensPerMonth) || self.tokensPerDay <= self.tokensPerMonth")
    .message("tokensPerDay must not be above tokensPerMonth"))]
#[x_kube(validation = Rule::new("!has(self.centsPerDay) || !has(self.centsPerMonth) || self.centsPerDay <= self.centsPerMonth")
    .message("centsPerDay must not be above centsPerMonth"))]
#[serde(rename_all = "camelCase")]
pub struct Budget {
    /// Tokens of prompts and answers in a day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub tokens_per_day: Option<i64>,
    /// Tokens of prompts and answers in a month.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub tokens_per_month: Option<i64>,
    /// US cents in a day, by the prices that are configured for the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100_000_000))]
    pub cents_per_day: Option<i32>,
    /// US cents in a month, by the prices that are configured for the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1_000_000_000))]
    pub cents_per_month: Option<i32>,
}

/// How much a chatbot may be asked; the tenant's quota holds besides.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(validation = Rule::new("self.questionsPerMinutePerVisitor <= self.questionsPerMinutePerIp")
    .message("questionsPerMinutePerVisitor must not be above questionsPerMinutePerIp"))]
#[serde(rename_all = "camelCase")]
pub struct ChatLimits {
    /// Questions of one visitor in a minute.
    #[serde(default = "default_questions_per_visitor")]
    #[schemars(range(min = 1, max = 10_000))]
    pub questions_per_minute_per_visitor: i32,
    /// Questions of all visitors behind one IPv4 address, or one IPv6 network of 64 bits, in a minute.
    #[serde(default = "default_questions_per_ip")]
    #[schemars(range(min = 1, max = 100_000))]
    pub questions_per_minute_per_ip: i32,
    /// Questions to this chatbot in a minute; no limit when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub questions_per_minute: Option<i32>,
    /// What this chatbot may use up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
}

impl Default for ChatLimits {
    fn default() -> Self {
        Self {
            questions_per_minute_per_visitor: default_questions_per_visitor(),
            questions_per_minute_per_ip: default_questions_per_ip(),
            questions_per_minute: None,
            budget: None,
        }
    }
}

fn default_questions_per_visitor() -> i32 {
    20
}

fn default_questions_per_ip() -> i32 {
    60
}
