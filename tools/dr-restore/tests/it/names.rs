//! Nothing is overwritten: what the new database is called, and what becomes of the old one.

use crate::fixture::{Place, run};

/// Two versions of a database, as SQL scripts.
fn scripts(place: &Place) -> (String, String) {
    let script = |value: u32| format!("CREATE TABLE t (v integer);\nINSERT INTO t VALUES ({value});\n");
    (place.file("one.sql", script(1)), place.file("two.sql", script(2)))
}

#[test]
fn f79_a_database_that_exists_is_left_alone() {
    for major in dr_testing::postgres::usual_majors() {
        let place = Place::new(major);
        let (one, two) = scripts(&place);
        run(&mut place.restore(&[&one, "--into", "shop"]), b"").record();
        let ran = run(&mut place.restore(&[&two, "--into", "shop"]), b"");
        assert!(ran.ends(73).contains("database shop exists already"), "{}", ran.stderr);
        assert_eq!(place.server.psql("shop", "SELECT v FROM t"), "1");
        assert_eq!(place.databases("shop%"), "shop");
    }
}

#[test]
fn swap_keeps_the_old_database_under_a_dated_name() {
    for major in dr_testing::postgres::usual_majors() {
        let place = Place::new(major);
        let (one, two) = scripts(&place);
        let fresh = run(&mut place.restore(&[&one, "--into", "shop", "--swap"]), b"").record();
        assert!(fresh["kept"].is_null());
        let record = run(&mut place.restore(&[&two, "--into", "shop", "--swap"]), b"").record();
        let kept = record["kept"].as_str().expect("the old name").to_owned();
        assert!(kept.starts_with("shop_before_20") && kept.ends_with('Z'), "{kept}");
        assert_eq!(place.server.psql("shop", "SELECT v FROM t"), "2");
        assert_eq!(place.server.psql(&kept, "SELECT v FROM t"), "1");
        assert_eq!(place.databases("shop%"), format!("shop\n{kept}"));
    }
}

#[test]
fn a_database_in_use_is_swapped_only_when_its_sessions_may_be_cut_off() {
    for major in dr_testing::postgres::usual_majors() {
        let place = Place::new(major);
        let (one, two) = scripts(&place);
        run(&mut place.restore(&[&one, "--into", "shop"]), b"").record();
        let mut user = std::process::Command::new(place.server.bin("psql"));
        user.env_clear().args(["-XAt", "-c", "SELECT pg_sleep(600)", "-d", &place.server.conninfo("shop")]);
        let mut user = user.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().expect("psql");
        let sessions = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'shop' AND state = 'active'";
        while place.server.psql("postgres", sessions) != "1" {
            std::thread::yield_now();
        }
        let ran = run(&mut place.restore(&[&two, "--into", "shop", "--swap"]), b"");
        let said = ran.ends(75);
        assert!(said.contains("sessions connected to shop: 1") && said.contains("ALTER DATABASE"), "{said}");
        let complete = place.databases("shop_restoring%");
        assert_eq!(place.server.psql(&complete, "SELECT v FROM t"), "2", "it is complete, and kept");
        assert_eq!(place.server.psql("postgres", sessions), "1", "nobody was cut off");
        // What the hint says can be done as it says it.
        let hint = said.split("then: ").nth(1).and_then(|rest| rest.split(" (or use").next()).expect("statements").to_owned();
        run(&mut place.restore(&[&two, "--into", "shop", "--swap", "--disconnect"]), b"").record();
        assert_eq!(place.server.psql("shop", "SELECT v FROM t"), "2");
        assert!(!user.wait().expect("psql").success());
        place.server.psql("postgres", &format!("{};", hint.replace("shop_before_", "shop_earlier_")));
        assert_eq!(place.databases("shop_restoring%"), "");
    }
}

#[test]
fn a_name_that_reads_like_a_connection_string_is_a_name() {
    for major in dr_testing::postgres::usual_majors() {
        let place = Place::new(major);
        let (script, _) = scripts(&place);
        run(&mut place.restore(&[&script, "--into", "one"]), b"").record();
        let custom = place.file("one.dump", place.pg_dump(&["-Fc", "one"]));
        let archive = place.file("one.tar.zst", place.dr_dump(&["one"]));
        for name in ["host=nowhere.invalid dbname=x", "postgresql://nowhere.invalid/x", "it's a=b \\"] {
            for file in [&script, &custom, &archive] {
                run(&mut place.restore(&[file, "--into", name, "-j2"]), b"").record();
                place.server.psql("postgres", &format!("DROP DATABASE \"{name}\""));
            }
        }
    }
}

#[test]
fn what_new_databases_are_made_from_and_where_we_are_ourselves_is_not_swapped() {
    let place = Place::new(15);
    let (script, _) = scripts(&place);
    for (name, code) in [("template0", 80), ("template1", 80), ("postgres", 64)] {
        let ran = run(&mut place.restore(&[&script, "--into", name, "--swap"]), b"");
        assert!(ran.ends(code).contains("it was left as it is"), "{}", ran.stderr);
        assert_eq!(place.databases(&format!("{name}%")), name);
    }
}
