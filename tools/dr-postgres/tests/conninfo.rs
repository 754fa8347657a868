//! Connection strings, held against what the real psql makes of them: both connect to a listener that writes down how the
//! client introduces itself and which password it shows.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use dr_postgres::{ConnectArgs, Environment, Error, Session};
use dr_testing::postgres::bin_dir;
use proptest::prelude::*;

/// What became of a connection string.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Outcome {
    /// A listener was reached: its port, the startup parameters, the password if one was shown.
    Connected { port: u16, parameters: BTreeMap<String, String>, password: Option<String> },
    /// It was understood, but nothing listens there.
    Nobody,
    /// It was not understood.
    Malformed,
    /// We refuse a number that libpq would look at only where it needs it.
    BadNumber,
}

/// Two sockets, 5432 and 5433, in a directory that also holds a password file and a service file.
struct Listener {
    directory: tempfile::TempDir,
    heard: Receiver<Option<Outcome>>,
}

impl Listener {
    fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("drci").tempdir_in("/tmp").unwrap();
        let (said, heard) = channel();
        for port in [5432, 5433] {
            let listener = UnixListener::bind(directory.path().join(format!(".s.PGSQL.{port}"))).unwrap();
            let said = said.clone();
            std::thread::spawn(move || {
                for stream in listener.incoming() {
                    // libpq hangs up without a word where it finds a bad number late.
                    let Ok(outcome) = listen(stream.as_ref().unwrap(), port) else { continue };
                    if said.send(outcome).is_err() {
                        break;
                    }
                }
            });
        }
        let host = directory.path().display();
        write_secret(
            &directory.path().join("passfile"),
            &format!("# x\n{host}:5433:*:*:by port\n*:*:a b:*:by\\:database\n*:*:*:o'o:by \\\\user\n"),
        );
        let services = format!(
            "[one]\nuser=served\nport=5433\n# x\n\n[two]\nhost={host}\ndbname=of two\napplication_name= padded \n[bad]\nnonsense\n"
        );
        write_secret(&directory.path().join("services"), &services);
        Listener { directory, heard }
    }

    fn environment(&self, extra: &[(&str, &str)]) -> Vec<(String, String)> {
        let path = |name: &str| self.directory.path().join(name).display().to_string();
        let mut pairs = vec![
            ("PGHOST".to_owned(), self.directory.path().display().to_string()),
            ("PGPASSFILE".into(), path("passfile")),
            ("PGSERVICEFILE".into(), path("services")),
            ("PGAPPNAME".into(), "app".into()),
        ];
        pairs.extend(extra.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        pairs
    }

    fn psql(&self, program: &Path, text: &str, flags: &Flags, extra: &[(&str, &str)]) -> Outcome {
        let mut command = Command::new(program);
        command.env_clear().envs(self.environment(extra)).args(["-Xwc", "", "-d", text]).args(flags.words());
        let output = command.stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        let understood = !said.contains("invalid integer value") && said.contains("connection to server")
            || said.contains("could not translate host name");
        self.outcome(if understood { Outcome::Nobody } else { Outcome::Malformed })
    }

    fn ours(&self, text: &str, flags: &Flags, extra: &[(&str, &str)]) -> Outcome {
        let pairs = self.environment(extra);
        let pairs = pairs.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let user = Command::new("id").arg("-un").output().unwrap();
        let environment = Environment::new(pairs, None, Some(String::from_utf8_lossy(&user.stdout).trim_end()));
        match flags.args().resolve_in(&environment, Some(text)) {
            Ok(conn) => match Session::connect(&conn, "psql") {
                Err(Error::Config { .. }) => self.outcome(Outcome::Malformed),
                _ => self.outcome(Outcome::Nobody),
            },
            Err(error) => {
                assert!(matches!(error, Error::Config { .. }), "{error}");
                if error.to_string().contains("invalid integer value") { Outcome::BadNumber } else { Outcome::Malformed }
            }
        }
    }

    fn outcome(&self, otherwise: Outcome) -> Outcome {
        // Two empty messages, one for each listener, come after whatever came before.
        for port in [5432, 5433] {
            let mut stream = UnixStream::connect(self.directory.path().join(format!(".s.PGSQL.{port}"))).unwrap();
            stream.write_all(&4_u32.to_be_bytes()).unwrap();
        }
        let heard: Vec<_> = self
            .heard
            .iter()
            .scan(2, |left, outcome| {
                *left -= u8::from(outcome.is_none());
                (*left > 0).then_some(outcome)
            })
            .collect();
        heard.into_iter().flatten().next().unwrap_or(otherwise)
    }
}

