//! `waxseal open`.

use serde_json::json;
use waxseal::blocking::Sealer;

use crate::arguments::Open;
use crate::copy::copy;
use crate::failure::{Failure, Result};
use crate::progress::Progress;
use crate::seal::{check_streams, threads};
use crate::stream::{Access, Input, Output, Replace};
use crate::{binding, kek, report};

/// Opens a stream. A pipe gets each chunk once it was verified; a file is there once all of them were.
pub(crate) fn run(options: &Open) -> Result<()> {
    let keks = options.keks()?;
    let context = binding::context(&options.context)?;
    let builder = kek::within(
        threads(waxseal::Sealer::builder(), &options.threads)?,
        &options.calls,
    )?;
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
    let mut output = Output::create(options.streams.output.as_ref(), Access::Private, replace)?;
    let aad = binding::aad(&options.aad)?;
    let builder = kek::open_with(builder, &keks)?;
    let builder = options.demanding(builder, &keks)?;
    #[cfg(feature = "audit")]
    let audit = options.audit()?;
    #[cfg(feature = "audit")]
    let builder = audit.around(builder);
    let sealer = Sealer::from(builder.build()?);
    let sealer = options.acting(sealer, &keks)?;
    let (from, total) = (input.name(), input.len());
    let opened = sealer.reader(&mut input, context.with_aad(&aad));
    let opened = opened.map_err(|error| Failure::of_stream("read", &from, error));
    let mut reader = match opened {
        Ok(reader) => reader,
        Err(failure) => return Err(input.explain(failure)),
    };
    let (to, is_stream) = (output.name(), output.is_stream());
    let progress = Progress::new(total, &output);
    let opened = copy(&mut reader, &from, &mut output, &to, progress)?;
    output.finish()?;
    report::result(
        &json!({
            "schema": report::SCHEMA,
            "command": "open",
            "output": to.to_string(),
            "plaintext_len": opened,
        }),
        is_stream,
    )
}
