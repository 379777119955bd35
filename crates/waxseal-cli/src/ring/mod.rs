//! Rings: how they are found and opened, and the commands `ring …`.

mod approval;
mod ask;
pub(crate) mod audited;
mod authority;
mod branches;
mod census;
mod clock;
mod counted;
mod explain;
mod exposed;
mod gate;
mod init;
pub(crate) mod keys;
mod markdown;
mod profile;
mod reports;
#[cfg(feature = "audit")]
mod review;
mod settings;
mod signing_key;
mod simulate;
mod status;
mod store;
mod table;
mod transfer;
mod unbelieved;
mod using;

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Value, json};
use waxseal::ErrorKind;
use waxseal::ring::config::RingConfig;
use waxseal::ring::{KeyRecord, Reader, RingAdmin, Scope, Trust, View};

use crate::arguments::{Actor, AuthorityCommand, Gated, Ring, RingCommand, RingFile};
use crate::failure::{Failure, Result, printable};
use crate::prompt::Person;
use crate::{report, warnings};

pub(crate) use approval::read as approvals;
pub(crate) use ask::actor;
pub(crate) use census::run as census;
pub(crate) use explain::run as explain;
pub(crate) use profile::demand;
#[cfg(feature = "audit")]
pub(crate) use review::run as review;
pub(crate) use using::{RingKey, RingKeys, each_key, source, sources};

/// The name of the variable that names the configuration.
pub(crate) const VARIABLE: &str = "WAXSEAL_RING";

pub(crate) fn run(options: &Ring) -> Result<()> {
    let path = path_of(&options.ring);
    let actor = &options.actor;
    #[cfg(feature = "audit")]
    let _ends = audited::begin(&options.log, options.command.is_audited())?;
    match &options.command {
        RingCommand::Init(init) => init::run(&path, actor, init),
        RingCommand::Set(set) => settings::set(&path, actor, set),
        RingCommand::Status => status::status(&path),
        RingCommand::Check(check) => status::check(&path, check),
        RingCommand::Simulate(options) => simulate::run(&path, options),
        RingCommand::Report(options) => reports::run(&path, options),
        RingCommand::Cbom(options) => reports::cbom(&path, options),
        RingCommand::Clock(options) => clock::run(&path, actor, options),
        RingCommand::Export(transfer) => transfer::export(&path, actor, transfer),
        RingCommand::Import(import) => transfer::import(&path, actor, import),
        RingCommand::RewrapBranches(options) => branches::rewrap(&path, actor, options),
        RingCommand::DropUnbelieved(options) => unbelieved::drop_all(&path, actor, options),
        RingCommand::ProvisionerKey(key) => signing_key::provisioner(&key.file),
        RingCommand::CensusKey(key) => signing_key::census(&key.file),
        RingCommand::ApproverKey(key) => signing_key::approver(&key.file),
        RingCommand::Approve(options) => approval::approve(&path, actor, options),
        RingCommand::Authority(authority) => match &authority.command {
            AuthorityCommand::Rotate(consent) => authority::rotate(&path, actor, consent),
        },
    }
}

/// The configuration that an option or the variable names.
pub(crate) fn named(option: Option<&PathBuf>) -> Option<PathBuf> {
    let variable = || std::env::var_os(VARIABLE).filter(|value| !value.is_empty());
    option.cloned().or_else(|| variable().map(PathBuf::from))
}

/// The same, or `ring.toml`.
pub(crate) fn path_of(options: &RingFile) -> PathBuf {
    named(options.file.as_ref()).unwrap_or_else(|| PathBuf::from("ring.toml"))
}

/// Runs a future to its end. The stores and backends have runtimes of their own.
pub(crate) fn wait<T>(future: impl Future<Output = waxseal::Result<T>>) -> Result<T> {
    Ok(pollster::block_on(future)?)
}

/// A ring that is open for reading.
pub(crate) struct Opened {
    pub(crate) config: RingConfig,
    pub(crate) reader: Reader,
}

/// A ring that is open for changes.
pub(crate) struct Administered {
    pub(crate) config: RingConfig,
    pub(crate) admin: RingAdmin,
}

