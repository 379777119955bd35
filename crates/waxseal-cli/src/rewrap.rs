//! `waxseal rewrap`.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use waxseal::Builder;
use waxseal::backend::kek_uri::KekUri;
use waxseal::blocking::Sealer;
use waxseal::envelope::{HeaderBuf, KekRef, Wraps};
use waxseal::key::{Authorization, RewrapRules};
use waxseal::layer::Pace;
#[cfg(all(feature = "audit", feature = "ring"))]
use waxseal::ring::Operation;
use waxseal::source::{Fate, Unmet};
use waxseal::{EncryptionContext, ErrorKind, envelope::Header, in_place, sealer::NewWraps};

use crate::arguments::Rewrap;
use crate::copy::copy;
use crate::failure::{Failure, Result, printable};
#[cfg(feature = "fleet")]
use crate::fleet;
use crate::kek::{self, Keks, Role};
use crate::progress::Progress;
#[cfg(feature = "ring")]
use crate::stream::Place;
use crate::stream::{Access, Input, Name, Output, Replace, Source, changed, path_of};
use crate::{binding, report, seal, warnings};

/// Makes new wraps, and copies the body behind them.
pub(crate) fn run(options: &Rewrap) -> Result<()> {
    let keks = options.keks()?;
    let to = kek::parse_all("--to", &options.to)?;
    if let Keks::Given(keks) = &keks
        && keks.len() > 1
        && to.is_empty()
    {
        return Err(Failure::usage(
            "--to is missing: there are several --kek, so name the key that wraps with --to",
        ));
    }
    #[cfg(feature = "ring")]
    if matches!(keks, Keks::Ring(..)) && !to.is_empty() {
        return Err(Failure::usage(
            "--to does not go with a ring: its active keys wrap; to leave a ring, name its keys with --kek",
        ));
    }
    #[cfg(feature = "ring")]
    if !matches!(keks, Keks::Ring(..)) && !options.approval.is_empty() {
        return Err(Failure::usage(
            "--approval is about a key of a ring: name the ring with --ring",
        ));
    }
    #[cfg(feature = "ring")]
    let approvals = crate::ring::approvals(&options.approval)?;
    keks.check(&options.wraps)?;
    #[cfg(feature = "fleet")]
    if let Some(store) = options.store() {
        return store_of(options, store, &keks, &to);
    }
    #[cfg(feature = "fleet")]
    options.job.check_none()?;
    let given = binding::context(&options.context)?;
    let target = target(options)?;
    let mut keys = kek::sources(&keks, &[("--to", &to)])?;
    #[cfg(feature = "ring")]
    keys.extend(
        options
            .approval
            .iter()
            .map(|path| Source::new("an approval", Place::of(path))),
    );
    seal::check_streams(&mut keys, None, options.streams.input.as_ref())?;

    let in_place = if options.in_place { path_of(target) } else { None };
    if let Some(path) = in_place.filter(|path| path.exists()) {
        // Before it is read: an earlier run may have been interrupted.
        in_place::recover(path).map_err(|error| match error.is_retryable() {
            true => busy(),
            false => Failure::of_stream("recover", path.display(), error),
        })?;
    }
    let mut input = Input::open(options.streams.input.as_ref())?;
    let replace = Replace {
        break_links: options.streams.break_links,
        input: Some(&input),
        keys: &keys,
        any_bytes: false,
    };
    // What would be refused in the end is refused now. In place the file is overwritten first, if that can be.
    let output = match in_place {
        Some(_) => {
            drop(Output::create(target, Access::Usual, replace)?);
            None
        }
        None => Some(Output::create(target, Access::Usual, replace)?),
    };
    if let Some(output) = &output {
        output.refuse_terminal()?;
    }
    let from = input.name();
    let read = HeaderBuf::read_from(&mut input);
    let read = read.map_err(|error| input.explain(Failure::of_stream("read", &from, error)))?;
    let header = read.header()?;
    let context = if options.use_stored_context {
        stored(&header)?
    } else if options.context.context.is_empty()
        && header
            .stored_context()
            .is_some_and(|stored| stored != given.canonical())
    {
        return Err(Failure::usage(
            "the envelope stores its context; give it with --context, or take it from there with --use-stored-context",
        ));
    } else {
        given
    };
    let builder = builder(options, &keks, &to, None)?;
    #[cfg(feature = "audit")]
    let audit = options.audit()?;
    #[cfg(feature = "audit")]
    let builder = audit.around(builder);
    let sealer = Sealer::from(builder.build()?);
    let sealer = options.acting(sealer, &keks)?;
    #[cfg(feature = "ring")]
    let sealer = sealer.authorized_by(approvals);
    let job = || {
        let files = Files {
            in_place,
            target,
            keys: &keys,
            output,
        };
        files.rewrap(options, &sealer, &read, &context, input)
    };
    #[cfg(all(feature = "audit", feature = "ring"))]
    if let Some(auditor) = audit.auditor() {
        let ring = match &keks {
            Keks::Ring(path, _) => Some(crate::ring::read_config(path)?.ring),
            _ => None,
        };
        let actor = crate::ring::actor(&options.actor)?;
        return crate::ring::audited::job_of(auditor, (Operation::RewrapJob, ring), &actor, job);
    }
    job()
}