/// Plays the server up to the password, and writes down what it was told; none for an empty message.
fn listen(mut stream: &UnixStream, port: u16) -> std::io::Result<Option<Outcome>> {
    let startup = read_block(&mut stream)?;
    if startup.is_empty() {
        return Ok(None);
    }
    let mut words = startup[4..].split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned());
    let mut parameters = BTreeMap::new();
    while let (Some(name), Some(value)) = (words.next().filter(|name| !name.is_empty()), words.next()) {
        parameters.insert(name, value);
    }
    stream.write_all(b"R\0\0\0\x08\0\0\0\x03")?;
    let mut tag = [0];
    let password = match stream.read(&mut tag) {
        // A client without a password hangs up.
        Ok(0) | Err(_) => None,
        Ok(_) => Some(String::from_utf8_lossy(&read_block(&mut stream)?).trim_end_matches('\0').to_owned()),
    };
    Ok(Some(Outcome::Connected { port, parameters, password }))
}

fn read_block(stream: &mut &UnixStream) -> std::io::Result<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let mut block = vec![0; usize::try_from(u32::from_be_bytes(length)).unwrap() - 4];
    stream.read_exact(&mut block)?;
    Ok(block)
}

fn write_secret(path: &PathBuf, text: &str) {
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

/// Flags beside the connection string.
#[derive(Clone, Debug, Default)]
struct Flags {
    host: Option<String>,
    port: Option<String>,
    username: Option<String>,
}

impl Flags {
    fn words(&self) -> Vec<String> {
        let pairs = [("-h", &self.host), ("-p", &self.port), ("-U", &self.username)];
        pairs.into_iter().filter_map(|(flag, value)| Some([flag.to_owned(), value.clone()?])).flatten().collect()
    }

    fn args(&self) -> ConnectArgs {
        ConnectArgs { host: self.host.clone(), port: self.port.clone(), username: self.username.clone(), no_password: true }
    }
}

fn flags() -> impl Strategy<Value = Flags> {
    let maybe =
        |values: &'static [&'static str]| proptest::option::weighted(0.2, proptest::sample::select(values).prop_map(str::to_owned));
    (maybe(&["/nowhere", ""]), maybe(&["5433", "", "x"]), maybe(&["flagged", ""])).prop_map(|(host, port, username)| Flags {
        host,
        port,
        username,
    })
}

/// Variables around it.
fn variables() -> impl Strategy<Value = Vec<(&'static str, &'static str)>> {
    let all = [
        ("PGPORT", "5433"),
        ("PGUSER", "o'o"),
        ("PGDATABASE", "a b"),
        ("PGPASSWORD", "from the environment"),
        ("PGSERVICE", "one"),
        ("PGOPTIONS", "-c x=y"),
        ("PGCONNECT_TIMEOUT", "7"),
        ("PGSSLMODE", "disable"),
        ("PGTARGETSESSIONATTRS", "any"),
        ("PGCLIENTENCODING", "LATIN1"),
    ];
    proptest::sample::subsequence(all.to_vec(), 0..4)
}

/// `keyword = value` strings: mostly well-formed, of every way to write a value.
fn pairs() -> impl Strategy<Value = String> {
    let keyword = proptest::sample::select(vec![
        "user",
        "dbname",
        "password",
        "application_name",
        "options",
        "port",
        "host",
        "service",
        "connect_timeout",
        "passfile",
        "sslmode",
        "fallback_application_name",
        "client_encoding",
        "keepalives",
        "target_session_attrs",
        "gssencmode",
        "nonsense",
        "",
    ]);
    let fixed = proptest::sample::select(vec![
        "5432", "5433", "one", "two", "bad", "absent", "disable", "prefer", "any", "primary", "", "1", " 7 ", "o'o", "a b",
        "/nowhere", "x\\y",
    ]);
    let free = proptest::string::string_regex("[a-zé =\\\\'@%,]{0,6}").unwrap();
    let value = prop_oneof![3 => fixed.prop_map(str::to_owned), 1 => free];
    let space = proptest::sample::select(vec!["", "", "", " ", "\t", "\n "]);
    let style = 0..4_u8;
    let pair = (keyword, value, space.clone(), space.clone(), style).prop_map(|(keyword, value, before, after, style)| {
        // Sockets only: tests look up no names.
        let value = if keyword == "host" && !value.is_empty() { format!("/{}", value.replace(',', "")) } else { value };
        let value = match style {
            0 => value,
            1 => value.replace('\\', "\\\\").replace('\'', "\\'").replace(' ', "\\ "),
            _ => format!("'{}'", value.replace('\\', "\\\\").replace('\'', "\\'")),
        };
        format!("{keyword}{before}={after}{value}")
    });
    (proptest::collection::vec(pair, 1..4), space).prop_map(|(pairs, space)| format!("{space}{}{space}", pairs.join(" ")))
}

