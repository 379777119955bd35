//! Where tiles and bundles of entries are, by C2SP tlog-tiles.

use std::path::PathBuf;

/// Hashes of a full tile, and entries of a full bundle.
pub(super) const WIDTH: u64 = 256;
/// The same, to index with.
pub(super) const WIDE: usize = 256;

/// A tile of hashes of a level, or a bundle of entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Hashes(usize),
    Entries,
}

/// The path of a tile of this width.
pub(super) fn path(kind: Kind, index: u64, width: usize) -> PathBuf {
    let mut path = PathBuf::from("tile");
    match kind {
        Kind::Hashes(level) => path.push(level.to_string()),
        Kind::Entries => path.push("entries"),
    }
    let mut groups = vec![format!("{:03}", index % 1000)];
    let mut rest = index / 1000;
    while rest > 0 {
        groups.push(format!("x{:03}", rest % 1000));
        rest /= 1000;
    }
    let last = groups.first().cloned().unwrap_or_default();
    path.extend(groups.iter().skip(1).rev());
    if width == WIDE {
        path.push(last);
    } else {
        path.push(format!("{last}.p"));
        path.push(width.to_string());
    }
    path
}

/// The directory of the partial tiles that a full tile takes the place of.
pub(super) fn partials(kind: Kind, index: u64) -> PathBuf {
    let mut path = path(kind, index, 1);
    path.pop();
    path
}

/// The tiles of a level in a tree of this size, with their widths.
pub(super) fn tiles(level: usize, size: u64) -> impl Iterator<Item = (u64, usize)> {
    let hashes = hashes(level, size);
    let full = hashes / WIDTH;
    let rest = usize::try_from(hashes % WIDTH).unwrap_or_default();
    let partial = (rest > 0).then_some((full, rest));
    (0..full).map(|index| (index, WIDE)).chain(partial)
}

/// The last tile of each level in a tree of this size, as level, index and width. A width of 0 is that of a tile that is not begun.
pub(super) fn lasts(size: u64) -> impl Iterator<Item = (usize, u64, usize)> {
    let counts = (0..).map(move |level| (level, hashes(level, size)));
    counts.take_while(|(_, count)| *count > 0).map(|(level, count)| {
        let width = usize::try_from(count % WIDTH).unwrap_or_default();
        (level, count / WIDTH, width)
    })
}

/// How many hashes a level has in a tree of this size.
pub(super) fn hashes(level: usize, size: u64) -> u64 {
    let shift = u32::try_from(level * 8).unwrap_or(u32::MAX);
    size.checked_shr(shift).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_the_specification() {
        let shown = |kind, index, width| path(kind, index, width).display().to_string();
        assert_eq!(shown(Kind::Hashes(0), 1_234_067, WIDE), "tile/0/x001/x234/067");
        assert_eq!(shown(Kind::Hashes(2), 0, 1), "tile/2/000.p/1");
        assert_eq!(shown(Kind::Entries, 1_000, 255), "tile/entries/x001/000.p/255");
        assert_eq!(
            partials(Kind::Entries, 7).display().to_string(),
            "tile/entries/007.p"
        );
    }

    #[test]
    fn a_tree_of_70_000_has_the_tiles_of_the_specification() {
        let count = |level| tiles(level, 70_000).count();
        let last = |level| tiles(level, 70_000).last();
        assert_eq!((count(0), last(0)), (274, Some((273, 112))));
        assert_eq!((count(1), last(1)), (2, Some((1, 17))));
        assert_eq!((count(2), last(2)), (1, Some((0, 1))));
        assert_eq!((count(3), last(3)), (0, None));
        assert_eq!(tiles(1, 256).collect::<Vec<_>>(), [(0, 1)]);
    }
}
