//! Who is told, and by which way?

mod mail;
mod ntfy;
mod pagerduty;
mod settings;
mod slack;
mod webhook;
mod words;

use std::path::Path;
use std::time::{Duration, Instant};

use dr_pipe::{Exit, Failure, secret};
use dr_post::{Answer, Client, Method, Request, Url};

use crate::condition::Level;
use crate::notice::Notice;
use settings::Settings;

/// Somebody who is told.
#[derive(Debug)]
pub struct Channel {
    /// The file it is described in, as it was named.
    pub name: String,
    /// What it is remembered by.
    pub key: String,
    /// What is not as bad as this is not told.
    pub minimum: Level,
    /// The clusters it is told of; none: all of them.
    clusters: Vec<String>,
    way: Way,
}

/// A channel, or what is wrong with it, by the name of its file.
pub type Described = (String, Result<Channel, Failure>);

/// By which way.
#[derive(Debug)]
enum Way {
    Webhook(webhook::Webhook),
    Slack(slack::Slack),
    Ntfy(ntfy::Ntfy),
    Email(mail::Mail),
    Pagerduty(pagerduty::Pagerduty),
}

impl Channel {
    /// Reads a channel's file.
    ///
    /// # Errors
    /// As [`secret::read`]; 78, with the line, where it is wrong.
    fn open(name: &str) -> Result<Self, Failure> {
        let text = secret::read(name)?;
        let mut settings = Settings::parse(name, &text)?;
        let kind = settings.need("kind", "webhook, slack, ntfy, email or pagerduty")?;
        let way = match kind.text.as_str() {
            "webhook" => Way::Webhook(webhook::Webhook::read(&mut settings)?),
            "slack" => Way::Slack(slack::Slack::read(&mut settings)?),
            "ntfy" => Way::Ntfy(ntfy::Ntfy::read(&mut settings)?),
            "email" => Way::Email(mail::Mail::read(&mut settings)?),
            "pagerduty" => Way::Pagerduty(pagerduty::Pagerduty::read(&mut settings)?),
            _ => return Err(settings.wrong(kind.line, "no such kind of channel", "webhook, slack, ntfy, email and pagerduty are")),
        };
        let minimum = match settings.take("minimum")? {
            None => Level::Warning,
            Some(word) if word.text == "warning" => Level::Warning,
            Some(word) if word.text == "critical" => Level::Critical,
            Some(word) => return Err(settings.wrong(word.line, "minimum is no such word", "write warning or critical")),
        };
        let clusters = settings.take_list("clusters")?.into_iter().map(|cluster| cluster.text).collect();
        settings.end()?;
        Ok(Channel { name: name.to_owned(), key: name.to_owned(), minimum, clusters, way })
    }

    /// Whether it is told of this cluster. What belongs to none, all are told of.
    pub fn takes(&self, cluster: Option<&str>) -> bool {
        self.clusters.is_empty() || cluster.is_none_or(|cluster| self.clusters.iter().any(|name| name == cluster))
    }

    /// Looks whether what tells it is there, as far as that can be known without telling it.
    ///
    /// # Errors
    /// 78 where no mail system is there, 77 where it may not be run.
    pub fn look(&self) -> Result<(), Failure> {
        if let Way::Email(mail) = &self.way { mail.look() } else { Ok(()) }
    }

    /// What no notice may have of it.
    pub fn secrets(&self) -> Vec<String> {
        let secrets = match &self.way {
            Way::Webhook(webhook) => webhook.secrets(),
            Way::Slack(slack) => slack.secrets(),
            Way::Ntfy(ntfy) => ntfy.secrets(),
            Way::Email(_) => Vec::new(),
            Way::Pagerduty(pagerduty) => pagerduty.secrets(),
        };
        // A shorter one would be found in the middle of words.
        secrets.into_iter().filter(|secret| secret.len() > 5).collect()
    }

    /// Tells it.
    ///
    /// # Errors
    /// As [`Client::send`]; 69 where no mail can be sent.
    pub fn tell(&self, notice: &Notice, post: &Post<'_>) -> Result<(), Failure> {
        match &self.way {
            Way::Webhook(webhook) => webhook.tell(notice, post),
            Way::Slack(slack) => slack.tell(notice, post),
            Way::Ntfy(ntfy) => ntfy.tell(notice, post),
            Way::Email(mail) => mail.tell(notice, post),
            Way::Pagerduty(pagerduty) => pagerduty.tell(notice, post),
        }
    }
}

