//! Where a range is divided. Nobody says how many objects are below which name, so a few are counted, and of many the beginnings of their names are looked at.

use std::collections::{BTreeSet, VecDeque};

use waxseal::Result;
use waxseal::fleet::Range;

use super::Objects;
use super::listing::{Listed, Listing};

/// How many ids are counted.
const COUNTED: usize = 2000;
/// How often it is looked where the next beginning is: a request each time.
const LOOKS: usize = 64;

/// Ids that begin with the same characters.
struct Group {
    stem: String,
    first: String,
    /// What the last of them does not come behind. `None` if that is the end of the range.
    until: Option<String>,
}

impl Objects {
    pub(super) async fn divided(&self, range: &Range, parts: usize) -> Result<Vec<Range>> {
        if parts < 2 {
            return Ok(vec![range.clone()]);
        }
        let (ids, is_all) = self.first_ids(range, COUNTED).await?;
        let cuts: Vec<String> = if is_all {
            let each = ids.len().div_ceil(parts).max(1);
            ids.chunks_exact(each)
                .filter_map(|ids| ids.last().cloned())
                .collect()
        } else {
            let cuts = self.beginnings(range, &ids, parts).await?;
            let each = (cuts.len() + 1).div_ceil(parts);
            cuts.into_iter().skip(each - 1).step_by(each).collect()
        };
        let mut ranges = Vec::new();
        let mut rest = range.clone();
        for cut in cuts.into_iter().take(parts - 1) {
            ranges.push(rest.clone().up_to(&cut));
            rest = rest.from_after(cut);
        }
        ranges.push(rest);
        Ok(ranges)
    }

    /// The ids at the beginning of a range, and whether they are all.
    async fn first_ids(&self, range: &Range, most: usize) -> Result<(Vec<String>, bool)> {
        let mut listing = Listing::of(self.place.get()?, range)?;
        let mut ids = Vec::new();
        while ids.len() < most && !listing.is_done() {
            let most = (most - ids.len()).min(super::LISTED);
            let (rest, listed) = self.listed(listing, most).await?;
            listing = rest;
            ids.extend(listed.into_iter().filter_map(|listed| match listed {
                Listed::Object { id, .. } => Some(id),
                Listed::Nameless(_) => None,
            }));
        }
        Ok((ids, listing.is_done()))
    }

    /// What stands between groups of ids that begin in another way, in order.
    async fn beginnings(&self, range: &Range, ids: &[String], parts: usize) -> Result<BTreeSet<String>> {
        let mut cuts = BTreeSet::new();
        let (Some(first), Some(last)) = (ids.first(), ids.last()) else {
            return Ok(cuts);
        };
        let mut looks = LOOKS;
        let whole = Group {
            stem: shared(first, last).to_owned(),
            first: first.clone(),
            until: range.until().map(str::to_owned),
        };
        let found = self.divide_all(whole, parts, &mut looks, &mut cuts).await;
        match found {
            // What is known will do.
            Err(error) if !error.is_retryable() => Err(error),
            _ => Ok(cuts),
        }
    }

    async fn divide_all(
        &self,
        mut whole: Group,
        parts: usize,
        looks: &mut usize,
        cuts: &mut BTreeSet<String>,
    ) -> Result<()> {
        // Others begin in another way, perhaps.
        while let Some(behind) = behind_all(&whole.stem) {
            match self.first_behind(&behind, whole.until.as_deref(), looks).await? {
                Some(id) => whole.stem = shared(&whole.stem, &id).to_owned(),
                None => break,
            }
        }
        let mut groups = VecDeque::from([whole]);
        while cuts.len() + 1 < parts && *looks > 0 {
            let Some(group) = groups.pop_front() else { break };
            let divided = self.divide(group, looks).await?;
            cuts.extend(
                divided
                    .iter()
                    .rev()
                    .skip(1)
                    .filter_map(|group| group.until.clone()),
            );
            groups.extend(divided);
        }
        Ok(())
    }

    /// One group for each next character.
    async fn divide(&self, group: Group, looks: &mut usize) -> Result<Vec<Group>> {
        let mut divided = Vec::new();
        let mut first = Some(group.first);
        while let Some(id) = first.take() {
            let next = id.get(group.stem.len()..).and_then(|rest| rest.chars().next());
            let Some(next) = next else {
                // The stem is an id itself.
                first = self.first_behind(&id, group.until.as_deref(), looks).await?;
                continue;
            };
            let stem = format!("{}{next}", group.stem);
            let mut until = behind_all(&stem);
            if let Some(behind) = until.as_deref().filter(|_| *looks > 0) {
                first = self.first_behind(behind, group.until.as_deref(), looks).await?;
            }
            if first.is_none() {
                until.clone_from(&group.until);
            }
            divided.push(Group {
                stem,
                first: id,
                until,
            });
        }
        Ok(divided)
    }

    async fn first_behind(
        &self,
        after: &str,
        until: Option<&str>,
        looks: &mut usize,
    ) -> Result<Option<String>> {
        let Some(left) = looks.checked_sub(1) else {
            return Ok(None);
        };
        *looks = left;
        let mut range = Range::all().from_after(after);
        if let Some(until) = until {
            range = range.up_to(until);
        }
        let (mut ids, _) = self.first_ids(&range, 1).await?;
        Ok(ids.pop())
    }
}

/// What two ids begin with.
fn shared<'i>(one: &'i str, other: &str) -> &'i str {
    let mut len = 0;
    for (mine, theirs) in one.chars().zip(other.chars()) {
        if mine != theirs {
            break;
        }
        len += mine.len_utf8();
    }
    one.get(..len).unwrap_or_default()
}

/// A name that comes behind all ids with this stem, and hardly behind any other: the stem with the character after its last one. `None` if the stem is empty,
/// or nothing comes behind it.
fn behind_all(stem: &str) -> Option<String> {
    let last = stem.chars().next_back()?;
    let front = stem.strip_suffix(last)?;
    let mut next = (last..=char::MAX).nth(1)?;
    // No part is empty or a dot or two, so nothing comes behind these and `/`.
    if next == '/' && ["", ".", ".."].contains(&front.rsplit('/').next().unwrap_or_default()) {
        next = '0';
    }
    if next == '\u{7f}' {
        next = '\u{80}';
    }
    // A name that ends with `/` cannot be said, and a dot alone neither, so there is a blank behind them.
    let blank = if next == '/' || next == '.' { " " } else { "" };
    Some(format!("{front}{next}{blank}"))
}

#[cfg(test)]
mod tests {
    use object_store::path::Path;

    use super::*;

    #[test]
    fn what_comes_behind_a_stem_is_a_name_and_comes_behind_all_of_it() {
        for stem in [
            "a", "a/b", "a-", "a/-", "-", "..", "a/.", "/", "a/", "~", "é", "\u{d7ff}", "a~",
        ] {
            let behind = behind_all(stem).unwrap();
            assert_eq!(Path::parse(&behind).unwrap().as_ref(), behind, "{stem}");
            for rest in ["", " ", "~", "/~/~", "\u{10ffff}\u{10ffff}"] {
                assert!(behind > format!("{stem}{rest}"), "{behind} {stem}{rest}");
            }
        }
        assert_eq!(behind_all(""), None);
        assert_eq!(behind_all("a\u{10ffff}"), None);
        assert_eq!(shared("tenant-1/é1", "tenant-1/é2"), "tenant-1/é");
        assert_eq!(shared("a", "ab"), "a");
    }
}
