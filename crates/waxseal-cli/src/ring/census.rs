//! `census`: counts the envelopes in files and folders, and signs what it has found.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use waxseal::ring::Operation;
use waxseal::ring::evidence::{Census, CensusReceipt, Covered, NamedKek};

use super::using::replace;
use super::{Opened, ask, open, path_of, read_authority, show_beside, signing_key, sources, table, wait};
use crate::arguments;
use crate::failure::{Failure, Result};
use crate::report::{self, many};
use crate::stream::{Access, Output};

/// How deep folders are followed.
const DEPTH: usize = 256;

/// Counts, writes the receipt, and says what it holds. Ends with "needs attention" if not everything could be read.
pub(crate) fn run(options: &arguments::Census) -> Result<()> {
    let actor = ask::actor(&options.actor)?;
    #[cfg(feature = "audit")]
    let _ends = super::audited::begin(&options.log, true)?;
    let ring = open(&path_of(&options.ring))?;
    super::audited::job(Operation::Census, ring.config.ring, &actor, || {
        count(options, &actor, &ring)
    })
}

fn count(options: &arguments::Census, actor: &str, ring: &Opened) -> Result<()> {
    let signer = match &options.key {
        Some(path) => signing_key::read(path)?,
        None if ring.config.administration.is_none() => {
            return Err(Failure::usage(
                "the ring's configuration has no private half of an authority that would sign: give a census key with --key, which \
             `waxseal ring census-key` makes",
            ));
        }
        None => read_authority(&ring.config, actor)
            .map_err(|failure| failure.and("; or sign with a census key: --key FILE"))?,
    };
    let (roots, stores) = places(&options.paths)?;
    let own = sources(&path_of(&options.ring))?;
    refuse_other_content(&options.receipt)?;
    let mut output = Output::create(Some(&options.receipt), Access::Usual, replace(&own))?;
    let mut covers = Vec::new();
    for root in &roots {
        let name = root.to_str().ok_or_else(|| {
            Failure::usage(format!(
                "{}: the name of what a census covers is in UTF-8, so that it can be compared",
                root.display()
            ))
        })?;
        covers.push(Covered::Files(name.to_owned()));
    }
    for (place, _) in &stores {
        covers.push(place.clone());
    }
    let head = wait(ring.reader.scopes(&[]))?;
    let has_branches = head.branch_parents().next().is_some() || head.settings().provision.is_some();
    if has_branches || head.settings().must_cover.contains(&Covered::BranchKeys) {
        covers.push(Covered::BranchKeys);
    }
    let mut census = wait(Census::begin(&ring.reader, &signer, actor, covers.clone()))?;
    for place in &census.view().settings().must_cover.clone() {
        // A disk that is not mounted is no empty folder.
        if let Covered::Files(name) = place
            && covers.iter().any(|covered| covered.covers(place))
            && let Err(error) = fs::symlink_metadata(name)
        {
            census.fail(name, &format!("must be covered: {}", error.kind()));
        }
    }
    let mut walk = Walk {
        census,
        receipt: options.receipt.canonicalize().ok(),
        seen: BTreeSet::new(),
        roots: roots.clone(),
    };
    for root in &roots {
        walk.visit(root, 0);
    }
    let mut census = walk.census;
    scan(&mut census, &stores)?;
    let receipt = census.finish()?;
    let name = output.name();
    output
        .write_all(receipt.as_bytes())
        .map_err(|error| Failure::of_io("write", &name, error))?;
    let is_stream = output.is_stream();
    output.finish()?;
    ring.end()?;
    tell(&receipt, &name.to_string(), is_stream)?;
    if receipt.is_whole() {
        return Ok(());
    }
    let first = receipt.failed().first();
    let first = first.map_or_else(String::new, |failed| {
        format!(", the first: {}: {}", failed.item, failed.reason)
    });
    Err(Failure::attention(format!(
        "the receipt is not whole: {} could not be read{first}",
        many(receipt.failed_items(), "item")
    )))
}

