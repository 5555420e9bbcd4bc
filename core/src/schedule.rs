//! When a knowledge source is fetched again: five fields of cron, or a word that gives each source a time of its own. Pure.
//!
//! The same fields go into a `CronJob` in a cluster ([`cron`]) and are kept by `docbrain up` on one machine
//! ([`due`]); so what only one of the two understands is refused.

use chrono::{DateTime, SecondsFormat, TimeZone, Utc};
use chrono_tz::Tz;
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use sha2::{Digest, Sha256};

use crate::ids::KnowledgeSourceId;

/// What every trigger of a schedule begins with.
pub const TRIGGER: &str = "schedule:";

/// Why a schedule is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// It is neither five fields nor a known word.
    #[error("{text:?} is not five fields of cron, nor @hourly, @daily, @weekly or @monthly")]
    Fields {
        /// The schedule.
        text: String,
    },
    /// A field is not understood.
    #[error("the field {field} cannot be {text:?}: it takes {takes}")]
    Field {
        /// Its name.
        field: &'static str,
        /// What it holds.
        text: String,
        /// What it takes.
        takes: String,
    },
    /// No day is ever like that.
    #[error("{text:?} never comes, such as a 30th of February")]
    Never {
        /// The schedule.
        text: String,
    },
    /// There is no such time zone.
    #[error("{name:?} is no time zone such as Europe/Berlin")]
    TimeZone {
        /// What was given.
        name: String,
    },
}

/// A field of cron: its name, its least and its greatest number, and names of numbers.
struct Field {
    name: &'static str,
    least: u32,
    most: u32,
    names: &'static [&'static str],
}

