//! The settings of a ring: what the command line says of them, `ring set`, and how they are shown.

use std::path::Path;

use serde_json::{Value, json};
use waxseal::ring::evidence::Covered;
use waxseal::ring::inventory::MemoryInventory;
use waxseal::ring::{
    Authority, AuthorityKey, NamedReader, Period, Preset, Provisioning, RetireBy, RingAdmin, Scope,
    ScopeTemplate, set_settings,
};

use super::{Opened, done, open, parsed, read_authority, table, wait};
use crate::arguments::{Actor, Set, Settings};
use crate::failure::{Failure, Result};
use crate::warnings;

/// What changes, parsed.
#[derive(Default)]
pub(crate) struct Edit {
    scope_template: Option<ScopeTemplate>,
    otherwise: Option<Vec<Scope>>,
    max_stale: Option<Period>,
    max_stale_open: Option<Period>,
    lease_age: Option<Period>,
    stream_age: Option<Period>,
    store_delay: Option<Period>,
    clock_tolerance: Option<Period>,
    must_cover: Option<Vec<Covered>>,
    retire: Option<RetireBy>,
    cooling_off: Option<Period>,
    /// `Some(None)` for no preset.
    preset: Option<Option<Preset>>,
    cadence: Option<Period>,
    overlap: Option<Period>,
    readers: Option<Vec<NamedReader>>,
    /// Whether keys are made on first use.
    provision: Option<bool>,
    provision_parent: Option<Scope>,
    new_provisioners: Vec<AuthorityKey>,
    old_provisioners: Vec<AuthorityKey>,
    new_census_keys: Vec<AuthorityKey>,
    old_census_keys: Vec<AuthorityKey>,
    new_approvers: Vec<AuthorityKey>,
    old_approvers: Vec<AuthorityKey>,
}

impl Edit {
    pub(crate) fn parse(options: &Settings) -> Result<Self> {
        let period = |option: &str, text: &Option<String>| match text {
            Some(text) => parsed(option, text).map(Some),
            None => Ok(None),
        };
        let listed = |given: &[String]| match given {
            [] => None,
            [one] if one.is_empty() => Some(Vec::new()),
            several => Some(several.to_vec()),
        };
        let must_cover = listed(&options.must_cover).map(|places| {
            let places = places.iter().map(|place| covered(place));
            places.collect::<Result<Vec<_>>>()
        });
        let keys = |option: &str, keys: &[String]| -> Result<Vec<AuthorityKey>> {
            keys.iter().map(|key| parsed(option, key)).collect()
        };
        let new_census_keys = keys("--census-key", &options.census_key)?;
        let old_census_keys = keys("--remove-census-key", &options.remove_census_key)?;
        if new_census_keys.iter().any(|key| old_census_keys.contains(key)) {
            return Err(Failure::usage(
                "--census-key and --remove-census-key name the same key",
            ));
        }
        let new_approvers = keys("--approver", &options.approver)?;
        let old_approvers = keys("--remove-approver", &options.remove_approver)?;
        if new_approvers.iter().any(|key| old_approvers.contains(key)) {
            return Err(Failure::usage(
                "--approver and --remove-approver name the same key",
            ));
        }
        let new_provisioners = keys("--provisioner", &options.provisioner)?;
        let old_provisioners = keys("--remove-provisioner", &options.remove_provisioner)?;
        if new_provisioners.iter().any(|key| old_provisioners.contains(key)) {
            return Err(Failure::usage(
                "--provisioner and --remove-provisioner name the same key",
            ));
        }
        let readers = listed(&options.readers).map(|readers| {
            let readers = readers.iter().map(|reader| parsed("--readers", reader));
            readers.collect::<Result<_>>()
        });
        let otherwise = listed(&options.otherwise).map(|scopes| {
            let scopes = scopes.iter().map(|scope| parsed("--otherwise", scope));
            scopes.collect::<Result<_>>()
        });
        Ok(Self {
            otherwise: otherwise.transpose()?,
            scope_template: match &options.scope_template {
                Some(text) => Some(parsed("--scope-template", text)?),
                None => None,
            },
            max_stale: period("--max-stale", &options.max_stale)?,
            max_stale_open: period("--max-stale-open", &options.max_stale_open)?,
            lease_age: period("--lease-age", &options.lease_age)?,
            stream_age: period("--stream-age", &options.stream_age)?,
            store_delay: period("--store-delay", &options.store_delay)?,
            clock_tolerance: period("--clock-tolerance", &options.clock_tolerance)?,
            must_cover: must_cover.transpose()?,
            retire: match options.retire.as_deref() {
                Some("evidence") => Some(RetireBy::Evidence),
                Some(_) => Some(RetireBy::OverlapEnd),
                None => None,
            },
            cooling_off: period("--cooling-off", &options.cooling_off)?,
            preset: match options.preset.as_deref() {
                None => None,
                Some("none") => Some(None),
                Some(preset) => Some(Some(parsed("--preset", preset)?)),
            },
            cadence: period("--cadence", &options.cadence)?,
            overlap: period("--overlap", &options.overlap)?,
            readers: readers.transpose()?,
            provision: options.provision.as_deref().map(|when| when == "on-first-use"),
            provision_parent: match &options.provision_parent {
                Some(scope) => Some(parsed("--provision-parent", scope)?),
                None => None,
            },
            new_provisioners,
            old_provisioners,
            new_census_keys,
            old_census_keys,
            new_approvers,
            old_approvers,
        })
    }

