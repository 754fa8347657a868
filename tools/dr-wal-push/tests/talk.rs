//! What dr-wal-push says, word for word.

#[test]
fn transcripts() {
    trycmd::TestCases::new().case("tests/talk/*.trycmd");
}
