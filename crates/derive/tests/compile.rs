//! What the compiler says of modules that are none, and that it points at the place.
//!
//! `TRYBUILD=overwrite cargo test -p wgrad-derive --test compile` writes what it says now.

#[test]
fn the_compiler_explains() {
    trybuild::TestCases::new().compile_fail("tests/compile/*.rs");
}
