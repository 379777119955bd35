//! The tree of digests: what the head signs, and through it each record of each scope.
//!
//! Scopes are spread over 4,096 buckets by their hash. A bucket lists the records of its scopes with a digest of each; three
//! levels of nodes with 16 children each stand above. Whoever has the root can check one scope, or that it is absent, by
//! four nodes, and a record that was changed, deleted, added, swapped or taken back to an older version is named.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};

use super::inventory::{NodePath, RecordKind};
use super::{RecordId, Scope};
use crate::value::error::{Error, ErrorKind, Result};

/// The number of levels above the buckets.
pub(crate) const DEPTH: usize = 3;
const FANOUT: usize = 16;
/// In a bucket: the hash of a scope, the id and kind of a record, and the hash of its body.
const ENTRY: usize = 32 + 16 + 1 + 32;
const HEX: &[u8; 16] = b"0123456789abcdef";

/// A SHA-256 hash. All zero for what is not there.
pub(crate) type Digest = [u8; 32];

/// What stands for nothing.
pub(crate) const ABSENT: Digest = [0; 32];

/// The nodes that were read, or that a change writes; one that is not in it does not exist.
pub(crate) type Nodes = BTreeMap<NodePath, Vec<u8>>;

/// What stands for a scope in the tree.
pub(crate) fn scope_hash(scope: &Scope) -> Digest {
    let mut hash = Sha256::new();
    hash.update(b"waxseal ring scope v1\0");
    hash.update(scope.as_str());
    hash.finalize().into()
}

/// The paths of the nodes above a scope, from the root to its bucket.
pub(crate) fn paths(scope: &Scope) -> [NodePath; DEPTH + 1] {
    let hash = scope_hash(scope);
    let digits = [hash[0] >> 4, hash[0] & 15, hash[1] >> 4];
    let digits: String = digits
        .iter()
        .map(|digit| char::from(HEX.get(usize::from(*digit)).copied().unwrap_or(b'0')))
        .collect();
    [
        String::new(),
        digits.get(..1).unwrap_or_default().to_owned(),
        digits.get(..2).unwrap_or_default().to_owned(),
        digits,
    ]
}

/// A record as the tree knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Leaf {
    pub(crate) id: RecordId,
    pub(crate) kind: RecordKind,
    pub(crate) digest: Digest,
}

impl Leaf {
    pub(crate) fn new(id: RecordId, kind: RecordKind, body: &[u8]) -> Self {
        Self {
            id,
            kind,
            digest: Sha256::digest(body).into(),
        }
    }
}

const fn kind_byte(kind: RecordKind) -> u8 {
    match kind {
        RecordKind::Key => 1,
        RecordKind::Intent => 2,
        RecordKind::Tombstone => 3,
    }
}

fn to_entry(scope: &Digest, leaf: &Leaf) -> Vec<u8> {
    let kind = [kind_byte(leaf.kind)];
    [&scope[..], leaf.id.as_bytes(), &kind, &leaf.digest].concat()
}

/// The leaf of an entry, without its scope.
fn of_entry(entry: &[u8; ENTRY]) -> Option<Leaf> {
    let rest = entry.get(32..)?;
    let (id, rest) = rest.split_first_chunk::<16>()?;
    let (kind, digest) = rest.split_first()?;
    Some(Leaf {
        id: RecordId::from_bytes(*id).ok()?,
        kind: [RecordKind::Key, RecordKind::Intent, RecordKind::Tombstone]
            .into_iter()
            .find(|known| kind_byte(*known) == *kind)?,
        digest: digest.try_into().ok()?,
    })
}

fn node_digest(path: &str, body: &[u8]) -> Digest {
    if body.is_empty() {
        return ABSENT;
    }
    let mut hash = Sha256::new();
    hash.update(b"waxseal ring node v1\0");
    hash.update([u8::try_from(path.len()).unwrap_or(u8::MAX)]);
    hash.update(path);
    hash.update(body);
    hash.finalize().into()
}

fn invalid(path: &str) -> Error {
    Error::new(ErrorKind::InventoryInvalid).with_detail(format!(
        "the node \"{path}\" of the tree of digests is not the one that the head signs"
    ))
}

/// Which child of its parent the node of a path is.
fn child_index(path: &str) -> usize {
    let last = path.bytes().last().unwrap_or(b'0');
    HEX.iter().position(|digit| *digit == last).unwrap_or(0)
}

/// The body of a node that must have this digest.
fn checked<'n>(nodes: &'n Nodes, path: &str, digest: &Digest) -> Result<&'n [u8]> {
    let body = nodes.get(path).map_or(&[][..], Vec::as_slice);
    if node_digest(path, body) == *digest {
        Ok(body)
    } else {
        Err(invalid(path))
    }
}

fn child(path: &str, body: &[u8], index: usize) -> Result<Digest> {
    if body.is_empty() {
        return Ok(ABSENT);
    }
    if body.len() != FANOUT * 32 {
        return Err(invalid(path));
    }
    body.get(index * 32..)
        .and_then(|rest| rest.first_chunk())
        .copied()
        .ok_or_else(|| invalid(path))
}

