//! `ring init`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;
use waxseal::backend::kek_uri::KekUri;
use waxseal::ring::config::{Administration, AuthorityFile, RingConfig, StoreAt, pattern_for};
use waxseal::ring::{Authority, Inventory, KeySource, NewKey, Reader, RingAdmin, Scope, State, Trust};
use waxseal::ring::{UriBackends, set_settings};

use super::settings::Edit;
use super::{ask, done, each_page, environment, parsed, store, table, wait};
use crate::arguments::{Actor, Init};
use crate::failure::{Failure, Result};
use crate::prompt::Person;

/// Makes a ring. The configuration comes last: until it is there the ring is not made, and the next run goes on with what an
/// interrupted one has left. Nothing is overwritten.
pub(crate) fn run(path: &Path, actor: &Actor, options: &Init) -> Result<()> {
    let actor = ask::actor(actor)?;
    let plan = Plan::parse(path, &actor, options)?;
    refuse_made(path)?;
    let inventory = store::create(&plan.store)?;
    let made = plan.make(path, inventory, &actor);
    let Made { config, is_new, ids } = made.map_err(|failure| failure.and(GO_ON))?;
    done(
        "ring init",
        json!({
            "ring": config.ring.to_string(),
            "authority": config.authority.to_string(),
            "config": path.display().to_string(),
            "store": config.store.to_string(),
            "adopted": ids,
            "resumed": !is_new,
        }),
        || {
            let mut rows = vec![
                ("ring", config.ring.to_string()),
                ("authority", config.authority.to_string()),
                ("configuration", path.display().to_string()),
                ("inventory", config.store.to_string()),
            ];
            rows.extend(ids.iter().map(|id| ("adopted", id.clone())));
            if ids.is_empty() && is_new {
                rows.push((
                    "next",
                    first_key(path, options.settings.scope_template.as_deref()),
                ));
            }
            if !is_new {
                let note =
                    "the inventory and the authority are those of an earlier run, which was interrupted";
                rows.push(("note", note.to_owned()));
            }
            table::fields(&rows)
        },
    )
}

/// How a ring gets its first key.
fn first_key(path: &Path, template: Option<&str>) -> String {
    // What stands in braces is for the reader to fill in.
    let scope = template.unwrap_or("/").replace('{', "<").replace('}', ">");
    let scope = match scope.contains('<') {
        true => format!("'{scope}'"),
        false => scope,
    };
    let create = format!("create a key: waxseal keys create --scope {scope} --kek local");
    match path.to_str() {
        Some("ring.toml") | None => create,
        Some(other) => format!("{create} --ring {other}"),
    }
}

/// What follows an error after something was made.
const GO_ON: &str = "; the ring is not made yet: correct that and run `waxseal ring init` again, which goes on with what is there";

/// What the command line asks for.
struct Plan {
    edit: Edit,
    adopted: Option<KekUri>,
    store: StoreAt,
    authority: AuthorityFile,
    keys: PathBuf,
    mark: PathBuf,
    allow: Vec<String>,
    reader: Option<String>,
}

struct Made {
    config: RingConfig,
    /// Nothing was there of an earlier run.
    is_new: bool,
    /// The keys that are adopted.
    ids: Vec<String>,
}

