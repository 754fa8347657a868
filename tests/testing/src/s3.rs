//! Real S3 servers for a test, each on a loopback port of its own, in a scratch directory, gone when the test ends.
//!
//! No one server does everything: [`S3sFs`] checks digests and creates without overwriting, [`Moto`] knows locks, tags and
//! storage classes, [`Garage`] is a real distributed store, which ignores `If-None-Match`.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// The bucket that every server starts with.
pub const BUCKET: &str = "dr-test";

/// The access key that every server takes.
pub const ACCESS_KEY: &str = "GKd0a1b2c3d4e5f60718293a4b";
/// Its secret.
pub const SECRET_KEY: &str = "4c65d0a1b2c3d4e5f60718293a4b4c5d6e7f8091a2b3c4d5e6f708192a3b4c5d";

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs a server, and beside it a watcher that ends it and removes its directory when the test ends without a word,
/// whatever ended it: its end of the pipe is closed then.
const RUN: &str = r#"
directory=$1; shift; exec 3<&0
( read -r word <&3 && exit; kill -KILL $$ 2> /dev/null; rm -rf -- "$directory" ) > /dev/null 2>&1 &
exec 3<&- < /dev/null; exec "$@""#;

/// s3s-fs: digests and create-only writes.
#[derive(Debug)]
pub struct S3sFs(Running);

/// moto: object lock, versions, tags, storage classes. Takes any credentials, and bytes with wrong digests.
#[derive(Debug)]
pub struct Moto(Running);

/// moto behind TLS, without any bucket: its certificate is in `certificate.pem` of its directory, and names 127.0.0.1.
#[derive(Debug)]
pub struct MotoTls(Running);

/// garage: a distributed store. Ignores `If-None-Match` and object lock.
#[derive(Debug)]
pub struct Garage(Running);

/// A server that runs until this is dropped.
#[derive(Debug)]
struct Running {
    address: SocketAddr,
    directory: TempDir,
    child: Mutex<Child>,
    /// Keeps the port from other tests.
    _reserved: UnixListener,
}

impl S3sFs {
    /// Starts the server with an empty bucket.
    ///
    /// # Panics
    /// If it is not installed (scripts/setup test), or does not start.
    pub fn start() -> S3sFs {
        let program = tool("s3s-fs").expect("s3s-fs is installed: run scripts/setup test");
        S3sFs(Running::start(|directory, port| {
            fs::create_dir_all(directory.join("data").join(BUCKET))?;
            let mut command = Command::new(&program);
            command.args(["--host", "127.0.0.1", "--port", &port.to_string()]);
            command.args(["--access-key", ACCESS_KEY, "--secret-key", SECRET_KEY]).arg(directory.join("data"));
            Ok(command)
        }))
    }
}

impl Moto {
    /// Starts the server with an empty bucket in which objects can be locked.
    ///
    /// # Panics
    /// If it is not installed (scripts/setup test), or does not start.
    pub fn start() -> Moto {
        let program = tool("moto_server").expect("moto_server is installed: run scripts/setup test");
        let moto = Moto(Running::start(|_, port| {
            let mut command = Command::new(&program);
            command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
            Ok(command)
        }));
        // On a busy machine it hangs up on whoever comes first.
        let create = |_| moto.send("PUT", &format!("/{BUCKET}"), "x-amz-bucket-object-lock-enabled: true\r\n");
        let created = (0..10).map(create).find(|answer| !answer.is_empty()).unwrap_or_default();
        assert!(created.starts_with("HTTP/1.1 200"), "the bucket cannot be created: {created}");
        moto
    }

    /// Sends a request without a body, `headers` each ending in CR LF, and gives the whole answer. moto looks for a
    /// signature, and not at it.
    ///
    /// # Panics
    /// If the server does not answer.
    pub fn send(&self, method: &str, path: &str, headers: &str) -> String {
        let credential = format!("Credential={ACCESS_KEY}/20260125/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0");
        let headers = format!("{headers}Authorization: AWS4-HMAC-SHA256 {credential}\r\n");
        self.0.send(method, path, &headers).expect("moto answers")
    }