/// What makes the new wraps. `pace` is kept by all calls to keys.
fn builder(options: &Rewrap, keks: &Keks, to: &[KekUri], pace: Option<&Pace>) -> Result<Builder> {
    let builder = seal::wraps(waxseal::Sealer::builder(), &options.wraps)?;
    let builder = kek::within(builder, &options.calls)?;
    let wraps = Role::wraps(&options.calls);
    let keys = kek::Opening { pace };
    let builder = if to.is_empty() {
        keys.first_wraps(builder, keks, wraps)?
    } else {
        keys.open_with(keys.each(builder, to, wraps)?, keks)?
    };
    options.demanding(builder.rewrap_rules(rules(options)), keks)
}

/// Moves what a directory or a store holds.
#[cfg(feature = "fleet")]
fn store_of(options: &Rewrap, store: &Path, keks: &Keks, to: &[KekUri]) -> Result<()> {
    fleet::check(options)?;
    let context = binding::context(&options.context)?;
    // Refuses a descriptor that is closed, before anything is opened.
    kek::sources(keks, &[("--to", to)])?;
    let pace = options.job.call_rate.map(Pace::of);
    let builder = builder(options, keks, to, pace.as_ref())?;
    #[cfg(feature = "audit")]
    let audit = options.audit()?;
    #[cfg(feature = "audit")]
    let builder = audit.around(builder);
    let sealer = options.acting(Sealer::from(builder.build()?), keks)?;
    #[cfg(feature = "ring")]
    let sealer = sealer.authorized_by(crate::ring::approvals(&options.approval)?);
    let sealer = sealer.into_inner();
    let purpose = purpose(keks, to);
    let job = || fleet::rewrap(options, store, sealer, context, purpose);
    #[cfg(all(feature = "audit", feature = "ring"))]
    if let Some(auditor) = audit.auditor() {
        let ring = match keks {
            Keks::Ring(path, _) => Some(crate::ring::read_config(path)?.ring),
            _ => None,
        };
        let actor = crate::ring::actor(&options.actor)?;
        return crate::ring::audited::job_of(auditor, (Operation::RewrapJob, ring), &actor, job);
    }
    job()
}

/// To which keys, for a ledger that is gone on with.
#[cfg(feature = "fleet")]
fn purpose(keks: &Keks, to: &[KekUri]) -> String {
    let named = |keks: &[KekUri]| keks.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    match (to, keks) {
        #[cfg(feature = "ring")]
        ([], Keks::Ring(path, _)) => format!("re-wrap to the active keys of the ring {}", path.display()),
        ([], Keks::Environment) => "re-wrap to the key of the environment".to_owned(),
        ([], Keks::Given(keks)) => format!("re-wrap to {}", named(keks.get(..1).unwrap_or_default())),
        (to, _) => format!("re-wrap to {}", named(to)),
    }
}

