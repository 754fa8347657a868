//! What does dr-verify show and say? Each file of `talk` holds calls and all they print, in a copy of the folder beside it.

#[test]
fn answers_and_refusals_read_well() {
    let state = tempfile::tempdir().expect("a temporary directory can be made");
    trycmd::TestCases::new().env("DR_STATE", state.path().display().to_string()).case("tests/talk/*.md");
}