pub(crate) fn open(path: &std::path::Path) -> Result<Opened> {
    let config = read_config(path)?;
    let trust = config.trust()?;
    believing(config, trust)
}

/// Opens the ring of a configuration, and believes this of it.
pub(crate) fn believing(config: RingConfig, trust: Trust) -> Result<Opened> {
    let inventory = store::open(&config.store)?;
    let reader = audited::reader(Reader::new(trust, inventory));
    Ok(Opened { config, reader })
}

/// Reads a configuration. One that is not there has not been made yet, or is elsewhere.
pub(crate) fn read_config(path: &std::path::Path) -> Result<RingConfig> {
    RingConfig::read(path).map_err(|error| {
        let failure = Failure::from(error);
        match path.exists() {
            true => failure,
            false => {
                failure.and("; name it with --ring or WAXSEAL_RING, or make a ring with `waxseal ring init`")
            }
        }
    })
}

/// The same, with a gate if there is one.
pub(crate) fn administer_gated(
    path: &std::path::Path,
    actor: &Actor,
    skip: &[String],
    gated: &Gated,
) -> Result<Administered> {
    let gate = gate::CommandGate::of(gated)?;
    let Administered { config, mut admin } = administer(path, actor, skip)?;
    if let Some(gate) = gate {
        admin = admin
            .with_gate_deadline(gate.deadline())
            .with_gate(Arc::new(gate));
    }
    Ok(Administered { config, admin })
}

pub(crate) fn administer(path: &std::path::Path, actor: &Actor, skip: &[String]) -> Result<Administered> {
    let Opened { config, reader } = open(path)?;
    let actor = self::actor(actor)?;
    let authority = read_authority(&config, &actor)?;
    let backends = Arc::new(config.backends(Arc::new(environment()))?);
    let mut admin = RingAdmin::new(reader, Arc::new(authority), backends, &actor);
    for reader in skip {
        admin = admin.skipping_reader(reader);
    }
    Ok(Administered { config, admin })
}

impl Opened {
    /// Ends a command: what was seen is kept in the mark file.
    pub(crate) fn end(&self) -> Result<()> {
        Ok(self.config.keep_mark(self.reader.trust())?)
    }
}

impl Administered {
    /// Ends a command: what was seen is kept in the mark file. If that fails, what was done is done all the same.
    pub(crate) fn end(&self) -> Result<()> {
        let kept = self.config.keep_mark(self.admin.reader().trust());
        kept.map_err(|error| {
            Failure::from(error)
                .and("; only the mark is not kept: what the command has changed in the ring is changed")
        })
    }
}

pub(crate) fn read_authority(config: &RingConfig, actor: &str) -> Result<waxseal::ring::Authority> {
    audited::authority(config, actor, &environment())
}

/// Whoever is asked for a passphrase.
pub(crate) fn environment() -> Person {
    Person { types_twice: false }
}

/// Prints JSON, or text.
pub(crate) fn show(object: &Value, text: impl FnOnce() -> String) -> Result<()> {
    if report::is_json() {
        return report::result(object, false);
    }
    report::print(&text())
}

/// The same for a command whose payload may be on standard output: then JSON goes to standard error, and text nowhere.
pub(crate) fn show_beside(is_stream: bool, object: &Value, text: impl FnOnce() -> String) -> Result<()> {
    if report::is_json() {
        return report::result(object, is_stream);
    }
    match is_stream {
        true => Ok(()),
        false => report::print(&text()),
    }
}

/// The result of a command that has no listing of its own.
pub(crate) fn done(command: &str, fields: Value, text: impl FnOnce() -> String) -> Result<()> {
    done_beside(false, command, fields, text)
}

/// The same for a command whose payload may be on standard output.
pub(crate) fn done_beside(
    is_stream: bool,
    command: &str,
    fields: Value,
    text: impl FnOnce() -> String,
) -> Result<()> {
    let mut object = json!({ "schema": report::SCHEMA, "command": command });
    report::extend(&mut object, fields);
    show_beside(is_stream, &object, text)
}

