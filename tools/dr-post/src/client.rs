//! What sends requests, and how long it tries.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use dr_pipe::{Exit, Failure};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};

use crate::Url;
use crate::attempt::{self, Attempt};

/// How others on the network are reached and trusted.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct PostArgs {
    /// Trust the certificates in FILE (PEM) instead of the system's
    #[arg(long, value_name = "FILE", env = "DR_POST_CA_FILE")]
    pub ca_file: Option<PathBuf>,

    /// Allow a URL without TLS that is not on this host
    #[arg(long, env = "DR_POST_INSECURE_HTTP", value_parser = clap::builder::FalseyValueParser::new())]
    pub insecure_http: bool,
}

/// What is done to the URL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Method {
    /// The body is sent.
    #[default]
    Post,
    /// The body is sent, in the place of what is there.
    Put,
    /// There is no body.
    Get,
}

/// A request.
#[derive(Clone, Debug)]
pub struct Request {
    /// What is done.
    pub method: Method,
    /// Where.
    pub url: Url,
    /// Names and values; `User-Agent`, `Content-Length` and the URL's own `Authorization` are added.
    pub headers: Vec<(String, String)>,
    /// What is sent.
    pub body: Vec<u8>,
    /// How long all attempts together may take.
    pub patience: Duration,
}

/// What a server has answered: always a 2xx.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its number.
    pub status: u16,
    /// Names, in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// The beginning of its body: at most 64 KiB.
    pub body: Vec<u8>,
}

impl Answer {
    /// The value of a header, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str())
    }
}

/// Sends one request, trusting the system's certificates, or those of `$SSL_CERT_FILE`.
///
/// # Errors
/// As [`Client::send`].
pub fn send(request: &Request) -> Result<Answer, Failure> {
    Client::new(&PostArgs::default())?.send(request)
}

/// Sends requests.
#[derive(Clone, Debug)]
pub struct Client {
    agent: ureq::Agent,
    insecure_http: bool,
}

impl Client {
    /// Reads the certificates.
    ///
    /// # Errors
    /// 66, 74 or 77 if the file cannot be read, 78 if no certificate is in it.
    pub fn new(args: &PostArgs) -> Result<Self, Failure> {
        let roots = match &args.ca_file {
            Some(file) => named(file)?,
            None => the_system_s(),
        };
        let tls = TlsConfig::builder()
            .provider(TlsProvider::Rustls)
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .root_certs(RootCerts::Specific(Arc::new(roots)))
            .build();
        let config = ureq::Agent::config_builder()
            .tls_config(tls)
            .http_status_as_error(false)
            // Where a request went to somebody else, the secret in its URL would, too.
            .max_redirects(0)
            .user_agent(concat!("dr/", env!("CARGO_PKG_VERSION")))
            .build();
        Ok(Client { agent: config.new_agent(), insecure_http: args.insecure_http })
    }

    /// Sends a request, again and again until it is answered or patience has run out: where there is no answer, and where the
    /// answer is 408, 429 or 5xx. So it may arrive twice.
    ///
    /// # Errors
    /// 69 where there was no good answer in time; 76 where what came is no HTTP; 77 for 401 and 403; 78 for every other answer
    /// that will not change, a wrong certificate, and a URL without TLS on another host. None of them shows the URL's path,
    /// query or userinfo.
    pub fn send(&self, request: &Request) -> Result<Answer, Failure> {
        if request.url.is_open() && !self.insecure_http {
            let message = format!("{} has no TLS, and is not on this host", request.url);
            return Err(Failure::new(Exit::Config, message, "use https, or allow it with --insecure-http"));
        }
        let end = Instant::now() + request.patience;
        let mut pauses = 0;
        loop {
            let (failure, wait) = match attempt::attempt(&self.agent, request, end) {
                Attempt::Answered(answer) => return Ok(answer),
                Attempt::Refused(failure) => return Err(failure),
                Attempt::Again { failure, after } => (failure, after),
            };
            let pause = wait.unwrap_or_else(|| attempt::pause(pauses));
            pauses += 1;
            // A server may ask for any pause, so nothing is added to the clock here.
            if pause >= end.saturating_duration_since(Instant::now()) {
                return Err(failure);
            }
            wait_for(pause);
        }
    }
}

fn wait_for(pause: Duration) {
    let end = Instant::now() + pause;
    while let Some(left) = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
        std::thread::park_timeout(left);
    }
}

fn named(file: &Path) -> Result<Vec<Certificate<'static>>, Failure> {
    let pem = std::fs::read(file).map_err(|error| Failure::io(file.display(), &error))?;
    let wrong = |why: String| {
        let hint = "--ca-file takes certificates in PEM form, as in /etc/ssl/certs";
        Failure::new(Exit::Config, format!("{}: {why}", file.display()), hint)
    };
    let read = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>().map_err(|error| wrong(error.to_string()))?;
    if read.is_empty() {
        return Err(wrong("there is no certificate in it".into()));
    }
    Ok(read.iter().map(|certificate| Certificate::from_der(certificate).to_owned()).collect())
}

/// Those of `$SSL_CERT_FILE` and `$SSL_CERT_DIR`, else the system's. Where there are none, every certificate will be a wrong one.
fn the_system_s() -> Vec<Certificate<'static>> {
    let found = rustls_native_certs::load_native_certs().certs;
    found.iter().map(|certificate| Certificate::from_der(certificate).to_owned()).collect()
}
