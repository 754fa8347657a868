//! What does dr-recover say before it has seen a backup? Each file of `talk` holds calls and all they print.

#[test]
fn refusals_read_well() {
    let empty = tempfile::tempdir().expect("a temporary directory can be made");
    let path = empty.path().display().to_string();
    trycmd::TestCases::new().env("DR_STATE", &path).env("TZ", "UTC").case("tests/talk/*.md");
}
