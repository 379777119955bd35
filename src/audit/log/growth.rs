//! What a log gets when records are added to it: tiles and bundles, wherever they are kept.

use super::hash::leaf;
use super::journal::bundle;
use super::tile::{self, Kind, WIDE, WIDTH};
use super::tree::{Edge, Full};
use crate::value::error::Result;

/// A tile of hashes, or a bundle of entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tile {
    pub(super) kind: Kind,
    pub(super) index: u64,
    pub(super) width: usize,
}

impl Tile {
    pub(super) fn path(&self) -> std::path::PathBuf {
        tile::path(self.kind, self.index, self.width)
    }
}

/// How a log has grown.
pub(super) struct Grown {
    pub(super) edge: Edge,
    /// Those that became full: partial ones of the same place are not needed any more.
    pub(super) full: Vec<(Kind, u64)>,
}

/// Adds records to the log that ends at this edge, and gives each file that is new to `write`. What a checkpoint of the old edge needs is
/// not touched. `tail` has the records of the last bundle, if that one is not full.
///
/// # Errors
/// Those of `write`; `Audit` for a record that is too long.
pub(super) fn grow(
    edge: &Edge,
    tail: Vec<Vec<u8>>,
    records: &[Vec<u8>],
    mut write: impl FnMut(Tile, &[u8]) -> Result<()>,
) -> Result<Grown> {
    let before = edge.size();
    let (mut edge, mut full) = (edge.clone(), Vec::new());
    for record in records {
        edge.push(leaf(record), |tile| full.push(tile));
    }
    let hashes = |level, index, width| Tile {
        kind: Kind::Hashes(level),
        index,
        width,
    };
    for tile in &full {
        write(hashes(tile.level, tile.index, WIDE), &tile.hashes.concat())?;
    }
    for (level, last) in edge.levels().iter().enumerate() {
        let count = tile::hashes(level, edge.size());
        if !last.is_empty() && count != tile::hashes(level, before) {
            write(hashes(level, count / WIDTH, last.len()), &last.concat())?;
        }
    }
    // The last bundle goes on.
    let mut entries = tail;
    entries.extend_from_slice(records);
    for (index, records) in (before / WIDTH..).zip(entries.chunks(WIDE)) {
        let tile = Tile {
            kind: Kind::Entries,
            index,
            width: records.len(),
        };
        write(tile, &bundle(records)?)?;
    }
    let kinds = |tile: &Full| {
        let entries = (tile.level == 0).then_some((Kind::Entries, tile.index));
        std::iter::once((Kind::Hashes(tile.level), tile.index)).chain(entries)
    };
    Ok(Grown {
        full: full.iter().flat_map(kinds).collect(),
        edge,
    })
}
