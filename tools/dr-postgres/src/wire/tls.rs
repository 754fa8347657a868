//! TLS as libpq's settings ask for it, by rustls.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, RootCertStore, SupportedProtocolVersion};

use super::verify::Verifier;
use crate::Error;
use crate::conninfo::{Address, Host, RootCert, SslMode, SslNegotiation, SslSettings};

/// Where distributions keep the certificates that the system trusts, in one file.
const BUNDLES: [&str; 4] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem"];

/// The file of certificates that the system trusts, if it is in a known place.
pub(crate) fn system_bundle() -> Option<PathBuf> {
    BUNDLES.iter().map(PathBuf::from).find(|path| path.exists())
}

/// A client's side of TLS with this host, before its first byte.
pub(super) fn client(ssl: &SslSettings, host: &Host) -> Result<ClientConnection, Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_protocol_versions(versions(ssl)).map_err(|error| Error::config(error.to_string()))?;
    let verifier = verifier(ssl, host, provider)?;
    let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match identity(ssl)? {
        Some((chain, key)) => builder
            .with_client_auth_cert(chain, key)
            .map_err(|error| certificate(format!("the client's certificate or key: {error}")))?,
        None => builder.with_no_client_auth(),
    };
    config.enable_sni = ssl.sni;
    if ssl.negotiation == SslNegotiation::Direct {
        config.alpn_protocols = vec![b"postgresql".to_vec()];
    }
    let name = server_name(host)?;
    ClientConnection::new(Arc::new(config), name).map_err(|error| Error::config(error.to_string()))
}

fn versions(ssl: &SslSettings) -> &'static [&'static SupportedProtocolVersion] {
    static ALL: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];
    match (ssl.only_tls12, ssl.only_tls13) {
        (true, _) => &ALL[1..],
        (_, true) => &ALL[..1],
        _ => &ALL,
    }
}

/// The name that the certificate must be for; libpq demands one only where it is looked at.
fn server_name(host: &Host) -> Result<ServerName<'static>, Error> {
    let name = match &host.address {
        Address::Tcp { name: Some(name), .. } => name.clone(),
        Address::Tcp { address: Some(_), .. } if host.ssl_mode == SslMode::VerifyFull => {
            return Err(Error::config("host name must be specified for a verified SSL connection"));
        }
        address => address.to_string(),
    };
    match ServerName::try_from(name.clone()) {
        Ok(name) => Ok(name),
        Err(_) if host.ssl_mode != SslMode::VerifyFull => Ok(ServerName::try_from("invalid").expect("a valid name")),
        Err(error) => Err(Error::config(format!("host name \"{name}\" cannot be in a certificate: {error}"))),
    }
}

fn verifier(ssl: &SslSettings, host: &Host, provider: Arc<rustls::crypto::CryptoProvider>) -> Result<Verifier, Error> {
    let verifies = matches!(host.ssl_mode, SslMode::VerifyCa | SslMode::VerifyFull);
    let roots = match &ssl.root {
        // A file that others may not have put there: libpq looks into it in every mode.
        Some(RootCert::File(path)) if path.exists() || verifies => root_file(path)?,
        Some(RootCert::System) => system_roots()?,
        None if host.ssl_mode == SslMode::VerifyFull => system_roots()?,
        None if host.ssl_mode == SslMode::VerifyCa => {
            return Err(Error::Config {
                message: "sslmode \"verify-ca\" needs a root certificate".into(),
                hint: "name the server's CA with sslrootcert=FILE, or put it at ~/.postgresql/root.crt",
            });
        }
        _ => return Ok(Verifier::accepting_any(provider)),
    };
    let crls = match &ssl.crl {
        Some(path) => read(path, CertificateRevocationListDer::pem_slice_iter)?,
        None => Vec::new(),
    };
    Verifier::trusting(roots, crls, host.ssl_mode == SslMode::VerifyFull, provider)
}

fn root_file(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let roots = read(path, CertificateDer::pem_slice_iter)?;
    if roots.is_empty() {
        return Err(certificate(format!("root certificate file \"{}\" holds no certificate", path.display())));
    }
    Ok(roots)
}

fn system_roots() -> Result<Vec<CertificateDer<'static>>, Error> {
    let found = rustls_native_certs::load_native_certs();
    if found.certs.is_empty() {
        return Err(Error::Config {
            message: "the system has no root certificates".into(),
            hint: "name the server's CA with sslrootcert=FILE, or put it at ~/.postgresql/root.crt, or install ca-certificates",
        });
    }
    Ok(found.certs)
}

/// The certificate and key that we show, if we have any.
fn identity(ssl: &SslSettings) -> Result<Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>, Error> {
    let Some(path) = &ssl.certificate else { return Ok(None) };
    let chain = read(path, CertificateDer::pem_slice_iter)?;
    let Some(path) = &ssl.key else {
        return Err(certificate("certificate present, but no private key: name it with sslkey=FILE".into()));
    };
    let shown = path.display();
    let metadata = std::fs::metadata(path).map_err(|error| certificate(format!("private key file \"{shown}\": {error}")))?;
    let forbidden = if metadata.uid() == 0 { 0o037 } else { 0o077 };
    if metadata.mode() & forbidden != 0 {
        return Err(certificate(format!("private key file \"{shown}\" has group or world access: chmod 600 {shown}")));
    }
    let key = PrivateKeyDer::from_pem_file(path);
    let key =
        key.map_err(|error| certificate(format!("private key file \"{shown}\": {error} (encrypted keys are not supported)")))?;
    Ok(Some((chain, key)))
}

type PemIter<'a, T> = rustls::pki_types::pem::SliceIter<'a, T>;

/// All items of a kind in a PEM file.
fn read<T: PemObject>(path: &Path, items: fn(&[u8]) -> PemIter<'_, T>) -> Result<Vec<T>, Error> {
    let wrong = |error: &dyn std::fmt::Display| certificate(format!("\"{}\": {error}", path.display()));
    let bytes = std::fs::read(path).map_err(|error| wrong(&error))?;
    items(&bytes).collect::<Result<_, _>>().map_err(|error| wrong(&error))
}

fn certificate(message: String) -> Error {
    Error::Config { message, hint: "see \"SSL Support\" in PostgreSQL's manual of libpq" }
}

/// Why a handshake failed: the certificate's fault, or the network's.
pub(super) fn failure(place: &str, error: &io::Error) -> Error {
    let Some(cause) = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>()) else {
        let hint = "is the server's host up, and does it speak TLS?";
        return Error::Unavailable { message: format!("{place}: SSL SYSCALL error: {error}"), hint };
    };
    let hint = match cause {
        rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer) => {
            "name the CA that signed the server's certificate with sslrootcert=FILE"
        }
        rustls::Error::InvalidCertificate(_) => {
            "connect to a name that the server's certificate is for; `openssl x509 -text` shows it"
        }
        _ => "see the server's log",
    };
    Error::Config { message: format!("{place}: SSL error: {cause}"), hint }
}

/// The trusted roots as rustls holds them; certificates that it cannot read are passed over, as OpenSSL does.
pub(super) fn store(roots: &[CertificateDer<'static>]) -> RootCertStore {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(roots.iter().cloned());
    store
}
