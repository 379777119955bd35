//! `waxseal open`.

use waxseal::blocking::Sealer;

use crate::arguments::Open;
use crate::copy::copy;
use crate::failure::{Failure, Result};
use crate::input::Input;
use crate::output::{Access, Output};
use crate::progress::Progress;
use crate::seal::threads;
use crate::{binding, kek};

/// Opens a stream. A pipe gets each chunk once it was verified; a file is there once all of them were.
pub(crate) fn run(options: &Open) -> Result<()> {
    let keks = kek::parse(&options.kek)?;
    let context = binding::context(&options.context)?;
    let aad = binding::aad(&options.aad)?;
    let builder = kek::open_with(waxseal::Sealer::builder(), &keks)?;
    let sealer = Sealer::from(threads(builder, &options.threads)?.build()?);

    let input = Input::open(options.streams.input.as_ref())?;
    let (from, total) = (input.name(), input.len());
    let mut reader = sealer
        .reader(input, context.with_aad(&aad))
        .map_err(|error| Failure::of_stream("read", &from, error))?;
    let mut output = Output::create(options.streams.output.as_ref(), Access::Private)?;
    let to = output.name();
    let progress = Progress::new(total, &output);
    copy(&mut reader, &from, &mut output, &to, progress)?;
    output.finish()
}