    fn is_nothing(options: &Settings) -> bool {
        let periods = [
            &options.scope_template,
            &options.max_stale,
            &options.max_stale_open,
            &options.lease_age,
            &options.stream_age,
            &options.store_delay,
            &options.clock_tolerance,
            &options.retire,
            &options.cooling_off,
            &options.preset,
            &options.cadence,
            &options.overlap,
            &options.provision,
            &options.provision_parent,
        ];
        periods.iter().all(|given| given.is_none())
            && options.otherwise.is_empty()
            && options.must_cover.is_empty()
            && options.readers.is_empty()
            && options.provisioner.is_empty()
            && options.remove_provisioner.is_empty()
            && options.census_key.is_empty()
            && options.remove_census_key.is_empty()
            && options.approver.is_empty()
            && options.remove_approver.is_empty()
    }

    /// Refuses settings of a new ring that contradict each other, before anything of it is made.
    pub(crate) fn check_new(&self, actor: &str) -> Result<()> {
        let (inventory, authority) = (MemoryInventory::new(), Authority::generate()?);
        wait(RingAdmin::init(&inventory, &authority, actor, |settings| {
            self.apply_new(settings);
        }))?;
        Ok(())
    }

    /// The same for a new ring, which by default opens for as long as it seals.
    pub(crate) fn apply_new(&self, settings: &mut waxseal::ring::Settings) {
        self.apply(settings);
        if self.max_stale_open.is_none() {
            settings.max_stale_open = settings.max_stale;
        }
    }

    /// Changes what was asked for, and nothing else.
    pub(crate) fn apply(&self, settings: &mut waxseal::ring::Settings) {
        let put = |to: &mut Period, from: Option<Period>| {
            if let Some(from) = from {
                *to = from;
            }
        };
        put(&mut settings.max_stale, self.max_stale);
        put(&mut settings.max_stale_open, self.max_stale_open);
        put(&mut settings.lease_age, self.lease_age);
        put(&mut settings.stream_age, self.stream_age);
        put(&mut settings.store_delay, self.store_delay);
        put(&mut settings.clock_tolerance, self.clock_tolerance);
        put(&mut settings.cooling_off, self.cooling_off);
        put(&mut settings.cadence, self.cadence);
        put(&mut settings.overlap, self.overlap);
        if let Some(template) = &self.scope_template {
            settings.scope_template = template.clone();
        }
        if let Some(scopes) = &self.otherwise {
            settings.otherwise.clone_from(scopes);
        }
        if let Some(preset) = self.preset {
            settings.preset = preset;
        }
        if let Some(retire) = self.retire {
            settings.retire = retire;
        }
        if let Some(places) = &self.must_cover {
            settings.must_cover.clone_from(places);
        }
        if let Some(readers) = &self.readers {
            settings.readers.clone_from(readers);
        }
        self.apply_provisioning(settings);
        list(
            &mut settings.census_keys,
            &self.old_census_keys,
            &self.new_census_keys,
        );
        list(&mut settings.approvers, &self.old_approvers, &self.new_approvers);
    }
}

/// Takes keys out of a list, and adds others.
fn list(listed: &mut Vec<AuthorityKey>, old: &[AuthorityKey], new: &[AuthorityKey]) {
    listed.retain(|key| !old.contains(key));
    for key in new {
        if !listed.contains(key) {
            listed.push(*key);
        }
    }
}