impl Plan {
    /// All that can be wrong with a command line.
    fn parse(path: &Path, actor: &str, options: &Init) -> Result<Self> {
        let edit = Edit::parse(&options.settings)?;
        let adopted: Option<KekUri> = match &options.adopt {
            Some(uri) => Some(parsed("--adopt", uri)?),
            None => None,
        };
        let template = options.settings.scope_template.as_deref();
        if adopted.is_some() && template.is_some_and(|template| template != "/") {
            return Err(Failure::usage(
                "--adopt registers a key of the scope /, and the scope template leads elsewhere; use `waxseal keys adopt --scope` afterwards",
            ));
        }
        if !options.settings.remove_census_key.is_empty() {
            return Err(Failure::usage(
                "--remove-census-key: a new ring has no census keys but those of --census-key",
            ));
        }
        if !options.settings.remove_approver.is_empty() {
            return Err(Failure::usage(
                "--remove-approver: a new ring has no approvers but those of --approver",
            ));
        }
        let folder = folder_of(path)?;
        let name = path.file_stem().unwrap_or_default();
        let beside = |suffix: &str| {
            let mut beside = name.to_owned();
            beside.push(suffix);
            folder.join(beside)
        };
        let store = match &options.store {
            Some(store) => {
                StoreAt::parse(store, &folder).map_err(|error| Failure::usage_of("--store", &error))?
            }
            None => StoreAt::Sqlite(beside(".db")),
        };
        let authority = AuthorityFile::new(beside(".authority"), options.authority_kek.as_deref())
            .map_err(|error| Failure::usage_of("--authority-kek", &error))?;
        let (keys, mark) = (beside(".keys"), beside(".mark"));
        let own = folder.join(path.file_name().unwrap_or_default());
        let mut others = vec![authority.path(), &keys, &mark];
        if let StoreAt::Sqlite(path) = &store {
            others.push(path);
        }
        if others
            .iter()
            .enumerate()
            .any(|(index, one)| *one == own || others.iter().skip(index + 1).any(|other| one == other))
        {
            return Err(Failure::usage(
                "the configuration, the inventory, the authority, the mark and the keys of a ring are different files: name the \
                 configuration NAME.toml with --ring, and the inventory otherwise than these with --store",
            ));
        }
        let mut allow = vec![format!("file:{}/*", keys.display())];
        for pattern in &options.allow {
            UriBackends::new()
                .allow(pattern)
                .map_err(|error| Failure::usage_of("--allow", &error))?;
            allow.push(pattern.clone());
        }
        if let Some(uri) = &adopted {
            allow.push(pattern_for(uri).map_err(|error| Failure::usage_of("--adopt", &error))?);
        }
        let is_name =
            |name: &String| !name.is_empty() && name.len() <= 255 && !name.chars().any(char::is_control);
        if options.reader.as_ref().is_some_and(|name| !is_name(name)) {
            return Err(Failure::usage(
                "--reader is a name of 1 to 255 bytes without control characters",
            ));
        }
        edit.check_new(actor)?;
        Ok(Self {
            edit,
            adopted,
            store,
            authority,
            keys,
            mark,
            allow,
            reader: options.reader.clone(),
        })
    }

    /// Makes what is missing.
    fn make(&self, path: &Path, inventory: Arc<dyn Inventory>, actor: &str) -> Result<Made> {
        let is_new = wait(inventory.revision())? == 0;
        if !is_new && !self.authority.path().exists() {
            return Err(occupied());
        }
        if is_new && self.mark.exists() {
            return Err(Failure::refused(format!(
                "{} is the mark of an earlier ring, whose inventory is gone: restore its export, or delete the mark if that ring is given up",
                self.mark.display()
            )));
        }
        // Before the ring: without its private half nobody could ever change it.
        let authority = authority(&self.authority, actor)?;
        let trust = match is_new {
            true => super::audited::init(&*inventory, &authority, actor, |settings| {
                self.edit.apply_new(settings);
            })?,
            false => left_behind(&*inventory, &authority)?,
        };
        let (ring, public) = (trust.ring(), authority.public());
        make_folder(&self.keys)?;
        let mut config = RingConfig::new(ring, public, self.store.clone());
        config.allow.clone_from(&self.allow);
        config.reader.clone_from(&self.reader);
        config.mark = Some(self.mark.clone());
        config.administration = Some(Administration::new(
            self.authority.clone(),
            Some(self.keys.clone()),
        ));
        let backends = Arc::new(config.backends(Arc::new(environment()))?);
        let reader = super::audited::reader(Reader::new(trust, inventory));
        if !is_new {
            wait(set_settings(&reader, &authority, actor, |settings| {
                self.edit.apply_new(settings);
            }))?;
            self.check_left(&reader, &backends)?;
        }
        let admin = RingAdmin::new(reader, Arc::new(authority), backends, actor);
        let ids = match &self.adopted {
            Some(uri) => adopt(&admin, uri)?,
            None => Vec::new(),
        };
        // What was made verifies, and its mark is there from the first day on.
        wait(admin.reader().scopes(&[]))?;
        config.write_new(path)?;
        config.keep_mark(admin.reader().trust())?;
        Ok(Made { config, is_new, ids })
    }

    /// What an interrupted run has adopted stays, and this configuration must let records name it.
    fn check_left(&self, reader: &Reader, backends: &UriBackends) -> Result<()> {
        let mut refused = None;
        each_page(reader, |page| {
            for key in page.all_keys() {
                let is_permitted = backends.permits(&key.provenance.uri);
                let hinders = self.adopted.is_some()
                    && key.scope == Scope::root()
                    && key.state == State::Active
                    && !self.adopts(&key.provenance.uri);
                if (!is_permitted || hinders) && refused.is_none() {
                    refused = Some((key.id, key.provenance.uri.clone(), hinders));
                }
            }
        })?;
        match refused {
            None => Ok(()),
            Some((id, uri, true)) => Err(Failure::refused(format!(
                "the ring of an earlier run has the active key {id} already, which is {uri}: leave out --adopt, or adopt that"
            ))),
            Some((id, uri, false)) => Err(Failure::refused(format!(
                "the ring of an earlier run has the key {id}, which is {uri}: give --adopt or --allow for it"
            ))),
        }
    }

