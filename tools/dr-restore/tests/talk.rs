//! What does dr-restore say before it has seen a server? Each file of `talk` holds calls and all they print.

#[test]
fn refusals_read_well() {
    let empty = tempfile::tempdir().expect("a temporary directory can be made");
    let path = empty.path().display().to_string();
    trycmd::TestCases::new().env("PGHOST", &path).env("PGUSER", "postgres").env("DR_STATE", &path).case("tests/talk/*.md");
}
