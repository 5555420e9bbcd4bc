//! Typed identifiers: a document id cannot stand where a chunk id is wanted.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, sqlx::Type)]
        #[serde(transparent)]
        #[sqlx(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// A new identifier that sorts by its time of creation (UUID version 7, RFC 9562).
            #[expect(clippy::new_without_default, reason = "every call gives another value")]
            pub fn new() -> Self {
                Self(Uuid::now_v7())
            }

            /// The least identifier that [`Self::new`] makes at this time or later; of times before 1970, the least of all.
            pub fn since(at: DateTime<Utc>) -> Self {
                let milliseconds = u64::try_from(at.timestamp_millis()).unwrap_or(0);
                Self(uuid::Builder::from_unix_timestamp_millis(milliseconds, &[0; 10]).into_uuid())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }

        impl From<Uuid> for $name {
            fn from(id: Uuid) -> Self {
                Self(id)
            }
        }
    };
}

id!(
    /// A tenant: one customer of the platform, one namespace, one slice of the database.
    TenantId
);
id!(
    /// A chatbot of a tenant.
    ChatbotId
);
id!(
    /// A knowledge source of a tenant.
    KnowledgeSourceId
);
id!(
    /// A document of a knowledge source.
    DocumentId
);
id!(
    /// A generation of a knowledge source's index.
    GenerationId
);
id!(
    /// One run of an ingestion.
    RunId
);
id!(
    /// A chunk of a document in one generation.
    ChunkId
);
id!(
    /// A conversation of a visitor with a chatbot.
    ConversationId
);
id!(
    /// A message of a conversation.
    MessageId
);
id!(
    /// A person's account.
    AccountId
);
id!(
    /// A session of an account: a browser's, or a program's refresh token.
    SessionId
);
id!(
    /// An API token of a tenant.
    ApiTokenId
);
id!(
    /// An invitation into a tenant.
    InvitationId
);