    fn adopts(&self, stored: &str) -> bool {
        let own = self.adopted.as_ref().and_then(|uri| uri.to_stored().ok());
        own == Some(stored)
    }
}

/// Adopts a KEK as the active key of the scope `/`, unless an interrupted run has.
fn adopt(admin: &RingAdmin, uri: &KekUri) -> Result<Vec<String>> {
    let stored = uri.to_stored()?;
    let view = wait(admin.reader().scopes(&[Scope::root()]))?;
    let there = view.all_keys().filter(|key| key.provenance.uri == stored);
    let there: Vec<String> = there.map(|key| key.id.to_string()).collect();
    if !there.is_empty() {
        return Ok(there);
    }
    let mut key = NewKey::new(Scope::root(), KeySource::Existing(stored.to_owned()));
    key.reason = "adopted by ring init".to_owned();
    let adopted = wait(admin.adopt(&key, State::Active))?;
    Ok(adopted.iter().map(|key| key.id.to_string()).collect())
}

/// A configuration is never overwritten.
fn refuse_made(path: &Path) -> Result<()> {
    if path.symlink_metadata().is_err() {
        return Ok(());
    }
    let shown = path.display();
    Err(Failure::refused(match RingConfig::read(path) {
        Ok(config) => format!(
            "{shown} exists already, and is never overwritten: its ring {} is made. See it with `waxseal ring status`, change its \
             settings with `waxseal ring set` and what may be named in `allow` of that file, or make another ring with --ring OTHER.toml",
            config.ring
        ),
        Err(_) => format!("{shown} exists already, and is never overwritten"),
    }))
}

/// The private half of a new authority, or that of an interrupted run.
fn authority(file: &AuthorityFile, actor: &str) -> Result<Authority> {
    // A passphrase that seals is asked for twice.
    let person = Person {
        types_twice: !file.path().exists(),
    };
    if !person.types_twice {
        return super::audited::read_authority(file, None, actor, &person).map_err(|failure| {
            failure.and(&format!(
                "; {} is there of an earlier run: give the --authority-kek of that run, or none if it had none; or move the file away \
                 if no ring needs it",
                file.path().display()
            ))
        });
    }
    let authority = Authority::generate()?;
    super::audited::write_authority(file, &authority, None, actor, &person)?;
    Ok(authority)
}

fn occupied() -> Failure {
    Failure::refused(
        "the inventory holds a ring of another authority; another ring needs another inventory, which --store names: in PostgreSQL it \
         may be postgres-env:VARIABLE/NAME",
    )
}

/// The ring of an interrupted run: this authority has signed it, so nobody else has made it.
fn left_behind(inventory: &dyn Inventory, authority: &Authority) -> Result<Trust> {
    let head = wait(inventory.read(&[], &[]))?.head.ok_or_else(occupied)?;
    let head: serde_json::Value = serde_json::from_slice(&head.body).map_err(|_| occupied())?;
    let ring = head.get("ring").and_then(serde_json::Value::as_str);
    let ring = ring.and_then(|ring| ring.parse().ok()).ok_or_else(occupied)?;
    let trust = Trust::new(ring, authority.public());
    match wait(trust.read(inventory, &[])) {
        Ok(_) => Ok(trust),
        Err(_) => Err(occupied()),
    }
}

/// Where the configuration will be, without links and dots: records name files there.
fn folder_of(path: &Path) -> Result<PathBuf> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    folder
        .canonicalize()
        .map_err(|error| Failure::of_io("find the folder", folder.display(), error))
}

#[cfg(unix)]
fn make_folder(path: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    let made = std::fs::DirBuilder::new().mode(0o700).create(path);
    there(path, made)
}

#[cfg(not(unix))]
fn make_folder(path: &Path) -> Result<()> {
    there(path, std::fs::create_dir(path))
}

fn there(path: &Path, made: std::io::Result<()>) -> Result<()> {
    match made {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(Failure::of_io("make", path.display(), error))
        }
        _ => Ok(()),
    }
}
