//! Those who wait for a sign of life: a URL each, and the protocol that it speaks.

use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use dr_pipe::{Exit, Failure, secret};
use dr_post::{Answer, Client, Method, Request, Url};

use crate::args::Args;
use crate::ended::Ended;

/// As much of what a job has said goes with a ping, in bytes.
pub const BODY_BYTES: usize = 10_000;

/// As much of it goes into a URL.
const WORDS_BYTES: usize = 200;

/// The answer's header that says how much of a body is kept.
const LIMIT: &str = "ping-body-limit";

/// The protocol that a URL speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Style {
    /// Uptime Kuma's where the path begins with /api/push/, else that of healthchecks.io.
    Auto,
    /// That of healthchecks.io: POST to URL, URL/start, URL/fail, URL/log and URL/CODE.
    Healthchecks,
    /// That of Uptime Kuma's push monitors: GET of URL?status=up or down.
    Kuma,
}

/// What is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// The job has begun.
    Start,
    /// It has ended.
    End(Ended),
    /// Neither: something to read.
    Log,
}

/// A ping.
#[derive(Clone, Debug)]
pub struct Ping {
    /// What is told.
    pub news: News,
    /// The name of the run, which brings start and end together.
    pub run: Option<String>,
    /// What it has said last.
    pub text: String,
    /// How long it took.
    pub took: Option<Duration>,
}

/// Whom to ping.
#[derive(Clone, Debug)]
pub struct Pinger {
    targets: Vec<Target>,
    client: Client,
}

#[derive(Clone, Debug)]
struct Target {
    url: Url,
    kuma: bool,
    /// The line it was read from.
    line: String,
    /// As much of a body it keeps.
    limit: usize,
}

impl Pinger {
    /// Reads the file of URLs; none where none is named.
    ///
    /// # Errors
    /// 78 for a line that is no URL, which is not shown, and where there is none; else as [`secret::read`] and [`Client::new`].
    pub fn open(args: &Args) -> Result<Option<Self>, Failure> {
        let Some(file) = &args.ping_file else { return Ok(None) };
        let text = secret::read(file)?;
        let mut targets = Vec::new();
        for (number, line) in text.lines().map(str::trim).enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        {
            let url: Url = line.parse().map_err(|why| {
                let message = format!("{file}: line {}: {why}", number + 1);
                Failure::new(Exit::Config, message, "it takes one URL in each line, and comments after #")
            })?;
            let kuma = match args.ping_style {
                Style::Auto => url.path().starts_with("/api/push/"),
                style => style == Style::Kuma,
            };
            targets.push(Target { url, kuma, line: line.into(), limit: BODY_BYTES });
        }
        if targets.is_empty() {
            return Err(Failure::new(Exit::Config, format!("{file}: there is no URL in it"), "it takes one URL in each line"));
        }
        Ok(Some(Pinger { targets, client: Client::new(&args.post)? }))
    }

    /// The URLs, which no text may show.
    pub fn secrets(&self) -> Vec<String> {
        self.targets.iter().map(|target| target.line.clone()).collect()
    }

    /// Sends a ping to all of them at once.
    pub fn send(&self, ping: &Ping, patience: Duration) -> Sent {
        let (tell, results) = channel();
        let mut open = 0;
        for (place, target) in self.targets.iter().enumerate() {
            let Some(request) = target.request(ping, patience) else { continue };
            let (client, tell) = (self.client.clone(), tell.clone());
            let checked = move || client.send(&request).and_then(|answer| sound(&request.url, answer));
            let told = move || tell.send((place, checked())).unwrap_or_default();
            // Where no thread can be had, nobody hears of it: see the end of `wait`.
            drop(std::thread::Builder::new().name("ping".into()).spawn(told));
            open += 1;
        }
        Sent { results, open }
    }

    /// Takes what the answers say of the sizes of bodies. The failures.
    pub fn take(&mut self, answers: Answers) -> Vec<Failure> {
        let mut failures = Vec::new();
        for (place, answer) in answers {
            match answer {
                Ok(limit) => self.targets[place].limit = limit.unwrap_or(BODY_BYTES).min(BODY_BYTES),
                Err(failure) => failures.push(failure),
            }
        }
        failures
    }
}

/// For each URL by its place, how much of a body it keeps, where it says so; or why it could not be pinged.
pub type Answers = Vec<(usize, Result<Option<usize>, Failure>)>;

/// Pings on their way.
#[derive(Debug)]
pub struct Sent {
    results: Receiver<(usize, Result<Answer, Failure>)>,
    open: usize,
}

impl Sent {
    /// Waits for the answers, until `end` at most, or until `hurry` says that nobody has so much time. None where they are not all there.
    pub fn wait(&mut self, end: Instant, hurry: impl Fn() -> bool) -> Result<Answers, Answers> {
        let mut answers = Vec::new();
        while self.open > 0 {
            let left = end.saturating_duration_since(Instant::now());
            match self.results.recv_timeout(left.min(Duration::from_millis(100))) {
                Ok((place, answer)) => {
                    self.open -= 1;
                    let limit = |answer: Answer| answer.header(LIMIT).and_then(|text| text.parse().ok());
                    answers.push((place, answer.map(limit)));
                }
                Err(RecvTimeoutError::Timeout) if !left.is_zero() && !hurry() => {}
                Err(_) => return Err(answers),
            }
        }
        Ok(answers)
    }
}