/// Where a re-wrap reads and writes.
struct Files<'f> {
    in_place: Option<&'f Path>,
    target: Option<&'f PathBuf>,
    keys: &'f [Source],
    output: Option<Output>,
}

impl Files<'_> {
    /// Makes the new wraps, and writes what has them.
    fn rewrap(
        self,
        options: &Rewrap,
        sealer: &Sealer,
        read: &HeaderBuf,
        context: &EncryptionContext,
        mut input: Input,
    ) -> Result<()> {
        let Self {
            in_place,
            target,
            keys,
            output,
        } = self;
        let (from, header) = (input.name(), read.header()?);
        let new = sealer.rewrap(read.as_bytes(), context)?;
        // What was reserved for later is kept, and the length with it, if that fits.
        let reserved = header.wrap_section()?.padding() > 0 && options.wraps.padding.is_none();
        let prefix = match new.in_place().filter(|_| reserved) {
            Some(prefix) => prefix,
            None => new.prefix().to_vec(),
        };

        let fits = prefix.len() == new.replaces();
        if let Some(path) = in_place.filter(|_| fits)
            && overwrite(path, &new)?
        {
            return report(options, &new, &path.display().to_string(), true, false);
        }
        let mut output = match output {
            Some(output) => output,
            None => Output::create(
                target,
                Access::Usual,
                Replace {
                    break_links: options.streams.break_links,
                    input: Some(&input),
                    keys,
                    any_bytes: false,
                },
            )?,
        };
        let (name, is_stream) = (output.name(), output.is_stream());
        for part in [
            prefix.as_slice(),
            read.as_bytes().get(new.replaces()..).unwrap_or_default(),
        ] {
            output
                .write_all(part)
                .map_err(|error| Failure::of_io("write", &name, error))?;
        }
        let progress = Progress::new(input.len(), &output);
        copy(&mut input, &from, &mut output, &name, progress)?;
        if let Some(path) = in_place {
            check_unchanged(path, read.as_bytes())?;
        }
        output.finish()?;
        report(options, &new, &name.to_string(), false, is_stream)
    }
}

/// What the re-wrap may take away, as the command line has it.
fn rules(options: &Rewrap) -> RewrapRules<'static> {
    let mut rules = RewrapRules::new();
    if options.drop_unknown {
        rules = rules.dropping_unknown();
    }
    if options.allow_fewer {
        rules = rules.leaving_fewer_wraps();
    }
    if options.allow_weaker {
        rules = rules.weakening();
    }
    #[cfg(feature = "ring")]
    if options.fall_short {
        rules = rules.falling_short();
    }
    rules
}

/// Says what became of the wraps: under which keys it is now, and which were kept, replaced and dropped.
fn report(options: &Rewrap, new: &NewWraps, output: &str, is_in_place: bool, is_stream: bool) -> Result<()> {
    let kept = new
        .stanzas()
        .iter()
        .filter(|stanza| stanza.fate == Fate::Kept)
        .count();
    let now = match new.wraps() {
        Wraps::Attached(set) => set.wraps(),
        _ => &[],
    };
    // Those that were kept stand behind those that were made.
    let made = now.get(..now.len().saturating_sub(kept)).unwrap_or_default();
    if report::is_json() {
        let made: Vec<Value> = made.iter().map(|wrap| kek_json(wrap.kek())).collect();
        let old: Vec<Value> = new
            .stanzas()
            .iter()
            .map(|stanza| {
                let mut shown = kek_json(&stanza.kek);
                shown["fate"] = fate(stanza.fate).into();
                shown
            })
            .collect();
        return report::result(
            &json!({
                "schema": report::SCHEMA,
                "command": "rewrap",
                "output": output,
                "in_place": is_in_place,
                "wrapped_under": made,
                "old_wraps": old,
                "unmet": new.unmet().iter().map(unmet_json).collect::<Vec<_>>(),
                "approvals": new.authorizations().iter().map(approval_json).collect::<Vec<_>>(),
            }),
            is_stream,
        );
    }
    if options.quiet {
        return Ok(());
    }
    for wrap in made {
        tell(&format!("wrapped under {}", wrap.kek()));
    }
    for stanza in new.stanzas() {
        tell(&format!("{} {}", fate(stanza.fate), stanza.kek));
    }
    for used in new.authorizations() {
        tell(&format!(
            "used the key {} under the approval of ticket {} by {}",
            used.subject, used.ticket, used.approver
        ));
    }
    for unmet in new.unmet() {
        tell(&format!("still misses {unmet}"));
    }
    Ok(())
}