impl Edit {
    fn apply_provisioning(&self, settings: &mut waxseal::ring::Settings) {
        let is_asked = self.provision.is_some()
            || self.provision_parent.is_some()
            || !self.new_provisioners.is_empty()
            || !self.old_provisioners.is_empty();
        // Nobody provisions anything, and nobody shall.
        let stays_none = settings.provision.is_none()
            && self.provision != Some(true)
            && self.new_provisioners.is_empty()
            && self.provision_parent.is_none();
        if !is_asked || stays_none {
            return;
        }
        let was_none = settings.provision.is_none();
        let mut provision = settings
            .provision
            .take()
            .unwrap_or_else(|| Provisioning::on_first_use(Scope::root(), Vec::new()));
        provision.closed = match self.provision {
            Some(on_first_use) => !on_first_use,
            None => provision.closed,
        };
        if let Some(parent) = &self.provision_parent {
            provision.parent = parent.clone();
        }
        provision.keys.retain(|key| !self.old_provisioners.contains(key));
        for key in &self.new_provisioners {
            if !provision.keys.contains(key) {
                provision.keys.push(*key);
            }
        }
        // With the last provisioner everything of it goes; but who asks for keys on first use has to say who makes them.
        let is_over = provision.keys.is_empty() && !was_none && !self.old_provisioners.is_empty();
        settings.provision = (!is_over).then_some(provision);
    }
}

/// A place that a census must cover. A path is as the census will name it.
fn covered(text: &str) -> Result<Covered> {
    let Some(path) = text.strip_prefix("files:").filter(|path| !path.is_empty()) else {
        return parsed("--must-cover", text);
    };
    let found = match Path::new(path).canonicalize() {
        Ok(path) => path,
        // It may be on another machine.
        Err(_) => return parsed("--must-cover", text),
    };
    match found.to_str() {
        Some(path) => parsed("--must-cover", &format!("files:{path}")),
        None => Err(Failure::usage("--must-cover: the path is not in UTF-8")),
    }
}

impl Edit {
    /// What has no effect beside other settings.
    fn without_effect(&self, settings: &waxseal::ring::Settings) -> impl Iterator<Item = &'static str> {
        let is_closed = settings
            .provision
            .as_ref()
            .is_some_and(|provision| provision.closed);
        let is_prepared = self.provision_parent.is_some() || !self.new_provisioners.is_empty();
        let all = [
            (
                !settings.otherwise.is_empty() && settings.provision.is_some(),
                "otherwise opens and does not seal where there is no key, as long as the settings name provisioners: a tick takes over what they have made, and \
                 then --remove-provisioner ends that",
            ),
            (
                self.cadence.is_some() && settings.preset.is_some(),
                "--cadence has no effect while there is a preset, which has cadences of its own: --preset none removes it",
            ),
            (
                is_prepared && is_closed,
                "no keys are made on first use before --provision on-first-use, whoever the provisioners are",
            ),
        ];
        let idle = all.into_iter().filter(|(is_idle, _)| *is_idle);
        idle.map(|(_, text)| text)
    }
}

/// `ring set`.
pub(crate) fn set(path: &Path, actor: &Actor, set: &Set) -> Result<()> {
    let options = &set.settings;
    if Edit::is_nothing(options) {
        return Err(Failure::usage(
            "name a setting to change, see waxseal ring set --help",
        ));
    }
    let mut edit = Edit::parse(options)?;
    let (who, actor) = (actor, super::ask::actor(actor)?);
    let ring: Opened = open(path)?;
    let before = wait(ring.reader.scopes(&[]))?;
    let listed = &before.settings().census_keys;
    if let Some(key) = edit.old_census_keys.iter().find(|key| !listed.contains(key)) {
        return Err(Failure::usage(format!(
            "--remove-census-key: {key} is no census key of the ring; `waxseal ring status` lists them"
        )));
    }
    let listed = &before.settings().approvers;
    if let Some(key) = edit.old_approvers.iter().find(|key| !listed.contains(key)) {
        return Err(Failure::usage(format!(
            "--remove-approver: {key} is no approver of the ring; `waxseal ring status` lists them"
        )));
    }
    let listed = before.settings().provision.as_ref();
    let listed = listed.map_or(&[][..], |provision| provision.keys.as_slice());
    if let Some(key) = edit.old_provisioners.iter().find(|key| !listed.contains(key)) {
        return Err(Failure::usage(format!(
            "--remove-provisioner: {key} is no provisioner of the ring; `waxseal ring status` lists them"
        )));
    }
    let mut given_up = None;
    if set.give_up_later_keys {
        let removed = super::unbelieved::give_up(path, who, &edit.old_provisioners)?;
        given_up = Some(removed.given_up);
        edit.old_provisioners.clear();
    }
    let authority = read_authority(&ring.config, &actor)?;
    wait(set_settings(&ring.reader, &authority, &actor, |settings| {
        edit.apply(settings);
    }))?;
    let view = wait(ring.reader.scopes(&[]))?;
    ring.end()?;
    let settings = view.settings();
    for text in edit.without_effect(settings) {
        let _ = warnings::warning(text);
    }
    done(
        "ring set",
        json!({ "revision": view.revision(), "settings": to_json(settings), "given_up": given_up }),
        || table::fields(&shown(settings)),
    )
}

