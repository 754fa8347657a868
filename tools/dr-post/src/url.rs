//! A URL that shows only its scheme and host: the rest of it is what lets one post there.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// An `http` or `https` URL. Its path, query and userinfo appear in no message.
#[derive(Clone, PartialEq, Eq)]
pub struct Url(url::Url);

impl std::str::FromStr for Url {
    type Err = String;

    /// Reads a URL; what is wrong with it is said without it.
    fn from_str(text: &str) -> Result<Self, String> {
        let url = url::Url::parse(text.trim()).map_err(|error| format!("not a URL: {error}"))?;
        if !["http", "https"].contains(&url.scheme()) {
            return Err("its scheme is neither https nor http".into());
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err("it names no host".into());
        }
        Ok(Url(url))
    }
}

impl Url {
    /// The path, such as `/api/push/TOKEN`: a secret.
    pub fn path(&self) -> &str {
        self.0.path()
    }

    /// The host's name or address.
    pub fn host(&self) -> &str {
        self.0.host_str().unwrap_or_default()
    }

    /// The URL whose path has `segment` at its end: `https://host/ping/x?create=1` becomes `https://host/ping/x/fail?create=1`.
    #[must_use]
    pub fn below(&self, segment: &str) -> Self {
        let mut url = self.0.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().push(segment);
        }
        Url(url)
    }

    /// The URL whose query says `key=value`, and nothing else of this key.
    #[must_use]
    pub fn with(&self, key: &str, value: &str) -> Self {
        let mut url = self.0.clone();
        let others: Vec<(String, String)> =
            url.query_pairs().filter(|(name, _)| name != key).map(|(k, v)| (k.into(), v.into())).collect();
        url.query_pairs_mut().clear().extend_pairs(others).append_pair(key, value);
        Url(url)
    }

    /// Whether what is sent there can be read on the way: without TLS, and not on this host.
    pub fn is_open(&self) -> bool {
        let here = match self.0.host() {
            Some(url::Host::Domain(name)) => name == "localhost",
            Some(url::Host::Ipv4(address)) => address.is_loopback(),
            Some(url::Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        };
        self.0.scheme() != "https" && !here
    }

    /// All of it but the userinfo and the fragment: for the request alone.
    pub(crate) fn bare(&self) -> String {
        let mut url = self.0.clone();
        url.set_fragment(None);
        // Neither can fail where there is a host.
        let (Ok(()) | Err(())) = url.set_username("");
        let (Ok(()) | Err(())) = url.set_password(None);
        url.into()
    }

    /// What an `Authorization` header says of its userinfo; none where it has none.
    pub(crate) fn authorization(&self) -> Option<String> {
        let plain = |text: &str| percent_decoded(text);
        let user = plain(self.0.username());
        let password = self.0.password().map(plain);
        if user.is_empty() && password.is_none() {
            return None;
        }
        Some(format!("Basic {}", STANDARD.encode(format!("{user}:{}", password.unwrap_or_default()))))
    }
}

/// Undoes `%40` and its like.
fn percent_decoded(text: &str) -> String {
    // A query decodes so, too, but for its plus and ampersand.
    let query = text.replace('+', "%2B").replace('&', "%26").replace('=', "%3D");
    url::form_urlencoded::parse(query.as_bytes()).map(|(name, _)| name.into_owned()).next().unwrap_or_default()
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.0.scheme(), self.host())?;
        self.0.port().map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Url({self}/…)")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn f96_a_url_shows_its_scheme_and_host_alone() {
        let url: Url = "https://us%40er:can%2Bary@hc.example:8443/ping/canary?key=canary#canary".parse().unwrap();
        assert_eq!(url.to_string(), "https://hc.example:8443");
        assert_eq!(format!("{url:?}"), "Url(https://hc.example:8443/…)");
        assert_eq!(url.bare(), "https://hc.example:8443/ping/canary?key=canary");
        assert_eq!(url.authorization().unwrap(), format!("Basic {}", STANDARD.encode("us@er:can+ary")));
        for wrong in ["canary", "ftp://canary/x", "https://", "file:///canary", "mailto:canary@x", "https://canary:99999/"] {
            let said = wrong.parse::<Url>().unwrap_err();
            assert!(!said.contains("canary"), "{said}");
        }
    }

    #[test]
    fn paths_and_queries_grow() {
        let url: Url = "https://hc.example/ping/x?create=1".parse().unwrap();
        assert_eq!(url.below("fail").with("rid", "1 2").bare(), "https://hc.example/ping/x/fail?create=1&rid=1+2");
        let url: Url = "http://kuma/api/push/T/?status=up&msg=OK&ping=".parse().unwrap();
        assert_eq!(url.with("status", "down").bare(), "http://kuma/api/push/T/?msg=OK&ping=&status=down");
        assert_eq!(url.below("0").path(), "/api/push/T/0");
    }

    #[test]
    fn f96_what_goes_without_tls_over_a_network_is_known() {
        for (text, open) in [
            ("http://hc.example/x", true),
            ("https://hc.example/x", false),
            ("http://127.0.0.1:8000/x", false),
            ("http://localhost/x", false),
            ("http://[::1]/x", false),
            ("http://localhost.example/x", true),
        ] {
            assert_eq!(text.parse::<Url>().unwrap().is_open(), open, "{text}");
        }
    }
}