/// The bucket of a scope, verified against the root.
fn bucket<'n>(nodes: &'n Nodes, root: &Digest, paths: &[NodePath; DEPTH + 1]) -> Result<&'n [u8]> {
    let mut digest = *root;
    let mut body = checked(nodes, "", &digest)?;
    for (above, path) in paths.iter().zip(paths.iter().skip(1)) {
        digest = child(above, body, child_index(path))?;
        body = checked(nodes, path, &digest)?;
    }
    Ok(body)
}

fn entries<'b>(path: &str, body: &'b [u8]) -> Result<&'b [[u8; ENTRY]]> {
    match body.as_chunks::<ENTRY>() {
        (entries, []) => Ok(entries),
        _ => Err(invalid(path)),
    }
}

/// The path of the bucket that a scope is in.
pub(crate) fn bucket_of(scope: &Scope) -> NodePath {
    let [.., path] = paths(scope);
    path
}

/// The children of a node that must have this digest and is no bucket.
///
/// # Errors
/// `InventoryInvalid` if the node is another one.
pub(crate) fn children(nodes: &Nodes, path: &str, digest: &Digest) -> Result<Vec<(NodePath, Digest)>> {
    let body = checked(nodes, path, digest)?;
    let digits = HEX.iter().enumerate();
    digits
        .map(|(index, digit)| Ok((format!("{path}{}", char::from(*digit)), child(path, body, index)?)))
        .collect()
}

/// The records of a scope that the root stands for, in the order of their ids.
///
/// # Errors
/// `InventoryInvalid` if the nodes are not those of the root.
pub(crate) fn leaves_of(nodes: &Nodes, root: &Digest, scope: &Scope) -> Result<Vec<Leaf>> {
    let paths = paths(scope);
    let [.., path] = &paths;
    let hash = scope_hash(scope);
    let body = bucket(nodes, root, &paths)?;
    let own = entries(path, body)?
        .iter()
        .filter(|entry| entry.starts_with(&hash));
    own.map(|entry| of_entry(entry).ok_or_else(|| invalid(path)))
        .collect()
}

/// All records of a whole tree, in the order of their bytes within each bucket, with the hash of the scope of each.
///
/// # Errors
/// `InventoryInvalid` if a node is missing, changed or superfluous.
pub(crate) fn all_leaves(nodes: &Nodes, root: &Digest) -> Result<Vec<(Digest, Leaf)>> {
    let mut seen = 0;
    let mut leaves = Vec::new();
    let mut open = vec![(String::new(), *root)];
    while let Some((path, digest)) = open.pop() {
        let body = checked(nodes, &path, &digest)?;
        if body.is_empty() {
            continue;
        }
        seen += 1;
        if path.len() == DEPTH {
            for entry in entries(&path, body)? {
                let of = entry.first_chunk().copied().ok_or_else(|| invalid(&path))?;
                leaves.push((of, of_entry(entry).ok_or_else(|| invalid(&path))?));
            }
            continue;
        }
        for (index, digit) in HEX.iter().enumerate() {
            let digest = child(&path, body, index)?;
            if digest != ABSENT {
                open.push((format!("{path}{}", char::from(*digit)), digest));
            }
        }
    }
    if seen == nodes.len() {
        Ok(leaves)
    } else {
        Err(Error::new(ErrorKind::InventoryInvalid)
            .with_detail("the tree of digests has nodes that the head does not sign"))
    }
}

/// Every path that a node can have.
pub(crate) fn all_paths() -> Vec<NodePath> {
    let mut paths = vec![String::new()];
    let mut level = vec![String::new()];
    for _ in 0..DEPTH {
        level = level
            .iter()
            .flat_map(|above| {
                HEX.iter()
                    .map(move |digit| format!("{above}{}", char::from(*digit)))
            })
            .collect();
        paths.extend(level.iter().cloned());
    }
    paths
}

/// How many records are in the bucket of a scope.
///
/// # Errors
/// `InventoryInvalid` if the nodes are not those of the root.
pub(crate) fn count_beside(nodes: &Nodes, root: &Digest, scope: &Scope) -> Result<usize> {
    let paths = paths(scope);
    let [.., path] = &paths;
    Ok(entries(path, bucket(nodes, root, &paths)?)?.len())
}

