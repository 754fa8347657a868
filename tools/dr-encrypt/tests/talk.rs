//! What dr-encrypt says, word for word.

#[test]
fn transcripts() {
    trycmd::TestCases::new().case("tests/talk/*.trycmd").case("tests/talk/*.toml");
}
