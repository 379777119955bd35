//! The right edge of a tree, which is all that is needed to make it grow.

use super::hash::{Hash, root};
use super::tile::WIDE;

/// The last hashes of each level, those of full tiles left out.
#[derive(Clone, Debug, Default)]
pub(super) struct Edge {
    size: u64,
    levels: Vec<Vec<Hash>>,
}

/// A tile that has become full.
pub(super) struct Full {
    pub(super) level: usize,
    pub(super) index: u64,
    pub(super) hashes: Vec<Hash>,
}

impl Edge {
    /// An edge of what was read.
    pub(super) fn of(size: u64, levels: Vec<Vec<Hash>>) -> Self {
        Self { size, levels }
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    pub(super) fn levels(&self) -> &[Vec<Hash>] {
        &self.levels
    }

    /// Adds the hash of a record, and says which tiles are full by that.
    pub(super) fn push(&mut self, leaf: Hash, mut full: impl FnMut(Full)) {
        self.size += 1;
        let (mut level, mut hash) = (0, leaf);
        // The index of the tile that the new hash is in, on its level.
        let mut index = (self.size - 1) / WIDE as u64;
        loop {
            if self.levels.len() == level {
                self.levels.push(Vec::new());
            }
            let Some(hashes) = self.levels.get_mut(level) else {
                return;
            };
            hashes.push(hash);
            if hashes.len() < WIDE {
                return;
            }
            let hashes = std::mem::take(hashes);
            hash = root(&hashes);
            full(Full { level, index, hashes });
            level += 1;
            index /= WIDE as u64;
        }
    }

    pub(super) fn root(&self) -> Hash {
        let mut below: Option<Hash> = None;
        for hashes in &self.levels {
            if hashes.is_empty() {
                continue;
            }
            let mut hashes = hashes.clone();
            hashes.extend(below);
            below = Some(root(&hashes));
        }
        below.unwrap_or_else(|| root(&[]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::log::hash::leaf;

    #[test]
    fn the_root_of_an_edge_is_the_root_of_all_leaves() {
        let (mut edge, mut leaves, mut full) = (Edge::default(), Vec::new(), Vec::new());
        assert_eq!(edge.root(), root(&[]));
        for number in 0..66_000_u32 {
            let hash = leaf(&number.to_be_bytes());
            leaves.push(hash);
            edge.push(hash, |tile| full.push((tile.level, tile.index)));
            if number < 1_100 || number % 8_191 == 0 || (65_530..65_550).contains(&number) {
                assert_eq!(edge.root(), root(&leaves), "{number}");
            }
        }
        assert_eq!(edge.size(), 66_000);
        assert_eq!(full.iter().filter(|(level, _)| *level == 0).count(), 257);
        assert!(full.contains(&(1, 0)) && !full.contains(&(1, 1)));
        assert_eq!(
            full.iter().position(|tile| *tile == (0, 256)),
            Some(full.len() - 1)
        );
    }
}
