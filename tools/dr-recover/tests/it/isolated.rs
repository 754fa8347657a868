//! A drill reaches nothing, whatever the backup says.

use std::fs::{self, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;

use crate::fixture::{Recovered, Source, run};

/// Does what a hostile server's files can say. It goes on by what it has read before.
fn turn_hostile(source: &Source) {
    let place = source.place.path().display().to_string();
    let touch = format!("touch {place}/archived");
    let preloads = ["shared_preload_libraries", "session_preload_libraries", "local_preload_libraries"];
    let others = [
        ("archive_command", touch.as_str()),
        ("listen_addresses", "*"),
        ("hba_file", "/nowhere/pg_hba.conf"),
        ("external_pid_file", &format!("{place}/archived")),
        ("max_logical_replication_workers", "4"),
        ("zero_damaged_pages", "on"),
        ("unix_socket_directories", &place),
    ];
    let settings = preloads.map(|name| (name, "no_such_library"));
    let all: Vec<_> = settings.iter().chain(&others).copied().collect();
    source.server.configure(&all);
    let included = source.server.data_dir().join("more.conf");
    let lines: String = all.iter().map(|(name, value)| format!("{name} = '{value}'\n")).collect();
    fs::write(&included, format!("{lines}archive_mode = always\n")).unwrap();
    source.server.configure(&[("include", "more.conf")]);
    let auto = source.server.data_dir().join("postgresql.auto.conf");
    OpenOptions::new().append(true).open(auto).unwrap().write_all(lines.as_bytes()).unwrap();
}

/// What a program prints that the server runs for a function of the database.
fn program(sql: impl Fn(&str) -> String, command: &str) -> String {
    let command = command.replace('\'', "\'\'");
    sql(&format!(
        "CREATE TEMP TABLE said (line text); COPY said FROM PROGRAM '{command}'; SELECT string_agg(line, E'\\n') FROM said"
    ))
}

#[test]
fn f84_an_isolated_server_reaches_nothing_whatever_its_backup_says() {
    for major in dr_testing::postgres::usual_majors() {
        let source = Source::start_with(major, &[("listen_addresses", "127.0.0.1"), ("wal_level", "logical")]);
        let port = source.server.port();
        source.sql("CREATE DATABASE hostile");
        source.sql("ALTER DATABASE hostile SET session_preload_libraries = 'no_such_library'");
        source.sql("ALTER ROLE postgres IN DATABASE hostile SET local_preload_libraries = 'no_such_library'");
        source.sql("CREATE PUBLICATION p FOR TABLE t");
        source.sql(&format!(
            "CREATE SUBSCRIPTION s CONNECTION 'host=127.0.0.1 port={port} user=postgres dbname=postgres' PUBLICATION p \
             WITH (connect = false); ALTER SUBSCRIPTION s ENABLE"
        ));
        turn_hostile(&source);
        source.base();
        source.row(1);
        source.archived();

        let mut command = source.recover("x", &["--isolated", "--no-sync"]);
        let ran = run(command.env("AWS_SECRET_ACCESS_KEY", "secret"));
        let log = fs::read_to_string(source.path("x/dr-recover.log")).unwrap_or_default();
        assert_eq!(ran.record()["state"], "promoted", "{}\n{log}", ran.stderr);
        assert!(!ran.stderr.contains("warning"), "{}", ran.stderr);
        let recovered = Recovered { bin: source.server.bin_dir(), data: source.path("x") };
        assert_eq!(recovered.rows(), "1");
        for (name, value) in [
            ("archive_mode", "off"),
            ("archive_command", "(disabled)"),
            ("listen_addresses", ""),
            ("shared_preload_libraries", ""),
            ("max_logical_replication_workers", "0"),
            ("external_pid_file", ""),
            ("zero_damaged_pages", "off"),
            ("autovacuum", "on"),
        ] {
            assert_eq!(recovered.sql(&format!("SHOW {name}")), value, "{name}");
        }
        assert!(!source.path("archived").exists());
        let workers = "SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'logical replication%'";
        assert_eq!(recovered.sql(workers), "0");
        assert_ne!(source.sql(workers), "0", "the subscription is one that a server begins with");
        // What functions of the database can do themselves. The server that lives could.
        let tcp = format!("bash -c 'exec 3<>/dev/tcp/127.0.0.1/{port} && echo reached || echo not' 2> /dev/null");
        let host = source.server.socket_dir().display();
        let unix = format!(
            "{} -h {host} -p {port} -U postgres -Atc 'SELECT 1' 2> /dev/null || echo not",
            source.server.bin("psql").display()
        );
        let file = format!("cat {} 2> /dev/null || echo not", source.path("precious").display());
        source.shell("echo gold > precious");
        // Who replays may see all of the host; what the database runs may not.
        let proc = "ls /proc | grep -q 1 && echo seen || echo not".to_owned();
        for (reach, answer) in [(&tcp, "reached"), (&unix, "1"), (&file, "gold"), (&proc, "seen")] {
            assert_eq!(program(|sql| source.sql(sql), reach), answer);
            assert_eq!(program(|sql| recovered.sql(sql), reach), "not");
        }
        assert!(!program(|sql| recovered.sql(sql), "env").contains("secret"));
        // Only who is in its directory gets in; what roles and databases are set to is the client's to refuse.
        let enter = |options: &str| {
            let psql =
                format!("{} -Atqh {} -d hostile -c 'SELECT 1'", source.server.bin("psql").display(), source.path("x").display());
            run(source.tool("/bin/bash").env("PGOPTIONS", options).env_remove("PGPORT").args(["-c", &psql]))
        };
        assert!(enter("").ends(2).contains("no_such_library"));
        enter("-c session_preload_libraries= -c local_preload_libraries=").ends(0);
    }
}

#[test]
fn f84_where_nothing_can_be_enclosed_it_is_said() {
    let source = Source::start(15);
    source.base();
    source.row(1);
    source.archived();
    let unshare = source.path("bin/unshare");
    fs::write(&unshare, "#!/bin/sh\necho 'unshare: not permitted' >&2\nexit 1\n").unwrap();
    fs::set_permissions(&unshare, Permissions::from_mode(0o755)).unwrap();
    let (recovered, _) = source.arrive("x", &["--isolated"]);
    assert_eq!((recovered.rows(), recovered.sql("SHOW archive_command")), ("1".into(), "(disabled)".into()));
    drop(recovered);
    let ran = run(&mut source.recover("y", &["--isolated", "--preflight"]));
    assert!(ran.ends(0).contains("the server is not enclosed (unshare: not permitted)"), "{}", ran.stderr);
    source.shell("mkdir -m 755 open && touch open/file");
    let ran = run(&mut source.recover("y", &["--isolated", "--socket-dir", "open"]));
    assert!(ran.ends(80).contains("others may enter it"), "{}", ran.stderr);
    assert!(!source.path("y").exists());
}