/// Sets the records of a scope. `nodes` holds those above the scope, and `written` those that changed, empty ones deleted.
/// Returns the new root.
///
/// # Errors
/// `InventoryInvalid` if the nodes are not those of the root.
pub(crate) fn set(
    nodes: &mut Nodes,
    written: &mut Nodes,
    root: &Digest,
    scope: &Scope,
    leaves: &[Leaf],
) -> Result<Digest> {
    let paths = paths(scope);
    let [.., path] = &paths;
    let hash = scope_hash(scope);
    let others = entries(path, bucket(nodes, root, &paths)?)?
        .iter()
        .filter(|entry| !entry.starts_with(&hash))
        .map(|entry| entry.to_vec());
    let own = leaves.iter().map(|leaf| to_entry(&hash, leaf));
    let mut list: Vec<Vec<u8>> = others.chain(own).collect();
    list.sort();
    let mut body = list.concat();
    for (depth, path) in paths.iter().enumerate().rev() {
        let digest = node_digest(path, &body);
        if body.is_empty() {
            nodes.remove(path);
        } else {
            nodes.insert(path.clone(), body.clone());
        }
        written.insert(path.clone(), body);
        let Some(above) = depth.checked_sub(1).and_then(|depth| paths.get(depth)) else {
            return Ok(digest);
        };
        let mut parent = match nodes.get(above) {
            Some(parent) => parent.clone(),
            None => vec![0; FANOUT * 32],
        };
        let index = child_index(path);
        if let Some(slot) = parent.get_mut(index * 32..(index + 1) * 32) {
            slot.copy_from_slice(&digest);
        }
        body = if parent.iter().all(|byte| *byte == 0) {
            Vec::new()
        } else {
            parent
        };
    }
    Err(invalid(""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring::Time;

    fn scope(number: usize) -> Scope {
        format!("tenant/{number}").parse().unwrap()
    }

    /// Two records of a scope.
    fn leaves(number: usize) -> Vec<Leaf> {
        let id = |last: u8| {
            let mut bytes = *RecordId::new(Time::from_microseconds(0).unwrap())
                .unwrap()
                .as_bytes();
            bytes[8..16].copy_from_slice(&number.to_be_bytes());
            bytes[9] = last;
            bytes[6] = 0x70;
            bytes[8] = 0x80;
            bytes[7] = 0;
            RecordId::from_bytes(bytes).unwrap()
        };
        vec![
            Leaf::new(id(1), RecordKind::Key, &number.to_be_bytes()),
            Leaf::new(id(2), RecordKind::Intent, b""),
        ]
    }

    fn tree(count: usize) -> (Nodes, Digest) {
        let (mut nodes, mut written, mut root) = (Nodes::new(), Nodes::new(), ABSENT);
        for number in 0..count {
            root = set(&mut nodes, &mut written, &root, &scope(number), &leaves(number)).unwrap();
        }
        written.retain(|_, body| !body.is_empty());
        assert_eq!(nodes, written);
        (nodes, root)
    }

    /// What an inventory would be asked for.
    fn above(nodes: &Nodes, scope: &Scope) -> Nodes {
        let paths = paths(scope);
        nodes
            .iter()
            .filter(|(path, _)| paths.contains(path))
            .map(|(path, body)| (path.clone(), body.clone()))
            .collect()
    }

    #[test]
    fn four_nodes_prove_a_scope_and_its_absence() {
        let (nodes, root) = tree(5000);
        assert_eq!(all_leaves(&nodes, &root).unwrap().len(), 10_000);
        for number in [0, 17, 4999] {
            let nodes = above(&nodes, &scope(number));
            assert!(nodes.len() <= 4);
            assert_eq!(leaves_of(&nodes, &root, &scope(number)).unwrap(), leaves(number));
        }
        assert!(
            leaves_of(&above(&nodes, &scope(5000)), &root, &scope(5000))
                .unwrap()
                .is_empty()
        );
        assert!(leaves_of(&Nodes::new(), &ABSENT, &scope(1)).unwrap().is_empty());
    }

    #[test]
    fn each_changed_or_missing_node_is_noticed() {
        let (nodes, root) = tree(300);
        let scope = scope(7);
        for path in paths(&scope) {
            let mut missing = above(&nodes, &scope);
            missing.remove(&path);
            let mut changed = above(&nodes, &scope);
            changed.get_mut(&path).unwrap()[40] ^= 1;
            for bad in [missing, changed] {
                let error = leaves_of(&bad, &root, &scope).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::InventoryInvalid);
                assert!(error.to_string().contains(&format!("\"{path}\"")), "{error}");
            }
        }
        let mut more = nodes.clone();
        let free = all_paths()
            .into_iter()
            .find(|path| !nodes.contains_key(path))
            .unwrap();
        more.insert(free, vec![1; ENTRY]);
        assert!(all_leaves(&more, &root).is_err());
    }

    #[test]
    fn the_root_depends_on_what_is_there_and_not_on_the_way_to_it() {
        let (mut nodes, root) = tree(100);
        let mut written = Nodes::new();
        let mut now = root;
        for number in 100..200 {
            now = set(&mut nodes, &mut written, &now, &scope(number), &leaves(number)).unwrap();
        }
        for number in (100..200).rev() {
            now = set(&mut nodes, &mut written, &now, &scope(number), &[]).unwrap();
        }
        assert_eq!(now, root);
        assert_eq!(nodes, tree(100).0);
        for number in 0..100 {
            now = set(&mut nodes, &mut written, &now, &scope(number), &[]).unwrap();
        }
        assert_eq!((now, nodes.len()), (ABSENT, 0));
    }
}
