//! A notice in a channel of Slack, or of what takes the same (Mattermost, Rocket.Chat), by an incoming webhook.

use dr_pipe::Failure;
use dr_pipe::words::shortened;
use dr_post::Url;
use serde::{Deserialize, Serialize};

use super::settings::{Settings, Text};
use super::{Post, expect};
use crate::notice::{Change, News, Notice};

/// A room of Slack.
#[derive(Debug)]
pub struct Slack {
    url: Url,
    shown: Text,
}

/// What is sent. `text` is for where blocks are not shown, such as a telephone's lock screen.
#[derive(Debug, Serialize)]
struct Message {
    text: String,
    blocks: Vec<Block>,
}

#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Block {
    Header { text: Words },
    Section { text: Words },
    Context { elements: Vec<Words> },
}

#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Words {
    PlainText { text: String },
    Mrkdwn { text: String },
}

#[derive(Debug, Deserialize)]
struct Said {
    success: Option<bool>,
    ok: Option<bool>,
}

/// Slack's limits, in characters.
const HEADER: usize = 148;
const SECTION: usize = 2990;

impl Slack {
    /// Takes what it needs of a channel's file.
    ///
    /// # Errors
    /// 78 where that is wrong.
    pub fn read(settings: &mut Settings<'_>) -> Result<Self, Failure> {
        let shown = settings.need("url", "the URL of the incoming webhook")?;
        Ok(Slack { url: settings.url(&shown)?, shown })
    }

    /// What no notice may have.
    pub fn secrets(&self) -> Vec<String> {
        vec![self.shown.text.clone()]
    }

    /// Sends a notice.
    ///
    /// # Errors
    /// As [`Post::send`] and [`expect`].
    pub fn tell(&self, notice: &Notice, post: &Post<'_>) -> Result<(), Failure> {
        let answer = post.send_json(&self.url, &message(notice))?;
        match answer.body.trim_ascii() {
            b"ok" | b"" => Ok(()),
            // Others that take the same say so in JSON.
            _ => expect(&self.url, &answer, |said: &Said| said.success != Some(false) && said.ok != Some(false)),
        }
    }
}

fn message(notice: &Notice) -> Message {
    let summary = notice.summary();
    let (listed, rest) = notice.listed();
    let mark = match notice.worst().change {
        Change::Bad => "\u{1f534} ",
        Change::Cleared { .. } => "\u{1f7e2} ",
        Change::Good => "",
    };
    let mut blocks = vec![Block::Header { text: Words::PlainText { text: shortened(&format!("{mark}{summary}"), HEADER) } }];
    blocks.extend(listed.iter().map(|news| Block::Section { text: Words::Mrkdwn { text: section(news, notice) } }));
    blocks.extend(rest.map(|text| Block::Section { text: Words::PlainText { text } }));
    blocks.push(Block::Context { elements: vec![Words::PlainText { text: notice.sender() }] });
    Message { text: escaped(&summary, SECTION), blocks }
}

/// What is said of one thing, in Slack's own markup.
fn section(news: &News, notice: &Notice) -> String {
    let mut text = format!("*{}: {}*\n", escaped(&news.word().to_uppercase(), SECTION), escaped(&news.label(), SECTION / 4));
    let lines = news.lines(notice.at).join("\n");
    text += &escaped(&lines, SECTION - text.chars().count());
    // What it said last stands in a box of its own, as far as there is room.
    let said = news.condition.last_words.join("\n").replace("```", "'''");
    let room = SECTION.saturating_sub(text.chars().count() + "\n``````".len());
    if !said.is_empty() && room > 100 {
        text += &format!("\n```{}```", escaped(&said, room));
    }
    text
}

/// Text without what Slack takes for markup of its own, such as `<!channel>`; at most so many characters.
fn escaped(text: &str, limit: usize) -> String {
    let mut out = String::new();
    let mut room = limit;
    for c in text.chars() {
        let escape = match c {
            '&' => "&amp;",
            '<' => "&lt;",
            '>' => "&gt;",
            _ => "",
        };
        let width = escape.len().max(1);
        if width >= room {
            out.push('…');
            break;
        }
        room -= width;
        if escape.is_empty() { out.push(c) } else { out.push_str(escape) }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_becomes_markup_and_limits_hold() {
        assert_eq!(escaped("<!channel> & <@U1>", 100), "&lt;!channel&gt; &amp; &lt;@U1&gt;");
        let cut = escaped(&"<".repeat(5000), 2990);
        assert!(cut.chars().count() <= 2990 && cut.ends_with("&lt;…"), "{}", cut.len());
    }
}