pub(crate) fn to_json(settings: &waxseal::ring::Settings) -> Value {
    json!({
        "scope_template": settings.scope_template.to_string(),
        "otherwise": settings.otherwise.iter().map(Scope::to_string).collect::<Vec<_>>(),
        "max_stale": settings.max_stale.to_string(),
        "max_stale_open": settings.max_stale_open.to_string(),
        "lease_age": settings.lease_age.to_string(),
        "stream_age": settings.stream_age.to_string(),
        "store_delay": settings.store_delay.to_string(),
        "clock_tolerance": settings.clock_tolerance.to_string(),
        "must_cover": settings.must_cover.iter().map(Covered::to_string).collect::<Vec<_>>(),
        "retire": retire(settings.retire),
        "cooling_off": settings.cooling_off.to_string(),
        "preset": settings.preset.map(|preset| preset.to_string()),
        "cadence": settings.cadence.to_string(),
        "overlap": settings.overlap.to_string(),
        "readers": settings.readers.iter().map(NamedReader::to_string).collect::<Vec<_>>(),
        "provision": settings.provision.as_ref().map(|provision| json!({
            "when": when(provision),
            "parent": provision.parent.to_string(),
            "provisioners": provision.keys.iter().map(AuthorityKey::to_string).collect::<Vec<_>>(),
        })),
        "census_keys": settings.census_keys.iter().map(AuthorityKey::to_string).collect::<Vec<_>>(),
        "approvers": settings.approvers.iter().map(AuthorityKey::to_string).collect::<Vec<_>>(),
    })
}

fn when(provision: &Provisioning) -> &'static str {
    match provision.closed {
        true => "never",
        false => "on-first-use",
    }
}

fn retire(by: RetireBy) -> &'static str {
    match by {
        RetireBy::Evidence => "evidence",
        _ => "overlap-end",
    }
}

pub(crate) fn shown(settings: &waxseal::ring::Settings) -> Vec<(&'static str, String)> {
    let list = |all: Vec<String>| match all.as_slice() {
        [] => "none".to_owned(),
        all => all.join(", "),
    };
    vec![
        ("scope template", settings.scope_template.to_string()),
        (
            "otherwise",
            list(settings.otherwise.iter().map(Scope::to_string).collect()),
        ),
        (
            "max stale",
            format!("{} (to open: {})", settings.max_stale, settings.max_stale_open),
        ),
        (
            "lease age",
            format!("{} (streams: {} more)", settings.lease_age, settings.stream_age),
        ),
        ("store delay", settings.store_delay.to_string()),
        ("clock tolerance", settings.clock_tolerance.to_string()),
        ("retire by", retire(settings.retire).to_owned()),
        (
            "must cover",
            list(settings.must_cover.iter().map(Covered::to_string).collect()),
        ),
        ("cooling-off", settings.cooling_off.to_string()),
        (
            "cadence",
            format!("{}, overlap {}", settings.cadence, settings.overlap),
        ),
        ("preset", table::or_dash(settings.preset)),
        (
            "readers",
            list(settings.readers.iter().map(NamedReader::to_string).collect()),
        ),
        (
            "provision",
            settings.provision.as_ref().map_or_else(
                || "never".to_owned(),
                |provision| {
                    let keys = provision.keys.iter().map(AuthorityKey::to_string).collect();
                    format!(
                        "{}, under {}, by {}",
                        when(provision),
                        provision.parent,
                        list(keys)
                    )
                },
            ),
        ),
        (
            "census keys",
            list(settings.census_keys.iter().map(AuthorityKey::to_string).collect()),
        ),
        (
            "approvers",
            list(settings.approvers.iter().map(AuthorityKey::to_string).collect()),
        ),
    ]
}