/// The output is there, whether anybody hears of it or not.
fn tell(line: &str) {
    let _ = warnings::line(&format!("waxseal: {}", printable(line)));
}

fn fate(fate: Fate) -> &'static str {
    match fate {
        Fate::Kept => "kept",
        Fate::Replaced => "replaced",
        Fate::Dropped => "dropped",
        _ => "changed",
    }
}

/// The approval under which a key was used.
fn approval_json(used: &Authorization) -> Value {
    json!({ "key": used.subject, "ticket": used.ticket, "approver": used.approver })
}

/// What is demanded and is not there.
pub(crate) fn unmet_json(unmet: &Unmet) -> Value {
    json!({ "requirement": unmet.requirement, "key": unmet.key, "detail": unmet.detail })
}

fn kek_json(kek: &KekRef) -> Value {
    let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    json!({ "provider": kek.provider(), "kek_id": some(kek.id()), "kek_version": some(kek.version()) })
}

/// Refuses to take the place of a file that somebody else has re-wrapped since it was read.
fn check_unchanged(path: &Path, header: &[u8]) -> Result<()> {
    let read = |mut now: Vec<u8>| File::open(path)?.read_exact(&mut now).map(|()| now);
    match read(vec![0; header.len()]) {
        Ok(now) if now == header => Ok(()),
        _ => Err(changed(&Name::Path(path.into()))),
    }
}

/// Overwrites the wraps alone. `false` if that cannot be done, and the file is to be written anew.
fn overwrite(path: &Path, new: &NewWraps) -> Result<bool> {
    match in_place::rewrap_file(path, new) {
        Ok(()) => Ok(true),
        // Not while another process is at it.
        Err(error) if error.is_retryable() => Err(busy()),
        Err(error) if error.kind() == ErrorKind::InvalidArgument => Err(changed(&Name::Path(path.into()))),
        // No room, several names, a file that only its directory lets one write: a new file still can take its place.
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::NoRoom { .. } | ErrorKind::Unsupported { .. } | ErrorKind::Io
            ) =>
        {
            Ok(false)
        }
        Err(error) => Err(error.into()),
    }
}

fn busy() -> Failure {
    Failure::busy("another process is re-wrapping this file; try again")
}

fn target(options: &Rewrap) -> Result<Option<&PathBuf>> {
    if !options.in_place {
        return Ok(options.streams.output.as_ref());
    }
    let input = options.streams.input.as_ref();
    match Input::place(input) {
        crate::stream::Place::Path(_) => Ok(input),
        _ => Err(Failure::usage("--in-place needs INPUT to be a file")),
    }
}

pub(crate) fn stored(header: &Header<'_>) -> Result<EncryptionContext> {
    match header.stored_context() {
        Some(stored) => Ok(EncryptionContext::from_canonical(stored)?),
        None => Err(Failure::usage(
            "--use-stored-context: the envelope stores no context; give it with --context KEY=VALUE",
        )),
    }
}
