//! The flags that say how stores are reached, for every tool that reaches one.

use std::path::PathBuf;

/// How S3 is reached. Credentials, region and the rest come as the AWS tools take them: environment, profiles, SSO,
/// instance and pod roles.
#[derive(Clone, Debug, Default, clap::Args)]
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
