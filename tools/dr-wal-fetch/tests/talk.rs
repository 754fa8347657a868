//! What dr-wal-fetch says, word for word.

#[test]
fn transcripts() {
    trycmd::TestCases::new().case("tests/talk/*.trycmd");
}
