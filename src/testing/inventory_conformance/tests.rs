use super::*;
use crate::ring::inventory::MemoryInventory;

/// Two handles on one new inventory in memory.
fn memory() -> Subject {
    Subject::new(|| async {
        let inventory = MemoryInventory::new();
        Ok((inventory.clone(), inventory))
    })
}

#[test]
fn the_inventory_in_memory_does_its_duty() {
    let report = pollster::block_on(run(&memory())).unwrap_or_else(|failed| panic!("{failed}"));
    assert_eq!(report.passed().len(), CHECKS.len());
}