    /// What is in the bucket that is not done: the XML of its multipart uploads.
    pub fn multipart_uploads(&self) -> String {
        self.send("GET", &format!("/{BUCKET}?uploads"), "")
    }
}

impl MotoTls {
    /// Starts the server with a certificate that only itself vouches for.
    ///
    /// # Panics
    /// If moto or openssl is not installed (scripts/setup test), or the server does not start.
    pub fn start() -> MotoTls {
        let program = tool("moto_server").expect("moto_server is installed: run scripts/setup test");
        MotoTls(Running::start(|directory, port| {
            let (certificate, key) = (directory.join("certificate.pem"), directory.join("key.pem"));
            let mut openssl = Command::new("openssl");
            openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]);
            openssl.args(["-subj", "/CN=dr-test", "-addext", "subjectAltName=IP:127.0.0.1"]);
            openssl.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
            let made = openssl.arg("-out").arg(&certificate).arg("-keyout").arg(&key).stderr(Stdio::null()).status()?;
            assert!(made.success(), "openssl makes a certificate");
            let mut command = Command::new(&program);
            command.args(["-H", "127.0.0.1", "-p", &port.to_string(), "-c"]).arg(certificate).arg("-k").arg(key);
            Ok(command)
        }))
    }

    /// Its URL, for `--endpoint-url`.
    pub fn tls_url(&self) -> String {
        format!("https://{}", self.0.address)
    }
}

impl Garage {
    /// Starts the server with an empty bucket. None if it is not installed (only scripts/setup full does that).
    ///
    /// # Panics
    /// If it is installed and does not start.
    pub fn start() -> Option<Garage> {
        let program = tool("garage")?;
        Some(Garage(Running::start(|directory, port| {
            let config = directory.join("garage.toml");
            let (rpc, _) = free_port()?;
            fs::write(
                &config,
                format!(
                    "metadata_dir = \"{0}/meta\"\ndata_dir = \"{0}/data\"\ndb_engine = \"sqlite\"\nreplication_factor = 1\n\
                     rpc_bind_addr = \"127.0.0.1:{rpc}\"\nrpc_secret = \"{1}\"\n\
                     [s3_api]\ns3_region = \"us-east-1\"\napi_bind_addr = \"127.0.0.1:{port}\"\n",
                    directory.display(),
                    "5a".repeat(32)
                ),
            )?;
            let mut command = Command::new(&program);
            command.arg("-c").arg(config).args(["server", "--single-node", "--default-bucket"]);
            command.env("GARAGE_DEFAULT_BUCKET", BUCKET);
            command.env("GARAGE_DEFAULT_ACCESS_KEY", ACCESS_KEY).env("GARAGE_DEFAULT_SECRET_KEY", SECRET_KEY);
            Ok(command)
        })))
    }
}

/// What every server has.
macro_rules! server {
    ($($name:ident)*) => {$(
        impl $name {
            /// Its URL, for `--endpoint-url`.
            pub fn url(&self) -> String {
                self.0.url()
            }

            /// Its address.
            pub fn address(&self) -> SocketAddr {
                self.0.address
            }

            /// The scratch directory it lives in; an S3sFs has its objects in `data/BUCKET`.
            pub fn directory(&self) -> &Path {
                self.0.directory.path()
            }

            /// Ends it at once, as a crash would.
            pub fn kill(&self) {
                self.0.kill();
            }

            /// The environment in which an S3 client of ours reaches it, and nothing else.
            pub fn environment(&self) -> Vec<(&'static str, String)> {
                environment(&self.url())
            }
        }
    )*};
}

server!(S3sFs Moto MotoTls Garage);

/// The environment in which an S3 client of ours reaches the server at `url`: credentials, and no profiles or roles of
/// this machine.
pub fn environment(url: &str) -> Vec<(&'static str, String)> {
    vec![
        ("DR_ENDPOINT_URL", url.into()),
        ("AWS_ACCESS_KEY_ID", ACCESS_KEY.into()),
        ("AWS_SECRET_ACCESS_KEY", SECRET_KEY.into()),
        ("AWS_REGION", "us-east-1".into()),
        ("AWS_EC2_METADATA_DISABLED", "true".into()),
        ("AWS_CONFIG_FILE", "/dev/null".into()),
        ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null".into()),
    ]
}

