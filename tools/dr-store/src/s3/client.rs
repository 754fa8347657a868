//! How is the server reached? As the AWS tools reach it, and over TLS unless it is this very host.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use aws_config::BehaviorVersion;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::{ProfileFileCredentialsProvider, ProfileFileRegionProvider};
use aws_config::retry::RetryConfig;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::timeout::TimeoutConfig;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::{Region, RequestChecksumCalculation, ResponseChecksumValidation, SharedHttpClient};
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode};

use super::connection::Remembered;
use crate::args::PathStyle;
use crate::{Error, Location, StoreArgs};

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(10);
/// How long a connection may carry nothing.
const IDLE: Duration = Duration::from_secs(30);

/// A server that can be spoken to.
pub(super) struct Reached {
    pub(super) client: Client,
    /// Where the client takes its credentials from.
    pub(super) credentials: Remembered,
    /// Its URL, where it is not AWS's.
    pub(super) endpoint: Option<String>,
}

/// Makes a client from the environment, profiles and roles as aws-config knows them, and from our flags.
pub(super) async fn reach(location: &Location, args: &StoreArgs) -> Result<Reached, Error> {
    let mut loader = aws_config::defaults(BehaviorVersion::latest());
    if let Some(profile) = &args.profile {
        // Named for this store alone, it comes before what the environment has for all of them.
        let region = ProfileFileRegionProvider::builder().profile_name(profile).build();
        let credentials = ProfileFileCredentialsProvider::builder().profile_name(profile).build();
        let region = RegionProviderChain::first_try(region).or_default_provider();
        loader = loader.profile_name(profile).credentials_provider(credentials).region(region);
    }
    if let Some(region) = &args.region {
        loader = loader.region(Region::new(region.clone()));
    }
    if let Some(url) = &args.endpoint_url {
        loader = loader.endpoint_url(url);
    }
    let shared = loader.load().await;
    // What decides is what the SDK will use, which AWS_ENDPOINT_URL_S3 and profiles may name too.
    let endpoint = args.endpoint_url.clone().or_else(endpoint_of_s3).or_else(|| shared.endpoint_url().map(str::to_owned));
    if let Some(url) = &endpoint {
        must_be_safe(location, url, args.insecure_http)?;
    }
    let mut config = aws_sdk_s3::config::Builder::from(&shared)
        // Ours, which knows whether an earlier attempt may have taken effect.
        .retry_config(RetryConfig::disabled())
        .timeout_config(TimeoutConfig::builder().connect_timeout(CONNECT).build())
        .stalled_stream_protection(StalledStreamProtectionConfig::enabled().grace_period(IDLE).build())
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .force_path_style(match args.path_style {
            PathStyle::Auto => endpoint.is_some(),
            PathStyle::Always => true,
            PathStyle::Never => false,
        });
    match shared.region() {
        Some(_) => {}
        None if endpoint.is_some() => config = config.region(Region::new("us-east-1")),
        None => {
            return Err(Error::Config {
                object: location.to_string(),
                why: "no AWS region is set".into(),
                hint: "set AWS_REGION, or a region in ~/.aws/config; for another server than AWS: --endpoint-url".into(),
            });
        }
    }
    // For the store alone: credentials may come from servers that the system's certificates vouch for.
    if let Some(file) = args.ca_file.as_deref().or(named_by_aws().as_deref()) {
        config = config.http_client(trusting(file)?);
    }
    let credentials = shared.credentials_provider().map(Remembered::new).ok_or_else(|| Error::Config {
        object: location.to_string(),
        why: "no credentials are set".into(),
        hint: "give credentials as for the aws command: environment, ~/.aws, or the role of this machine".into(),
    })?;
    Ok(Reached { client: Client::from_conf(config.credentials_provider(credentials.clone()).build()), credentials, endpoint })
}

fn named_by_aws() -> Option<std::path::PathBuf> {
    std::env::var_os("AWS_CA_BUNDLE").filter(|path| !path.is_empty()).map(Into::into)
}

fn endpoint_of_s3() -> Option<String> {
    std::env::var("AWS_ENDPOINT_URL_S3").ok().filter(|url| !url.is_empty())
}

/// An HTTP client that trusts the certificates in `file`, and no others.
fn trusting(file: &Path) -> Result<SharedHttpClient, Error> {
    let wrong = |why: String| Error::Config {
        object: file.display().to_string(),
        why,
        hint: "--ca-file takes certificates in PEM form, as in /etc/ssl/certs".into(),
    };
    let pem = std::fs::read(file).map_err(|error| Error::io(file.display(), error))?;
    if !pem.windows(27).any(|window| window == b"-----BEGIN CERTIFICATE-----") {
        return Err(wrong("there is no certificate in it".into()));
    }
    let store = TrustStore::empty().with_pem_certificate(pem);
    let context = TlsContext::builder().with_trust_store(store).build().map_err(|error| wrong(error.to_string()))?;
    // As the SDK makes its own client, proxy included, with another trust store.
    Ok(aws_smithy_http_client::Builder::new().build_with_connector_fn(move |settings, components| {
        let mut connector = aws_smithy_http_client::Connector::builder().proxy_config(ProxyConfig::from_env());
        connector.set_connector_settings(settings.cloned());
        connector.set_sleep_impl(components.and_then(|components| components.sleep_impl()));
        connector.tls_provider(Provider::Rustls(CryptoMode::AwsLc)).tls_context(context.clone()).build()
    }))
}

/// Refuses an endpoint that would carry backups in the clear over a network.
fn must_be_safe(location: &Location, url: &str, insecure_http: bool) -> Result<(), Error> {
    let wrong = |why: String, hint: &str| Err(Error::Config { object: location.to_string(), why, hint: hint.into() });
    if url.starts_with("https://") {
        return Ok(());
    }
    let Some(rest) = url.strip_prefix("http://") else {
        return wrong(format!("the endpoint {url} is no URL"), "write it as https://HOST or https://HOST:PORT");
    };
    if insecure_http || is_loopback(rest) {
        return Ok(());
    }
    wrong(
        format!("the endpoint {url} has no TLS, and is not on this host"),
        "use https://, or accept the risk with --insecure-http",
    )
}

/// Whether `host:port/path` is on this host.
fn is_loopback(authority: &str) -> bool {
    let authority = authority.split('/').next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.rsplit_once(':').map_or(authority, |(host, _)| host),
    };
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn f40_plain_http_goes_to_this_host_only() {
        let location: Location = "s3://b".parse().unwrap();
        for url in
            ["https://s3.example.org", "http://127.0.0.1:9000", "http://localhost:1/", "http://[::1]:9000", "http://127.8.9.1"]
        {
            assert!(must_be_safe(&location, url, false).is_ok(), "{url}");
        }
        for url in [
            "http://s3.example.org",
            "http://10.0.0.1:9000",
            "http://localhost.example.org",
            "http://127.0.0.1@evil",
            "s3.example.org",
        ] {
            assert!(must_be_safe(&location, url, false).is_err(), "{url}");
        }
        assert!(must_be_safe(&location, "http://10.0.0.1:9000", true).is_ok());
    }
}