/// A KEK as every JSON of the command has it. What there is not, or what an envelope hides, is null.
pub(crate) fn kek_json(provider: &str, id: &str, version: &str) -> Value {
    let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    json!({ "provider": provider, "id": some(id), "version": some(version) })
}

/// A value of an option that the library parses.
pub(crate) fn parsed<T: std::str::FromStr<Err = waxseal::Error>>(option: &str, text: &str) -> Result<T> {
    text.parse().map_err(|error| Failure::usage_of(option, &error))
}

/// How many scopes are read at once.
const PAGE: usize = 500;
/// How many scopes of provisioned keys are listed at once.
const PROVISIONED_PAGE: u32 = 500;

/// Shows every scope of a ring, page by page.
///
/// # Errors
/// Also if a scope cannot be read, after the others were shown.
pub(crate) fn each_page(reader: &Reader, show: impl FnMut(&View)) -> Result<()> {
    each_readable(reader, show)?.map_or(Ok(()), Err)
}

/// Shows every scope of a ring that can be read, page by page. Warns of each other one, and returns what is wrong with the first.
pub(crate) fn each_readable(reader: &Reader, mut show: impl FnMut(&View)) -> Result<Option<Failure>> {
    let mut first: Option<Failure> = None;
    for scopes in wait(reader.listed())?.chunks(PAGE) {
        let bad = each_of(reader, scopes, &mut show)?;
        first = first.or(bad);
    }
    Ok(first)
}

/// Shows every key of a ring, also those that only a provisioner has signed. A scope that cannot be read hinders no other: what is wrong with the first
/// comes back.
fn each_key_record(reader: &Reader, mut show: impl FnMut(&Arc<KeyRecord>)) -> Result<Option<Failure>> {
    let bad = each_readable(reader, |page| page.all_keys().for_each(&mut show))?;
    Ok(bad.or(each_provisioned(reader, |key, _| show(key))?))
}

/// Shows the keys that only a provisioner has signed. What has a record of the tree is not among them.
fn each_provisioned(
    reader: &Reader,
    mut show: impl FnMut(&Arc<KeyRecord>, &View),
) -> Result<Option<Failure>> {
    let mut bad = None;
    let mut after = None;
    loop {
        let page = wait(
            reader
                .inventory()
                .scopes_provisioned(after.as_ref(), PROVISIONED_PAGE),
        )?;
        let Some(last) = page.last().cloned() else {
            return Ok(bad);
        };
        let wrong = each_of(reader, &page, |page| {
            let first = page.all_keys().filter(|key| page.is_provisioned(key.id));
            first.for_each(|key| show(key, page));
        })?;
        bad = bad.or(wrong);
        after = Some(last);
    }
}

/// The same of these scopes: together, or each by itself if they do not all verify.
fn each_of(reader: &Reader, scopes: &[Scope], mut show: impl FnMut(&View)) -> Result<Option<Failure>> {
    match pollster::block_on(reader.scopes(scopes)) {
        Ok(page) => {
            show(&page);
            return Ok(None);
        }
        Err(error) if !is_about_scopes(&error) => return Err(error.into()),
        Err(_) => {}
    }
    // If not even the head verifies, no scope does.
    wait(reader.scopes(&[]))?;
    let mut first: Option<Failure> = None;
    for scope in scopes.chunks(1) {
        match pollster::block_on(reader.scopes(scope)) {
            Ok(page) => show(&page),
            Err(error) if !is_about_scopes(&error) => return Err(error.into()),
            Err(error) => {
                let name = scope.first().map(ToString::to_string).unwrap_or_default();
                let text = format!("scope {name} cannot be read: {error}");
                let _ = warnings::warning(&printable(&text));
                first.get_or_insert(error.into());
            }
        }
    }
    Ok(first)
}

/// Whether what is wrong is wrong with the scopes that were asked for.
fn is_about_scopes(error: &waxseal::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::InventoryInvalid | ErrorKind::Unsupported { .. } | ErrorKind::OverLimit { .. }
    )
}
