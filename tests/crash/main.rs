//! Temporary frame.
mod garbled;
#[allow(dead_code)]
mod support;
use libtest_mimic::{Arguments, Trial};
fn main() {
    let arguments = Arguments::from_args();
    let rows = vec![
        Trial::test("garbled::whatever_becomes_of_the_files", || {
            garbled::whatever_becomes_of_the_files();
            Ok(())
        }),
        Trial::test("garbled::files_that_nothing_happened_to", || {
            garbled::files_that_nothing_happened_to();
            Ok(())
        }),
    ];
    libtest_mimic::run(&arguments, rows).exit();
}
