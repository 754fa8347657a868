//! The flags that say how stores are reached, for every tool that reaches one.

use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, Utc};

/// How S3 is reached. Credentials, region and the rest come as the AWS tools take them: environment, profiles, SSO,
/// instance and pod roles.
#[derive(Clone, Debug, clap::Args)]
pub struct StoreArgs {
    /// Use the S3-compatible server at URL
    #[arg(long, value_name = "URL", env = "DR_ENDPOINT_URL")]
    pub endpoint_url: Option<String>,

    /// Put the bucket's name into the path instead of the host name; auto: where an endpoint is given
    #[arg(long, value_name = "WHEN", env = "DR_PATH_STYLE", default_value = "auto")]
    pub path_style: PathStyle,

    /// Trust the certificates in FILE (PEM) instead of the system's
    #[arg(long, value_name = "FILE", env = "DR_CA_FILE")]
    pub ca_file: Option<PathBuf>,

    /// Allow an endpoint without TLS that is not on this host
    #[arg(long, env = "DR_INSECURE_HTTP", value_parser = clap::builder::FalseyValueParser::new())]
    pub insecure_http: bool,

    /// Give up on a server that has answered nothing useful for SECONDS
    #[arg(long, value_name = "SECONDS", env = "DR_PATIENCE", default_value = "180", value_parser = clap::value_parser!(u32).range(1..))]
    pub patience: u32,

    /// Read S3 as it was at TIME, past whatever was deleted or overwritten later
    #[arg(long, value_name = "TIME", env = "DR_AS_OF", value_parser = dr_pipe::args::moment)]
    pub as_of: Option<DateTime<Utc>>,

    /// Ask for objects in cold storage to be readable for DAYS, and wait for hours until they are
    #[arg(long, value_name = "DAYS", env = "DR_THAW", value_parser = clap::value_parser!(u16).range(1..=3650))]
    pub thaw: Option<u16>,

    /// The AWS profile that credentials and region are taken from, instead of what the environment says.
    #[arg(skip)]
    pub profile: Option<String>,

    /// The region, instead of what the environment or the profile says.
    #[arg(skip)]
    pub region: Option<String>,
}

impl Default for StoreArgs {
    fn default() -> Self {
        StoreArgs {
            endpoint_url: None,
            path_style: PathStyle::Auto,
            ca_file: None,
            insecure_http: false,
            patience: 180,
            as_of: None,
            thaw: None,
            profile: None,
            region: None,
        }
    }
}

impl StoreArgs {
    /// How long a server is given before it counts as unavailable.
    pub fn patience(&self) -> Duration {
        Duration::from_secs(self.patience.into())
    }
}

/// Where the bucket's name goes in a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum PathStyle {
    /// Into the path where an endpoint is given, else into the host name.
    #[default]
    Auto,
    /// Into the path: `https://host/bucket/key`.
    Always,
    /// Into the host name: `https://bucket.host/key`.
    Never,
}
