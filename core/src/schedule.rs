//! Schedules.
use crate::ids::KnowledgeSourceId;

/// Cron.
pub fn cron(schedule: &str, _id: KnowledgeSourceId) -> String {
    schedule.to_owned()
}
