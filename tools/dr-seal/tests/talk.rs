//! What does dr-seal say when it refuses? Each file of `talk` is one call and all it prints.

#[test]
fn refusals_say_what_happened_and_what_to_do() {
    trycmd::TestCases::new().case("tests/talk/*.toml");
}
