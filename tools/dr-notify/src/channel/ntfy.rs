//! A notice on a telephone, by ntfy.

use dr_pipe::Failure;
use dr_post::Url;
use serde::Deserialize;

use super::settings::{Settings, Text};
use super::{Post, expect, words};
use crate::condition::{Kind, Level};
use crate::notice::{Change, Notice};

/// A topic of an ntfy server.
#[derive(Debug)]
pub struct Ntfy {
    url: Url,
    shown: Text,
    token: Option<Text>,
}

/// What the server says of a message it has taken.
#[derive(Debug, Deserialize)]
struct Said {
    id: String,
}

/// A longer message would become an attachment, which nobody opens.
const BODY_BYTES: usize = 3900;

impl Ntfy {
    /// Takes what it needs of a channel's file.
    ///
    /// # Errors
    /// 78 where that is wrong.
    pub fn read(settings: &mut Settings<'_>) -> Result<Self, Failure> {
        let shown = settings.need("url", "the server and its topic, as https://ntfy.sh/TOPIC")?;
        let url = settings.url(&shown)?;
        let token = settings.take("token")?;
        if let Some(token) = token.as_ref().filter(|token| !token.text.bytes().all(|byte| byte.is_ascii_graphic())) {
            return Err(settings.wrong(token.line, "token has letters that no token has", "write it as tk_..."));
        }
        Ok(Ntfy { url, shown, token })
    }

    /// What no notice may have.
    pub fn secrets(&self) -> Vec<String> {
        std::iter::once(&self.shown).chain(&self.token).map(|secret| secret.text.clone()).collect()
    }

    /// Sends a notice.
    ///
    /// # Errors
    /// As [`Post::send`] and [`expect`].
    pub fn tell(&self, notice: &Notice, post: &Post<'_>) -> Result<(), Failure> {
        let worst = notice.worst();
        let (priority, tag) = match (worst.change, notice.level()) {
            (Change::Bad, Level::Critical) => ("5", "rotating_light"),
            (Change::Bad, _) => ("4", "warning"),
            (Change::Cleared { .. }, _) => ("3", "white_check_mark"),
            (Change::Good, _) if worst.condition.kind == Kind::Test => ("3", "test_tube"),
            (Change::Good, _) => ("2", "white_check_mark"),
        };
        let mut headers = vec![
            ("Title", words::header(&notice.summary())),
            ("Priority", priority.into()),
            ("Tags", tag.into()),
            ("Content-Type", "text/plain; charset=utf-8".into()),
        ];
        headers.extend(self.token.iter().map(|token| ("Authorization", format!("Bearer {}", token.text))));
        let answer = post.send(&self.url, &headers, words::cut(&notice.text(), BODY_BYTES).into_bytes())?;
        expect(&self.url, &answer, |said: &Said| !said.id.is_empty())
    }
}
