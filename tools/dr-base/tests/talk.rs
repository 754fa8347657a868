//! What does dr-base say where it refuses? Each file of `talk` holds calls and all they print.

#[test]
fn answers_and_refusals_read_well() {
    trycmd::TestCases::new().env("PGHOST", "/nowhere").env("PGUSER", "postgres").case("tests/talk/*.md");
}