impl Target {
    /// The request; none where the protocol has no word for the news.
    fn request(&self, ping: &Ping, patience: Duration) -> Option<Request> {
        let (method, url, body) = if self.kuma {
            (Method::Get, kuma(&self.url, ping)?, Vec::new())
        } else {
            (Method::Post, healthchecks(&self.url, ping), last(&ping.text, self.limit).as_bytes().to_vec())
        };
        Some(Request { method, url, headers: Vec::new(), body, patience })
    }
}

fn healthchecks(url: &Url, ping: &Ping) -> Url {
    let url = match &ping.news {
        News::Start => url.below("start"),
        News::Log => url.below("log"),
        News::End(ended) if ended.is_good() => url.clone(),
        News::End(Ended::With(code)) => url.below(&code.to_string()),
        News::End(_) => url.below("fail"),
    };
    ping.run.as_ref().map_or(url.clone(), |run| url.with("rid", run))
}

fn kuma(url: &Url, ping: &Ping) -> Option<Url> {
    let News::End(ended) = &ping.news else { return None };
    let status = if ended.is_good() { "up" } else { "down" };
    let said = ping.text.lines().rev().find(|line| !line.trim().is_empty()).map(|line| last(line, WORDS_BYTES));
    let words = match (ended.words(), said) {
        (None, _) => "OK".into(),
        (Some(words), None) => words,
        (Some(words), Some(said)) => format!("{words}: {said}"),
    };
    let took = ping.took.map_or(String::new(), |took| took.as_millis().to_string());
    Some(url.with("status", status).with("msg", &words).with("ping", &took))
}

/// The end of a text, of so many bytes at most.
fn last(text: &str, bytes: usize) -> &str {
    &text[text.ceil_char_boundary(text.len().saturating_sub(bytes))..]
}

/// Both kinds of servers say 200 to some pings that count for nothing.
fn sound(url: &Url, answer: Answer) -> Result<Answer, Failure> {
    let body = String::from_utf8_lossy(&answer.body);
    let said = |what: &str, exit, hint: &str| {
        Err(Failure::new(exit, format!("{url} answered {}, and that it {what}", answer.status), hint))
    };
    if body.contains("(not found)") || body.contains("\"ok\":false") {
        return said("knows no such check", Exit::Protocol, "was it deleted there, or mistyped in the file of URLs?");
    }
    if body.contains("(rate limited)") {
        return said("was pinged too often", Exit::Unavailable, "it takes a few pings in a minute");
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn ping(news: News, text: &str) -> Ping {
        Ping { news, run: Some("r1".into()), text: text.into(), took: Some(Duration::from_millis(1500)) }
    }

    #[test]
    fn every_protocol_has_its_words() {
        let url: Url = "https://hc.example/ping/x".parse().unwrap();
        let to = |news| healthchecks(&url, &ping(news, "")).path().to_owned();
        assert_eq!(to(News::Start), "/ping/x/start");
        assert_eq!(to(News::Log), "/ping/x/log");
        assert_eq!(to(News::End(Ended::With(0))), "/ping/x");
        assert_eq!(to(News::End(Ended::With(75))), "/ping/x/75");
        assert_eq!(to(News::End(Ended::By("TERM".into()))), "/ping/x/fail");
        let url: Url = "https://kuma.example/api/push/T?status=up&msg=OK&ping=".parse().unwrap();
        assert!(kuma(&url, &ping(News::Start, "")).is_none());
        let same = |news, text, query: &str| {
            let expected: Url = format!("https://kuma.example/api/push/T?{query}").parse().unwrap();
            assert!(kuma(&url, &ping(news, text)).unwrap() == expected, "{query}");
        };
        same(News::End(Ended::With(0)), "all\nwell", "status=up&msg=OK&ping=1500");
        same(News::End(Ended::With(1)), "first\nlast\n", "status=down&msg=exited+with+1%3A+last&ping=1500");
        same(News::End(Ended::By("KILL".into())), "", "status=down&msg=was+killed+by+SIGKILL&ping=1500");
    }

    #[test]
    fn a_200_that_means_no_is_no() {
        let url: Url = "https://hc.example/ping/x".parse().unwrap();
        let answer = |body: &str| Answer { status: 200, headers: Vec::new(), body: body.into() };
        assert!(sound(&url, answer("OK")).is_ok() && sound(&url, answer("{\"ok\":true}")).is_ok());
        assert_eq!(sound(&url, answer("OK (not found)")).unwrap_err().exit, Exit::Protocol);
        assert_eq!(sound(&url, answer("{\"ok\":false,\"msg\":\"Monitor not found\"}")).unwrap_err().exit, Exit::Protocol);
        assert_eq!(sound(&url, answer("OK (rate limited)")).unwrap_err().exit, Exit::Unavailable);
    }

    #[test]
    fn of_a_long_text_the_end_is_sent() {
        assert_eq!((last("äöü", 3), last("äöü", 4), last("ab", 10)), ("ü", "öü", "ab"));
    }
}
