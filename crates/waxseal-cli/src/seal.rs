//! `waxseal seal`.

use serde_json::json;
use waxseal::blocking::Sealer;
use waxseal::{Builder, Suite, envelope::ChunkSize, message::Parallel};

use crate::arguments::{NewWraps, Seal, Threads};
use crate::copy::copy;
use crate::failure::{Failure, Result};
use crate::kek::Role;
use crate::progress::Progress;
use crate::stream::{Access, Input, Output, Replace, Source, check_once};
use crate::{binding, kek, report};

/// Seals a stream.
pub(crate) fn run(options: &Seal) -> Result<()> {
    let keks = options.keks()?;
    keks.check(&options.wraps)?;
    let context = binding::context(&options.context)?;
    let suite: Suite = options
        .suite
        .parse()
        .map_err(|error| Failure::usage_of("--suite", &error))?;
    let mut builder = wraps(waxseal::Sealer::builder(), &options.wraps)?
        .suite(suite)
        .chunk_size(chunk_size(&options.chunk_size)?);
    if options.store_context {
        builder = builder.store_context();
    }
    let builder = kek::within(threads(builder, &options.threads)?, &options.calls)?;
    let mut keys = kek::sources(&keks, &[])?;
    check_streams(
        &mut keys,
        binding::source(&options.aad),
        options.streams.input.as_ref(),
    )?;

    let mut input = Input::open(options.streams.input.as_ref())?;
    let replace = Replace {
        break_links: options.streams.break_links,
        input: Some(&input),
        keys: &keys,
        any_bytes: false,
    };
    let output = Output::create(options.streams.output.as_ref(), Access::Usual, replace)?;
    output.refuse_terminal()?;
    let aad = binding::aad(&options.aad)?;
    let builder = kek::first_wraps(builder, &keks, Role::wraps(&options.calls))?;
    let builder = options.demanding(builder, &keks)?;
    #[cfg(feature = "audit")]
    let audit = options.audit()?;
    #[cfg(feature = "audit")]
    let builder = audit.around(builder);
    let sealer = Sealer::from(builder.build()?);
    let sealer = options.acting(sealer, &keks)?;
    let (from, to) = (input.name(), output.name());
    let is_stream = output.is_stream();
    let progress = Progress::new(input.len(), &output);
    let mut writer = sealer.writer(output, context.with_aad(&aad))?;
    let sealed = copy(&mut input, &from, &mut writer, &to, progress)?;
    let output = writer
        .finish()
        .map_err(|error| Failure::of_stream("write", &to, error))?;
    output.finish()?;
    report::result(
        &json!({
            "schema": report::SCHEMA,
            "command": "seal",
            "output": to.to_string(),
            "plaintext_len": sealed,
        }),
        is_stream,
    )
}

/// Refuses a stream that would be read twice: for keys, for the AAD, and as the input.
pub(crate) fn check_streams(
    keys: &mut Vec<Source>,
    aad: Option<Source>,
    input: Option<&std::path::PathBuf>,
) -> Result<()> {
    let count = keys.len();
    keys.extend(aad);
    keys.push(Source::new("INPUT", Input::place(input)));
    let checked = check_once(keys);
    // What is left are the keys, which no output may overwrite.
    keys.truncate(count);
    checked
}

/// Settings of the wraps that are written.
pub(crate) fn wraps(mut builder: Builder, options: &NewWraps) -> Result<Builder> {
    if let Some(padding) = &options.padding {
        let padding = padding
            .parse()
            .map_err(|_| Failure::usage("--padding is a number of bytes"))?;
        waxseal::value::limits::WRAP_SECTION
            .check(padding)
            .map_err(|error| Failure::usage_of("--padding", &error))?;
        builder = builder.padding(padding);
    }
    if options.hide_kek_id {
        builder = builder.hide_kek_ids();
    }
    Ok(builder)
}

/// The threads that seal and open.
pub(crate) fn threads(builder: Builder, options: &Threads) -> Result<Builder> {
    match options.threads.parse() {
        Ok(1) => Ok(builder),
        Ok(threads @ 2..=1024) => Ok(builder.parallel(Parallel::rayon(threads)?)),
        _ => Err(Failure::usage("--threads is a number from 1 to 1024")),
    }
}

fn chunk_size(text: &str) -> Result<ChunkSize> {
    // Not a number is as wrong as a number that is no chunk size.
    ChunkSize::new(text.parse().unwrap_or_default())
        .map_err(|error| Failure::usage_of("--chunk-size", &error))
}