/// A program of `scripts/setup`, else one of the PATH.
pub fn tool(name: &str) -> Option<PathBuf> {
    let cache = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache/dr"));
    let ours = cache.into_iter().flat_map(|cache| [cache.join("tools/bin"), cache.join("venv/bin")]);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let theirs = std::env::split_paths(&path).collect::<Vec<_>>();
    ours.chain(theirs).map(|directory| directory.join(name)).find(|program| program.is_file())
}

impl Running {
    /// Starts a server on a port that was free a moment ago, again on another one if that was taken meanwhile.
    fn start(command: impl Fn(&Path, u16) -> io::Result<Command>) -> Running {
        for _ in 0..5 {
            let directory = tempfile::Builder::new().prefix("drs3").tempdir_in("/tmp").expect("a scratch directory");
            let (port, reserved) = free_port().expect("a free port");
            let log = fs::File::create(directory.path().join("log")).expect("a log");
            let server = command(directory.path(), port).expect("its files");
            let mut shell = Command::new("sh");
            shell.args(["-c", RUN, "sh"]).arg(directory.path()).arg(server.get_program()).args(server.get_args());
            shell.envs(server.get_envs().filter_map(|(name, value)| Some((name, value?))));
            shell.stdin(Stdio::piped()).stdout(log.try_clone().expect("its log")).stderr(log);
            let child = shell.process_group(0).spawn().expect("the server can be run");
            let address = (Ipv4Addr::LOCALHOST, port).into();
            let running = Running { address, directory, child: Mutex::new(child), _reserved: reserved };
            if running.answers() {
                return running;
            }
        }
        panic!("the server did not start, five times");
    }

    /// Waits for the first answer; false if the server has ended instead.
    fn answers(&self) -> bool {
        let begun = Instant::now();
        loop {
            // One that wants TLS hangs up without a word.
            if self.send("GET", "/", "").is_ok() {
                return !self.has_ended();
            }
            if self.has_ended() {
                return false;
            }
            assert!(begun.elapsed() < PATIENCE, "no answer: {}", self.log());
            std::thread::park_timeout(Duration::from_millis(10));
        }
    }

    fn has_ended(&self) -> bool {
        !matches!(self.child.lock().unwrap_or_else(PoisonError::into_inner).try_wait(), Ok(None))
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    fn send(&self, method: &str, path: &str, headers: &str) -> io::Result<String> {
        let mut connection = TcpStream::connect_timeout(&self.address, PATIENCE)?;
        connection.set_read_timeout(Some(PATIENCE))?;
        let host = self.address;
        let request =
            format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n{headers}Content-Length: 0\r\nConnection: close\r\n\r\n");
        connection.write_all(request.as_bytes())?;
        let mut answer = Vec::new();
        match connection.read_to_end(&mut answer) {
            Err(error) if error.kind() != io::ErrorKind::ConnectionReset => return Err(error),
            _ => {}
        }
        connection.shutdown(Shutdown::Both).or_else(|error| match error.kind() {
            io::ErrorKind::NotConnected => Ok(()),
            _ => Err(error),
        })?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn kill(&self) {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        // It may have ended by itself; waiting for it then gives its outcome again.
        drop(child.kill());
        drop(child.wait());
        if let Some(mut watcher) = child.stdin.take() {
            drop(writeln!(watcher, "ended"));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A port that is free, and a name that no other test can have as long as it is held. A server takes a second to bind its port: another
/// one would be answered by this one meanwhile, take it for its own, and lose it when this test ends.
fn free_port() -> io::Result<(u16, UnixListener)> {
    loop {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        match UnixListener::bind_addr(&UnixAddr::from_abstract_name(format!("dr-test-port-{port}"))?) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            reserved => return Ok((port, reserved?)),
        }
    }
}
