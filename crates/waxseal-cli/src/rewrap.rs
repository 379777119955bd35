//! `waxseal rewrap`.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

use waxseal::blocking::Sealer;
use waxseal::envelope::HeaderBuf;
use waxseal::key::RewrapRules;
use waxseal::{EncryptionContext, ErrorKind, envelope::Header, in_place, sealer::NewWraps};

use crate::arguments::Rewrap;
use crate::copy::copy;
use crate::failure::{Failure, Result};
use crate::input::{Input, path_of};
use crate::kek::{self, Role};
use crate::output::{Access, Output};
use crate::progress::Progress;
use crate::{binding, seal};

/// Makes new wraps, and copies the body behind them.
pub(crate) fn run(options: &Rewrap) -> Result<()> {
    let keks = kek::parse(&options.kek)?;
    let to = kek::parse_all("--to", &options.to)?;
    let given = binding::context(&options.context)?;
    let mut builder = seal::wraps(waxseal::Sealer::builder(), &options.wraps)?;
    let target = target(options)?;
    builder = if to.is_empty() {
        kek::first_wraps(builder, &keks)?
    } else {
        let builder = kek::each(builder, &to, Role::Wraps)?;
        kek::open_with(builder, &keks)?
    };
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
    builder = builder.rewrap_rules(rules);
    let sealer = Sealer::from(builder.build()?);

    let in_place = if options.in_place { path_of(target) } else { None };
    if let Some(path) = in_place.filter(|path| path.exists()) {
        // Before it is read: an earlier run may have been interrupted.
        in_place::recover(path).map_err(|error| match error.is_retryable() {
            true => busy(),
            false => Failure::of_stream("recover", path.display(), error),
        })?;
    }
    let mut input = Input::open(options.streams.input.as_ref())?;
    let from = input.name();
    let read = HeaderBuf::read_from(&mut input);
    let read = read.map_err(|error| Failure::of_stream("read", &from, error))?;
    let header = read.header()?;
    let context = if options.use_stored_context {
        stored(&header)?
    } else if options.context.context.is_empty()
        && header
            .stored_context()
            .is_some_and(|stored| stored != given.canonical())
    {
        return Err(Failure::refused(
            "the envelope stores its context; give it with --context, or take it from there with --use-stored-context",
        ));
    } else {
        given
    };
    let new = sealer.rewrap(read.as_bytes(), &context)?;
    // What was reserved for later is kept, and the length with it, where that fits.
    let reserved = header.wrap_section()?.padding() > 0 && options.wraps.padding.is_none();
    let prefix = match new.in_place().filter(|_| reserved) {
        Some(prefix) => prefix,
        None => new.prefix().to_vec(),
    };

    let fits = prefix.len() == new.replaces();
    if let Some(path) = in_place.filter(|_| fits)
        && overwrite(path, &new)?
    {
        return Ok(());
    }
    let mut output = Output::create(target, Access::Usual)?;
    let name = output.name();
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
    output.finish()
}

/// Refuses to take the place of a file that somebody else has re-wrapped since it was read.
fn check_unchanged(path: &Path, header: &[u8]) -> Result<()> {
    let read = |mut now: Vec<u8>| File::open(path)?.read_exact(&mut now).map(|()| now);
    match read(vec![0; header.len()]) {
        Ok(now) if now == header => Ok(()),
        _ => Err(Failure::refused(
            "the file was changed while it was re-wrapped; it is left as it is now",
        )),
    }
}

/// Overwrites the wraps alone. `false` where that cannot be done, and the file is to be written anew.
fn overwrite(path: &Path, new: &NewWraps) -> Result<bool> {
    match in_place::rewrap_file(path, new) {
        Ok(()) => Ok(true),
        // Not while another process is at it.
        Err(error) if error.is_retryable() => Err(Failure::refused(
            "another process is re-wrapping this file; try again",
        )),
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
    Failure::refused("another process is re-wrapping this file; try again")
}

fn target(options: &Rewrap) -> Result<Option<&std::path::PathBuf>> {
    if !options.in_place {
        return Ok(options.streams.output.as_ref());
    }
    let input = options.streams.input.as_ref();
    if path_of(input).is_none() {
        return Err(Failure::usage("--in-place needs INPUT to be a file"));
    }
    Ok(input)
}

fn stored(header: &Header<'_>) -> Result<EncryptionContext> {
    match header.stored_context() {
        Some(stored) => Ok(EncryptionContext::from_canonical(stored)?),
        None => Err(Failure::refused(
            "--use-stored-context: the envelope stores no context; give it with --context KEY=VALUE",
        )),
    }
}
