//! What does dr-wal-receive say when it refuses? Each file of `talk` is one call and all it prints.

#[test]
fn refusals_say_what_happened_and_what_to_do() {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    trycmd::TestCases::new().env("DR_STATE", scratch.path().display().to_string()).case("tests/talk/*.toml");
}
