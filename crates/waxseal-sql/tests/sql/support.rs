//! What the tests share.

use waxseal::testing::inventory_conformance::{self, Subject};

/// Every check passes.
pub(crate) fn passes(subject: &Subject) {
    let report =
        pollster::block_on(inventory_conformance::run(subject)).unwrap_or_else(|failed| panic!("{failed}"));
    assert_eq!(report.skipped(), []);
    print!("{report}");
}