const FIELDS: [Field; 5] = [
    Field { name: "minute", least: 0, most: 59, names: &[] },
    Field { name: "hour", least: 0, most: 23, names: &[] },
    Field { name: "day of the month", least: 1, most: 31, names: &[] },
    Field {
        name: "month",
        least: 1,
        most: 12,
        names: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
    },
    Field { name: "day of the week", least: 0, most: 6, names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"] },
];

/// The schedule as five fields of cron. `@hourly` is at a minute of the source's own, `@daily` and slower at an hour and a
/// minute of its own, so that not all sources begin at once. For the same source they are always the same.
pub fn cron(schedule: &str, source: KnowledgeSourceId) -> String {
    let hash = Sha256::digest(source.0.as_bytes());
    let (minute, hour) = (u32::from(hash[0]) % 60, u32::from(hash[1]) % 24);
    match schedule {
        "@hourly" => format!("{minute} * * * *"),
        "@daily" => format!("{minute} {hour} * * *"),
        "@weekly" => format!("{minute} {hour} * * 0"),
        "@monthly" => format!("{minute} {hour} 1 * *"),
        fields => fields.to_owned(),
    }
}

/// Whether a schedule is one that is understood everywhere.
pub fn check(schedule: &str) -> Result<(), ScheduleError> {
    if matches!(schedule, "@hourly" | "@daily" | "@weekly" | "@monthly") {
        return Ok(());
    }
    let fields: Vec<&str> = schedule.split(' ').collect();
    let Ok(fields) = <[&str; 5]>::try_from(fields) else {
        return Err(ScheduleError::Fields { text: schedule.to_owned() });
    };
    for (text, field) in fields.iter().zip(&FIELDS) {
        if !text.split(',').all(|part| field.takes(part)) {
            return Err(field.refuse(text));
        }
    }
    // A day that no month has is looked for in vain.
    let parsed = parse(schedule)?;
    let start = Utc.timestamp_opt(0, 0).single().expect("the epoch is a time");
    match parsed.find_next_occurrence(&start, false) {
        Ok(_) => Ok(()),
        Err(_) => Err(ScheduleError::Never { text: schedule.to_owned() }),
    }
}

/// The time zone of a schedule; UTC when none is named.
pub fn time_zone(name: Option<&str>) -> Result<Tz, ScheduleError> {
    match name {
        None => Ok(Tz::UTC),
        Some(name) => name.parse().map_err(|_| ScheduleError::TimeZone { name: name.to_owned() }),
    }
}

/// The first time after `now` that a source is to be fetched.
pub fn next_after(
    schedule: &str,
    zone: Option<&str>,
    source: KnowledgeSourceId,
    now: DateTime<Utc>,
) -> Result<DateTime<Utc>, ScheduleError> {
    let (cron, zone) = (parse(&cron(schedule, source))?, time_zone(zone)?);
    let next = cron.find_next_occurrence(&now.with_timezone(&zone), false);
    next.map(|next| next.with_timezone(&Utc)).map_err(|_| ScheduleError::Never { text: schedule.to_owned() })
}

/// The trigger of the run that is due at `now`, if the schedule has stood `since` then and `last` is the trigger it set off
/// before. Times that were missed are one run.
pub fn due(
    schedule: &str,
    zone: Option<&str>,
    source: KnowledgeSourceId,
    since: DateTime<Utc>,
    last: Option<&str>,
    now: DateTime<Utc>,
) -> Result<Option<String>, ScheduleError> {
    let (cron, zone) = (parse(&cron(schedule, source))?, time_zone(zone)?);
    let latest = match cron.find_previous_occurrence(&now.with_timezone(&zone), true) {
        Ok(latest) => latest.with_timezone(&Utc),
        Err(_) => return Ok(None),
    };
    let last = last.and_then(|last| DateTime::parse_from_rfc3339(last.strip_prefix(TRIGGER)?).ok());
    let after = last.map_or(since, |last| since.max(last.with_timezone(&Utc)));
    Ok((latest > after).then(|| trigger(latest)))
}

/// The trigger of a minute.
fn trigger(at: DateTime<Utc>) -> String {
    format!("{TRIGGER}{}", at.to_rfc3339_opts(SecondsFormat::Secs, true))
}

fn parse(fields: &str) -> Result<Cron, ScheduleError> {
    let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
    parser.parse(fields).map_err(|_| ScheduleError::Fields { text: fields.to_owned() })
}

impl Field {
    /// Whether one part of a list is understood: `*`, a number, a range, each with a step or without.
    fn takes(&self, part: &str) -> bool {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, Some(step)),
            None => (part, None),
        };
        let is_step = |step: &str| step.parse::<u32>().is_ok_and(|step| (1..=self.most).contains(&step));
        let is_range = match range.split_once('-') {
            Some((from, to)) => self.number(from).zip(self.number(to)).is_some_and(|(from, to)| from <= to),
            // A step from a single number is read in two ways.
            None => range == "*" || step.is_none() && self.number(range).is_some(),
        };
        is_range && step.is_none_or(is_step)
    }

    fn number(&self, text: &str) -> Option<u32> {
        let named = self.names.iter().position(|name| text.eq_ignore_ascii_case(name));
        if let Some(index) = named {
            return u32::try_from(index).ok().map(|index| index + self.least);
        }
        let is_number = text.len() <= 2 && !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|number| is_number && (self.least..=self.most).contains(number))
    }

    fn refuse(&self, text: &str) -> ScheduleError {
        let names = match (self.names.first(), self.names.last()) {
            (Some(first), Some(last)) => format!(" or {first}-{last}"),
            _ => String::new(),
        };
        let takes = format!(
            "*, numbers from {} to {}{names}, ranges as 1-5, lists as 1,3 and steps as */2",
            self.least, self.most
        );
        ScheduleError::Field { field: self.name, text: text.to_owned(), takes }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    fn source(number: u128) -> KnowledgeSourceId {
        KnowledgeSourceId(Uuid::from_u128(number))
    }

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn schedules_are_checked_and_the_bad_field_is_named() {
        for good in [
            "30 4 * * 1-5",
            "*/15 * * * *",
            "0 0 1,15 jan-mar MON",
            "@daily",
            "59 23 31 12 6",
            "0 9-17/2 * * *",
            "0 0 29 2 *",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for (bad, expected) in [
            ("", "is not five fields"),
            ("@yearly", "is not five fields"),
            ("* * * *", "is not five fields"),
            ("0 0 * * * *", "is not five fields"),
            ("0  0 * * *", "is not five fields"),
            ("60 * * * *", "the field minute cannot be \"60\""),
            ("* 24 * * *", "the field hour"),
            ("* * 0 * *", "the field day of the month"),
            ("* * L * *", "the field day of the month"),
            ("* * 15W * *", "the field day of the month"),
            ("* * * 13 *", "the field month"),
            ("* * * * 7", "the field day of the week cannot be \"7\": it takes *, numbers from 0 to 6 or sun-sat"),
            ("* * * * 5#2", "the field day of the week"),
            ("*/0 * * * *", "the field minute"),
            ("5/10 * * * *", "the field minute"),
            ("5-1 * * * *", "the field minute"),
            ("? * * * *", "the field minute"),
            (", * * * *", "the field minute"),
            ("+5 * * * *", "the field minute"),
            ("0 0 30 2 *", "never comes"),
        ] {
            let refused = check(bad).expect_err(bad).to_string();
            assert!(refused.contains(expected), "{bad}: {refused}");
        }
        assert!(time_zone(Some("Europe/Berlin")).is_ok());
        assert_eq!(
            time_zone(Some("Mars/Base")).unwrap_err().to_string(),
            "\"Mars/Base\" is no time zone such as Europe/Berlin"
        );
    }

    #[test]
    fn each_source_has_a_time_of_its_own_and_keeps_it() {
        let times: std::collections::HashSet<String> = (0..200).map(|number| cron("@daily", source(number))).collect();
        assert!(times.len() > 150, "{}", times.len());
        for word in ["@hourly", "@daily", "@weekly", "@monthly"] {
            let fields = cron(word, source(7));
            assert_eq!(check(&fields), Ok(()), "{fields}");
            assert_eq!(fields, cron(word, source(7)));
        }
        assert_eq!(cron("30 4 * * 1-5", source(7)), "30 4 * * 1-5");
    }

    #[test]
    fn times_are_of_the_time_zone_and_of_summer() {
        let next = |zone, now| next_after("30 4 * * *", zone, source(1), at(now)).unwrap();
        assert_eq!(next(None, "2026-07-01T00:00:00Z"), at("2026-07-01T04:30:00Z"));
        assert_eq!(next(Some("Europe/Berlin"), "2026-07-01T00:00:00Z"), at("2026-07-01T02:30:00Z"));
        assert_eq!(next(Some("Europe/Berlin"), "2026-12-01T00:00:00Z"), at("2026-12-01T03:30:00Z"));
        assert_eq!(next(Some("Asia/Kolkata"), "2026-12-01T00:00:00Z"), at("2026-12-01T23:00:00Z"));
    }

    #[test]
    fn a_run_is_due_once_and_missed_ones_are_one() {
        let due = |since, last, now| due("0 4 * * *", None, source(1), at(since), last, at(now)).unwrap();
        let applied = "2026-11-20T12:00:00Z";
        assert_eq!(due(applied, None, "2026-11-20T12:00:01Z"), None, "not for a time before it was applied");
        let first = due(applied, None, "2026-11-21T04:00:10Z").unwrap();
        assert_eq!(first, "schedule:2026-11-21T04:00:00Z");
        assert_eq!(due(applied, Some(&first), "2026-11-21T23:59:59Z"), None);
        assert_eq!(due(applied, Some(&first), "2026-11-25T18:00:00Z").unwrap(), "schedule:2026-11-25T04:00:00Z");
        assert_eq!(
            due("2026-11-25T05:00:00Z", Some(&first), "2026-11-25T18:00:00Z"),
            None,
            "it was applied anew since"
        );
        assert_eq!(due(applied, Some("schedule:nonsense"), "2026-11-21T04:00:00Z"), Some(first));
    }

    proptest! {
        #[test]
        fn what_passes_the_check_has_a_next_time(text in "[0-9*/,a-zA-Z#?LW -]{1,20}", seconds in 0_i64..4_000_000_000) {
            if check(&text).is_ok() {
                let now = DateTime::from_timestamp(seconds, 0).unwrap();
                let next = next_after(&text, Some("America/New_York"), source(3), now).unwrap();
                prop_assert!(next > now);
            }
        }
    }
}
