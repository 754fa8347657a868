//! What does the connection string ask of TLS? (PostgreSQL, "SSL Support".)

use std::path::{Path, PathBuf};

use super::parse::Settings;
use super::{Address, filled};
use crate::Error;

/// libpq's `sslmode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SslMode {
    Disable,
    Allow,
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

impl SslMode {
    pub(crate) fn name(self) -> &'static str {
        match self {
            SslMode::Disable => "disable",
            SslMode::Allow => "allow",
            SslMode::Prefer => "prefer",
            SslMode::Require => "require",
            SslMode::VerifyCa => "verify-ca",
            SslMode::VerifyFull => "verify-full",
        }
    }
}

/// libpq's `sslnegotiation`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SslNegotiation {
    Postgres,
    Direct,
}

/// libpq's `channel_binding`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChannelBinding {
    Disable,
    Prefer,
    Require,
}

/// Whose certificates are trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RootCert {
    /// Those in a PEM file.
    File(PathBuf),
    /// Those the operating system trusts.
    System,
}

/// What TLS is to be like; the mode may differ by host.
#[derive(Clone, Debug)]
pub(crate) struct SslSettings {
    mode: Option<SslMode>,
    pub negotiation: SslNegotiation,
    pub channel_binding: ChannelBinding,
    /// None: no file is named, and the default one is not there.
    pub root: Option<RootCert>,
    pub certificate: Option<PathBuf>,
    pub key: Option<PathBuf>,
    pub crl: Option<PathBuf>,
    pub only_tls13: bool,
    pub only_tls12: bool,
    pub sni: bool,
}

impl SslSettings {
    pub(super) fn from_settings(settings: &Settings, home: Option<&Path>) -> Result<SslSettings, Error> {
        let in_home = |name: &str| home.map(|home| home.join(".postgresql").join(name)).filter(|path| path.exists());
        let file = |keyword: &str, name: &str| filled(settings, keyword).map(PathBuf::from).or_else(|| in_home(name));
        let root = match filled(settings, "sslrootcert") {
            Some("system") => Some(RootCert::System),
            _ => file("sslrootcert", "root.crt").map(RootCert::File),
        };
        let mode = settings.get("sslmode").map(|name| mode(name)).transpose()?;
        let mode = if root == Some(RootCert::System) { Some(stronger(mode)?) } else { mode };
        let negotiation = negotiation(settings.get("sslnegotiation").map(String::as_str), mode)?;
        let only = |keyword: &str, version: &str| filled(settings, keyword) == Some(version);
        for keyword in ["ssl_min_protocol_version", "ssl_max_protocol_version"] {
            protocol_version(keyword, filled(settings, keyword))?;
        }
        if only("ssl_min_protocol_version", "TLSv1.3") && only("ssl_max_protocol_version", "TLSv1.2") {
            return Err(Error::config("invalid SSL protocol version range"));
        }
        Ok(SslSettings {
            mode,
            negotiation,
            channel_binding: channel_binding(settings.get("channel_binding").map(String::as_str))?,
            root,
            certificate: file("sslcert", "postgresql.crt"),
            key: file("sslkey", "postgresql.key"),
            crl: file("sslcrl", "root.crl"),
            only_tls13: only("ssl_min_protocol_version", "TLSv1.3"),
            only_tls12: only("ssl_max_protocol_version", "TLSv1.2"),
            sni: filled(settings, "sslsni") != Some("0"),
        })
    }

    /// The mode for one host. Unlike libpq's, the default for another host is verify-full, and the modes that let anyone in
    /// between turn encryption off unseen are refused there. On a Unix socket there is no TLS.
    pub(super) fn mode_for(&self, address: &Address) -> Result<SslMode, Error> {
        match (address, self.mode) {
            (Address::Socket(_), _) => Ok(SslMode::Disable),
            (_, None) if address.is_local() => Ok(SslMode::Prefer),
            (_, None) => Ok(SslMode::VerifyFull),
            (_, Some(mode @ (SslMode::Allow | SslMode::Prefer))) if !address.is_local() => Err(Error::Config {
                message: format!("sslmode \"{}\" to {address} lets anyone in between read everything", mode.name()),
                hint: "use sslmode=verify-full with sslrootcert=FILE; require encrypts to whoever answers, disable not at all",
            }),
            (_, Some(mode)) => Ok(mode),
        }
    }
}

fn mode(name: &str) -> Result<SslMode, Error> {
    use SslMode::{Allow, Disable, Prefer, Require, VerifyCa, VerifyFull};
    let known = [Disable, Allow, Prefer, Require, VerifyCa, VerifyFull].into_iter().find(|mode| mode.name() == name);
    known.ok_or_else(|| Error::config(format!("invalid sslmode value: \"{name}\"")))
}

/// With the system's roots, which would vouch for anybody's name, only verify-full makes sense.
fn stronger(mode: Option<SslMode>) -> Result<SslMode, Error> {
    match mode.unwrap_or(SslMode::VerifyFull) {
        SslMode::VerifyFull => Ok(SslMode::VerifyFull),
        weak => {
            let message = format!("weak sslmode \"{}\" may not be used with sslrootcert=system (use \"verify-full\")", weak.name());
            Err(Error::config(message))
        }
    }
}

fn negotiation(name: Option<&str>, mode: Option<SslMode>) -> Result<SslNegotiation, Error> {
    match name.unwrap_or("postgres") {
        "postgres" => Ok(SslNegotiation::Postgres),
        "direct" => match mode {
            Some(weak @ (SslMode::Disable | SslMode::Allow | SslMode::Prefer)) => {
                let message = format!("weak sslmode \"{}\" may not be used with sslnegotiation=direct", weak.name());
                Err(Error::config(format!("{message} (use \"require\", \"verify-ca\", or \"verify-full\")")))
            }
            _ => Ok(SslNegotiation::Direct),
        },
        other => Err(Error::config(format!("invalid sslnegotiation value: \"{other}\""))),
    }
}

fn channel_binding(name: Option<&str>) -> Result<ChannelBinding, Error> {
    match name.unwrap_or("prefer") {
        "disable" => Ok(ChannelBinding::Disable),
        "prefer" => Ok(ChannelBinding::Prefer),
        "require" => Ok(ChannelBinding::Require),
        other => Err(Error::config(format!("invalid channel_binding value: \"{other}\""))),
    }
}

/// Versions below 1.2, which libpq still has names for, are not spoken here.
fn protocol_version(keyword: &str, name: Option<&str>) -> Result<(), Error> {
    match name {
        None | Some("TLSv1.2" | "TLSv1.3") => Ok(()),
        Some("TLSv1" | "TLSv1.1") if keyword.starts_with("ssl_min") => Ok(()),
        Some(other) => Err(Error::config(format!("invalid {keyword} value: \"{other}\""))),
    }
}
