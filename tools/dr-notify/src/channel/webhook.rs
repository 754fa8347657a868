//! A notice as JSON, signed.

use chrono::{DateTime, SecondsFormat, Utc};
use dr_pipe::Failure;
use dr_post::Url;
use hmac::{Hmac, KeyInit, Mac};
use serde::Serialize;
use sha2::Sha256;

use super::Post;
use super::settings::{Settings, Text};
use crate::TOOL;
use crate::condition::{Condition, Level};
use crate::notice::{Change, Notice};

/// Whoever takes JSON.
#[derive(Debug)]
pub struct Webhook {
    url: Url,
    shown: Text,
    secret: Option<Text>,
}

/// What is sent, with the names that CloudEvents have.
#[derive(Debug, Serialize)]
struct Event<'a> {
    id: &'a str,
    source: String,
    #[serde(rename = "type")]
    kind: String,
    time: String,
    cluster: Option<&'a str>,
    host: &'a str,
    level: Level,
    summary: String,
    problems: Vec<Problem<'a>>,
}

/// One thing that is told.
#[derive(Debug, Serialize)]
struct Problem<'a> {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    bad_since_at: Option<DateTime<Utc>>,
    #[serde(flatten)]
    condition: &'a Condition,
}

impl Webhook {
    /// Takes what it needs of a channel's file.
    ///
    /// # Errors
    /// 78 where that is wrong.
    pub fn read(settings: &mut Settings<'_>) -> Result<Self, Failure> {
        let shown = settings.need("url", "where the JSON goes")?;
        Ok(Webhook { url: settings.url(&shown)?, shown, secret: settings.take("secret")? })
    }

    /// What no notice may have.
    pub fn secrets(&self) -> Vec<String> {
        std::iter::once(&self.shown).chain(&self.secret).map(|secret| secret.text.clone()).collect()
    }

    /// Sends a notice.
    ///
    /// # Errors
    /// As [`Post::send`].
    pub fn tell(&self, notice: &Notice, post: &Post<'_>) -> Result<(), Failure> {
        let body = serde_json::to_vec(&event(notice)).expect("it has strings and numbers only");
        let mut headers = vec![("Content-Type", "application/json".to_owned())];
        if let Some(secret) = &self.secret {
            let stamp = Utc::now().timestamp().to_string();
            headers.push(("X-Dr-Signature", signature(&secret.text, &stamp, &body)));
            headers.push(("X-Dr-Timestamp", stamp));
        }
        post.send(&self.url, &headers, body).map(drop)
    }
}

/// The HMAC-SHA256 of `TIMESTAMP.BODY`: without the timestamp in it an old notice could be sent again.
fn signature(secret: &str, stamp: &str, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("a key of HMAC has any length");
    mac.update(stamp.as_bytes());
    mac.update(b".");
    mac.update(body);
    format!("sha256={}", hex::encode(mac.finalize().into_bytes()))
}

fn event(notice: &Notice) -> Event<'_> {
    let problems = notice.news.iter().map(|news| {
        let (status, bad_since_at) = match news.change {
            Change::Bad => ("failed", None),
            Change::Cleared { since_at } => ("cleared", Some(since_at)),
            Change::Good => ("good", None),
        };
        Problem { status, bad_since_at, condition: &news.condition }
    });
    Event {
        id: &notice.id,
        source: format!("{TOOL}/{}", notice.host),
        kind: notice.kind(),
        time: notice.at.to_rfc3339_opts(SecondsFormat::Millis, true),
        cluster: notice.cluster.as_deref(),
        host: &notice.host,
        level: notice.level(),
        summary: notice.summary(),
        problems: problems.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_what_openssl_says() {
        // printf '1769320000.{"a":1}' | openssl dgst -sha256 -hmac key
        let said = "sha256=71c9d7d0f72854d2b7b4ec6198bf5b80d3ab012d5ac0288eddc4669d1238dd56";
        assert_eq!(signature("key", "1769320000", br#"{"a":1}"#), said);
    }
}
