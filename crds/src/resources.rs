//! The resources as types, a file each; their documentation is the schema's.

mod chatbot;
mod condition;
mod knowledge_source;
mod tenant;

pub use chatbot::{Chatbot, ChatbotSpec, ChatbotStatus, KnowledgeRef, Model, ProviderKind, Retrieval, SecretKeyRef};
pub use condition::{Condition, ConditionStatus};
pub use knowledge_source::{
    Chunking, ChunkingStrategy, CurrentRun, EndedRun, GitSource, KnowledgeSource, KnowledgeSourceSpec,
    KnowledgeSourceStatus, RunResult, SecretRef, Source, Upload, WebSource,
};
pub use tenant::{DeletionPolicy, Tenant, TenantSpec, TenantStatus};