/// The channels whose files are named, or else all of a directory, and what is wrong with the others: one file that cannot be read
/// must not keep the rest from being told.
///
/// # Errors
/// Where no channel is left: then what is wrong with the first.
pub fn load(files: &[String], directory: &Path) -> Result<(Vec<Channel>, Vec<Failure>), Failure> {
    let (mut channels, mut failures) = (Vec::new(), Vec::new());
    for (_, channel) in each(files, directory)? {
        match channel {
            Ok(channel) => channels.push(channel),
            Err(failure) => failures.push(failure),
        }
    }
    if channels.is_empty() {
        return Err(failures.swap_remove(0).leaving("nobody was told"));
    }
    shorten_keys(&mut channels);
    Ok((channels, failures))
}

/// The channels whose files are named, or else all of a directory: each with its file's name, or with what is wrong.
///
/// # Errors
/// 78 where there is none.
pub fn each(files: &[String], directory: &Path) -> Result<Vec<Described>, Failure> {
    let named = if files.is_empty() { files_of(directory)? } else { files.to_vec() };
    let open = |name: String| {
        let channel = Channel::open(&name);
        (name, channel)
    };
    Ok(named.into_iter().map(open).collect())
}

/// Credentials lie in another directory for each unit, so that the name of the file alone counts, where it is the only such one.
fn shorten_keys(channels: &mut [Channel]) {
    let short = |name: &str| name.rsplit('/').next().unwrap_or_default().to_owned();
    let all: Vec<_> = channels.iter().map(|channel| short(&channel.name)).collect();
    for channel in channels {
        let key = short(&channel.name);
        if all.iter().filter(|other| **other == key).count() == 1 {
            channel.key = key;
        }
    }
}

fn files_of(directory: &Path) -> Result<Vec<String>, Failure> {
    let hint = "describe a channel in a file NAME.toml there, as dr-notify(1) has it, or name one with --channel";
    let nobody = |why: String| Failure::new(Exit::Config, format!("nobody can be told: {why}"), hint);
    let entries = std::fs::read_dir(directory).map_err(|error| nobody(format!("{}: {error}", directory.display())))?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| Failure::io(directory.display(), &error))?.path();
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if path.extension().is_some_and(|extension| extension == "toml") && !hidden {
            files.push(path.to_string_lossy().into_owned());
        }
    }
    files.sort();
    if files.is_empty() { Err(nobody(format!("no file in {} ends in .toml", directory.display()))) } else { Ok(files) }
}

/// What sends requests, within the time that a channel has.
pub struct Post<'a> {
    client: &'a Client,
    until: Instant,
}

impl<'a> Post<'a> {
    /// From now on a channel has `patience`.
    pub fn new(client: &'a Client, patience: Duration) -> Self {
        Post { client, until: Instant::now() + patience }
    }

    /// What is left of it.
    pub fn left(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }

    /// Sends one request.
    ///
    /// # Errors
    /// As [`Client::send`].
    fn send(&self, url: &Url, headers: &[(&str, String)], body: Vec<u8>) -> Result<Answer, Failure> {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        self.client.send(&Request { method: Method::Post, url: url.clone(), headers, body, patience: self.left() })
    }

    /// Sends JSON.
    ///
    /// # Errors
    /// As [`Post::send`].
    fn send_json(&self, url: &Url, body: &impl serde::Serialize) -> Result<Answer, Failure> {
        let body = serde_json::to_vec(body).expect("it has strings and numbers only");
        self.send(url, &[("Content-Type", "application/json".into())], body)
    }
}

/// Reads an answer. A 2xx of somebody else, such as the page of a proxy that wants a password, must not count as told.
///
/// # Errors
/// 76 where it is not what this kind of server says.
fn expect<T: serde::de::DeserializeOwned>(url: &Url, answer: &Answer, is_good: fn(&T) -> bool) -> Result<(), Failure> {
    match serde_json::from_slice(&answer.body) {
        Ok(said) if is_good(&said) => Ok(()),
        _ => {
            let message = format!("{url} answered {}, and yet does not say that it has taken the notice", answer.status);
            Err(Failure::new(Exit::Protocol, message, "is it the right URL for this kind of channel, and is there a proxy?"))
        }
    }
}
