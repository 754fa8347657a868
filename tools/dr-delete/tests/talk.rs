//! What does dr-delete say when it refuses? Each call of `talk`, and all it prints, in a copy of the folder beside it.

#[test]
fn refusals_say_what_happened_and_that_nothing_was_deleted() {
    let state = tempfile::tempdir().expect("a temporary directory can be made");
    trycmd::TestCases::new().env("DR_STATE", state.path().display().to_string()).case("tests/talk/*.md");
}