/// A store, and what a receipt calls it.
#[cfg(feature = "fleet")]
type Named = (Covered, std::sync::Arc<dyn waxseal::fleet::Store>);
#[cfg(not(feature = "fleet"))]
type Named = (Covered, ());

/// The files and folders that are scanned, and the stores.
fn places(paths: &[PathBuf]) -> Result<(Vec<PathBuf>, Vec<Named>)> {
    let mut roots = Vec::new();
    #[cfg_attr(not(feature = "fleet"), expect(unused_mut, reason = "there are none"))]
    let mut stores = Vec::<Named>::new();
    for path in paths {
        let mut root = path.clone();
        #[cfg(feature = "fleet")]
        if crate::fleet::is_described(path) {
            match crate::fleet::place(path)? {
                crate::fleet::Place::Files(path) => root = path,
                crate::fleet::Place::Store { name, store } => {
                    let place = Covered::Store(name);
                    if stores.iter().any(|(other, _)| *other == place) {
                        return Err(Failure::usage(format!(
                            "{}: {place} is named twice: give each store a name of its own",
                            path.display()
                        )));
                    }
                    stores.push((place, store));
                    continue;
                }
            }
        }
        let found = root.canonicalize();
        root = found.map_err(|error| Failure::of_io("find", root.display(), error))?;
        roots.push(root);
    }
    Ok((roots, stores))
}

/// Counts what stores hold.
#[cfg(feature = "fleet")]
fn scan(census: &mut Census<'_>, stores: &[Named]) -> Result<()> {
    for (place, store) in stores {
        census.scanning(place)?;
        wait(census.add_store(&**store))?;
    }
    Ok(())
}

#[cfg(not(feature = "fleet"))]
#[expect(clippy::unnecessary_wraps, reason = "as with stores")]
fn scan(_: &mut Census<'_>, _: &[Named]) -> Result<()> {
    Ok(())
}

/// What every receipt begins with.
const BEGINNING: &[u8] = b"{\"schema\":1,\"ring\":\"";

/// An earlier receipt is replaced. Anything else that is there, an envelope for example, is not.
fn refuse_other_content(path: &Path) -> Result<()> {
    let mut begins = [0; BEGINNING.len()];
    let is_file = fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.len() > 0);
    if !is_file {
        return Ok(());
    }
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut begins));
    if read.is_ok() && begins == BEGINNING {
        return Ok(());
    }
    Err(Failure::refused(format!(
        "{} exists and is no census receipt: name another file for the receipt",
        path.display()
    )))
}

struct Walk<'c> {
    census: Census<'c>,
    /// What an earlier run has written is no item.
    receipt: Option<PathBuf>,
    /// So that nothing is counted twice if one root is in another.
    seen: BTreeSet<PathBuf>,
    roots: Vec<PathBuf>,
}

impl Walk<'_> {
    fn visit(&mut self, path: &Path, depth: usize) {
        let name = path.display().to_string();
        if !self.seen.insert(path.to_owned()) || self.receipt.as_deref() == Some(path) {
            return;
        }
        let metadata = match fs::symlink_metadata(path) {
            Ok(metadata) => metadata,
            Err(error) => return self.census.fail(&name, &error.kind().to_string()),
        };
        let kind = metadata.file_type();
        if kind.is_dir() {
            self.folder(path, &name, depth);
        } else if kind.is_file() {
            match File::open(path) {
                Ok(file) => self.census.add(&name, file, metadata.len()),
                Err(error) => self.census.fail(&name, &error.kind().to_string()),
            }
        } else if kind.is_symlink() {
            self.link(path, &name);
        } else if is_disk(&kind) {
            self.census
                .fail(&name, "is a block device: scan what is stored on it");
        } else {
            // A pipe, a socket, a terminal: nothing is stored in it.
            self.census.skip();
        }
    }

    fn folder(&mut self, path: &Path, name: &str, depth: usize) {
        if depth >= DEPTH {
            return self.census.fail(name, "lies deeper than 256 folders");
        }
        let entries = match fs::read_dir(path) {
            Ok(entries) => entries,
            Err(error) => return self.census.fail(name, &error.kind().to_string()),
        };
        for entry in entries {
            match entry {
                Ok(entry) => self.visit(&entry.path(), depth + 1),
                Err(error) => self.census.fail(name, &error.kind().to_string()),
            }
        }
    }

    /// A link to what is scanned anyway is nothing of its own.
    fn link(&mut self, path: &Path, name: &str) {
        match path.canonicalize() {
            Ok(target) if self.roots.iter().any(|root| target.starts_with(root)) => {}
            Ok(_) => self.census.fail(
                name,
                "is a link to something outside of what is scanned: name its target, too",
            ),
            Err(error) => self
                .census
                .fail(name, &format!("is a link that leads nowhere: {}", error.kind())),
        }
    }
}

