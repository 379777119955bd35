//! The hashes of RFC 6962, section 2.1.

use sha2::{Digest as _, Sha256};

/// A hash of the tree.
pub(super) type Hash = [u8; 32];

/// The hash of a record.
pub(super) fn leaf(record: &[u8]) -> Hash {
    Sha256::new_with_prefix([0])
        .chain_update(record)
        .finalize()
        .into()
}

fn parent(left: &Hash, right: &Hash) -> Hash {
    let hash = Sha256::new_with_prefix([1]).chain_update(left);
    hash.chain_update(right).finalize().into()
}

/// The root over subtrees of one size that follow each other. The last one may be smaller.
pub(super) fn root(hashes: &[Hash]) -> Hash {
    match hashes {
        [] => Sha256::digest([]).into(),
        [one] => *one,
        _ => {
            let left = hashes.len().next_power_of_two() / 2;
            let (left, right) = hashes.split_at(left);
            parent(&root(left), &root(right))
        }
    }
}

#[cfg(test)]
mod tests {
    use ct_merkle::mem_backed_tree::MemoryBackedTree;

    use super::*;

    #[test]
    fn the_root_is_that_of_ct_merkle() {
        let mut tree = MemoryBackedTree::<Sha256, Vec<u8>>::new();
        let mut leaves = Vec::new();
        assert_eq!(
            base16ct::lower::encode_string(&root(&leaves)),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        for number in 0..300_u32 {
            let record = number.to_be_bytes().to_vec();
            leaves.push(leaf(&record));
            tree.push(record);
            assert_eq!(&root(&leaves)[..], &tree.root().as_bytes()[..], "{number}");
        }
    }
}
