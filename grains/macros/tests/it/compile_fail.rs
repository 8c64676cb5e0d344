//! What users see when they get it wrong.

#[test]
fn mistakes_have_readable_errors() {
    trybuild::TestCases::new().compile_fail("tests/fail/*.rs");
}