#[cfg(unix)]
fn is_disk(kind: &fs::FileType) -> bool {
    std::os::unix::fs::FileTypeExt::is_block_device(kind)
}

#[cfg(not(unix))]
fn is_disk(_: &fs::FileType) -> bool {
    false
}

/// A KEK as every listing has it: what a receipt leaves empty is null.
fn kek_json(kek: &NamedKek) -> Value {
    super::kek_json(&kek.provider, &kek.id, &kek.version)
}

fn tell(receipt: &CensusReceipt, name: &str, is_stream: bool) -> Result<()> {
    let keys: Vec<_> = receipt
        .keys()
        .iter()
        .map(|count| {
            json!({
                "key": count.key.to_string(),
                "kek": kek_json(&count.kek),
                "items": count.items,
                "sole": count.sole,
                "bytes": count.bytes,
                "branches": count.branches,
                "seen": count.seen,
            })
        })
        .collect();
    let unknown: Vec<_> = receipt
        .unknown()
        .iter()
        .map(|count| {
            json!({
                "kek": kek_json(&count.kek),
                "items": count.items,
                "bytes": count.bytes,
                "seen": count.seen,
            })
        })
        .collect();
    let covers: Vec<_> = receipt
        .covers()
        .iter()
        .map(|covered| json!({ "place": covered.place.to_string(), "items": covered.items }))
        .collect();
    let object = json!({
        "schema": report::SCHEMA,
        "command": "census",
        "output": name,
        "digest": receipt.digest(),
        "whole": receipt.is_whole(),
        "started": receipt.started().to_string(),
        "finished": receipt.finished().to_string(),
        "items": receipt.items(),
        "bytes": receipt.bytes(),
        "foreign": receipt.foreign(),
        "failed": receipt.failed(),
        "failed_items": receipt.failed_items(),
        "covers": covers,
        "not_covered": receipt.not_covered(),
        "keys": keys,
        "unknown": unknown,
    });
    show_beside(is_stream, &object, || {
        let mut rows: Vec<[String; 5]> = Vec::new();
        for count in receipt.keys() {
            rows.push([
                count.key.to_string(),
                count.kek.to_string(),
                count.items.to_string(),
                count.sole.to_string(),
                count.bytes.to_string(),
            ]);
        }
        for count in receipt.unknown() {
            rows.push([
                "unknown".to_owned(),
                count.kek.to_string(),
                count.items.to_string(),
                "-".to_owned(),
                count.bytes.to_string(),
            ]);
        }
        let mut text = table::table(["KEY", "KEK", "ITEMS", "SOLE", "BYTES"], &rows);
        let places = receipt.covers().iter();
        let places: Vec<[String; 2]> = places
            .map(|covered| [covered.place.to_string(), covered.items.to_string()])
            .collect();
        text += "\n";
        text += &table::table(["PLACE", "ITEMS"], &places);
        text += "\n";
        text += &format!(
            "{}, {}, {} not read; not covered: {}\n",
            many(receipt.items(), "envelope"),
            many(receipt.foreign(), "other item"),
            receipt.failed_items(),
            receipt.not_covered().join(", ")
        );
        text
    })
}
