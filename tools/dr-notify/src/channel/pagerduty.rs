//! A notice to who is on call, by PagerDuty's Events API v2: an incident for each thing, which ends by itself.

use chrono::{SecondsFormat, Utc};
use dr_pipe::words::shortened;
use dr_pipe::{Failure, Sha256};
use dr_post::Url;
use serde::{Deserialize, Serialize};

use super::settings::{Settings, Text};
use super::{Post, expect};
use crate::TOOL;
use crate::condition::{Condition, Kind, Level};
use crate::notice::{Change, News, Notice};

/// Where events go, outside the EU.
const EVENTS: &str = "https://events.pagerduty.com/v2/enqueue";
/// PagerDuty's limit to a summary, in characters.
const SUMMARY: usize = 1000;
/// PagerDuty's limit to a key, in bytes.
const KEY_BYTES: usize = 255;

/// A service of PagerDuty.
#[derive(Debug)]
pub struct Pagerduty {
    url: Url,
    token: Text,
}

#[derive(Debug, Serialize)]
struct Event<'a> {
    routing_key: &'a str,
    event_action: &'static str,
    dedup_key: &'a str,
    client: &'static str,
    payload: Payload<'a>,
}

#[derive(Debug, Serialize)]
struct Payload<'a> {
    summary: String,
    source: &'a str,
    severity: &'static str,
    timestamp: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    component: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<&'a str>,
    class: &'a str,
    custom_details: Details<'a>,
}

#[derive(Debug, Serialize)]
struct Details<'a> {
    text: Vec<String>,
    last_words: &'a [String],
}

#[derive(Debug, Deserialize)]
struct Said {
    status: String,
}

impl Pagerduty {
    /// Takes what it needs of a channel's file.
    ///
    /// # Errors
    /// 78 where that is wrong.
    pub fn read(settings: &mut Settings<'_>) -> Result<Self, Failure> {
        let token = settings.need("token", "the integration key of the service (Events API v2)")?;
        let url = settings.take("url")?.unwrap_or(Text { text: EVENTS.into(), line: 0 });
        Ok(Pagerduty { url: settings.url(&url)?, token })
    }

    /// What no notice may have.
    pub fn secrets(&self) -> Vec<String> {
        vec![self.token.text.clone()]
    }

    /// Sends an event for each thing; good news are none. That one arrives twice does no harm, as it has the same key.
    ///
    /// # Errors
    /// As [`Post::send`] and [`expect`].
    pub fn tell(&self, notice: &Notice, post: &Post<'_>) -> Result<(), Failure> {
        for news in &notice.news {
            let actions: &[&str] = match news.change {
                Change::Bad => &["trigger"],
                Change::Cleared { .. } => &["resolve"],
                Change::Good if news.condition.kind == Kind::Test => &["trigger", "resolve"],
                Change::Good => &[],
            };
            let key = key(news, notice);
            for action in actions {
                let answer = post.send_json(&self.url, &self.event(news, notice, action, &key))?;
                expect(&self.url, &answer, |said: &Said| said.status == "success")?;
            }
        }
        Ok(())
    }

    fn event<'a>(&'a self, news: &'a News, notice: &'a Notice, action: &'static str, key: &'a str) -> Event<'a> {
        let Condition { kind, level, host, cluster, name, subject, message, last_words, .. } = &news.condition;
        let place = cluster.as_deref().unwrap_or(host);
        let severity = match level {
            Level::Critical => "critical",
            Level::Warning => "warning",
            Level::Good => "info",
        };
        let payload = Payload {
            summary: shortened(&format!("{place}: {}: {}: {message}", news.word(), news.label()), SUMMARY),
            source: host,
            severity,
            timestamp: Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true),
            component: subject.as_deref(),
            group: cluster.as_deref(),
            class: if *kind == Kind::Check { name } else { kind.name() },
            custom_details: Details { text: news.lines(notice.at), last_words },
        };
        Event { routing_key: &self.token.text, event_action: action, dedup_key: key, client: TOOL, payload }
    }
}

/// What all events about one thing have in common.
fn key(news: &News, notice: &Notice) -> String {
    let Condition { key, cluster, .. } = &news.condition;
    let key = format!("dr/{}/{key}", cluster.as_deref().unwrap_or(&notice.host));
    if key.len() <= KEY_BYTES { key } else { format!("dr/{}", Sha256::of(key.as_bytes())) }
}
