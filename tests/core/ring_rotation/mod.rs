//! Keys of a ring are made and moved: on an inventory in memory, a clock that tests move, and backends that fail on demand.

mod bench;
mod branches;
mod clock;
mod contradicted;
mod destroy;
mod destroy_races;
mod failing;
mod gate;
mod kills;
mod lifecycle;
mod readers;
mod receipts;
mod retire;
mod revoke;
mod shred;
mod shred_races;
mod simulate;
mod ticks;
mod waits;