/// `postgresql://` strings, `$HOST` standing for the listener's directory.
fn uris() -> impl Strategy<Value = String> {
    let scheme = proptest::sample::select(vec!["postgresql://", "postgresql://", "postgres://", "postgresql:/"]);
    let credentials =
        proptest::sample::select(vec!["", "", "u@", "u:p@", ":p@", "@", "o%27o@", "a%20b:c%3A%40@", "u%zz@", "u:p:q@"]);
    let host = proptest::sample::select(vec![
        "",
        "",
        "$HOST",
        "%2Fnowhere",
        "%2Fnowhere,$HOST",
        "$HOST,",
        "[::1",
        "[]",
        "[::1]x",
        ":5433",
        "$HOST:5433",
        "$HOST:5432,$HOST:5433",
        "$HOST:,%2Fx",
    ]);
    let path = proptest::sample::select(vec!["", "/", "/db", "/a%20b", "/a%00b", "/d/e", "/%C3%A9"]);
    let query = proptest::sample::select(vec![
        "",
        "?",
        "?port=5433",
        "?host=$HOST&port=5433",
        "?user=x&user=y",
        "?application_name=a%20b",
        "?nonsense=1",
        "?user",
        "?user==",
        "?&",
        "?options=-c%20x%3Dy&",
        "?connect_timeout=x",
        "?password=p%26q",
        "?service=one",
        "? user =x ",
        "?dbname=other",
        "?user=a b",
    ]);
    (scheme, credentials, host, path, query)
        .prop_map(|(scheme, credentials, host, path, query)| format!("{scheme}{credentials}{host}{path}{query}"))
}

fn program(major: u32) -> PathBuf {
    bin_dir(major).expect("scripts/setup installs it").join("psql")
}

thread_local! {
    /// One for each test.
    static LISTENER: Listener = Listener::new();
}

fn agree(ours: &Outcome, theirs: &Outcome) -> bool {
    ours == theirs || *ours == Outcome::BadNumber
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn pairs_mean_to_us_what_they_mean_to_psql(text in pairs(), flags in flags(), variables in variables()) {
        // The Debian build, as the other knows no sslmode.
        let theirs = LISTENER.with(|listener| listener.psql(&program(15), &text, &flags, &variables));
        let ours = LISTENER.with(|listener| listener.ours(&text, &flags, &variables));
        prop_assert!(agree(&ours, &theirs), "ours: {ours:?}, psql: {theirs:?}");
    }

    #[test]
    fn uris_mean_to_us_what_they_mean_to_psql(text in uris(), flags in flags(), variables in variables()) {
        let variables: Vec<_> = variables.into_iter().filter(|(name, _)| *name != "PGSSLMODE").collect();
        let host = LISTENER.with(|listener| listener.directory.path().display().to_string().replace('/', "%2F"));
        let text = text.replace("$HOST", &host);
        let theirs = LISTENER.with(|listener| listener.psql(&program(18), &text, &flags, &variables));
        let ours = LISTENER.with(|listener| listener.ours(&text, &flags, &variables));
        prop_assert!(agree(&ours, &theirs), "ours: {ours:?}, psql: {theirs:?}");
    }

    #[test]
    fn no_text_whatever_makes_us_panic(text in ".{0,40}") {
        let environment = Environment::new([], None, Some("me"));
        drop(ConnectArgs::default().resolve_in(&environment, Some(&text)));
        drop(ConnectArgs::default().resolve_in(&environment, Some(&format!("postgresql://{text}"))));
        drop(ConnectArgs::default().resolve_in(&environment, Some(&format!("host={text}"))));
    }
}
