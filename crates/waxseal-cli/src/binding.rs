//! `--context` and `--aad`. No error here quotes a value.

use std::io::Read;
use std::path::PathBuf;

use waxseal::{EncryptionContext, value::limits};

use crate::arguments::{Aad, Context};
use crate::failure::{Failure, Result};
use crate::stream::{Input, Source};

/// The context of `--context` options. Without any it is empty.
pub(crate) fn context(options: &Context) -> Result<EncryptionContext> {
    if options.context.is_empty() {
        return Ok(EncryptionContext::empty());
    }
    let mut pairs = Vec::with_capacity(options.context.len());
    for (index, pair) in options.context.iter().enumerate() {
        let pair = pair.split_once('=').ok_or_else(|| {
            Failure::usage(format!(
                "--context number {} has no '=': write --context KEY=VALUE",
                index + 1
            ))
        })?;
        pairs.push(pair);
    }
    EncryptionContext::new(pairs).map_err(|error| Failure::usage_of("--context", &error))
}

/// The AAD of `--aad`. Without it, it is empty.
pub(crate) fn aad(options: &Aad) -> Result<Vec<u8>> {
    let Some(aad) = &options.aad else {
        return Ok(Vec::new());
    };
    let Some(path) = aad.strip_prefix('@') else {
        limits::AAD
            .check(aad.len())
            .map_err(|error| Failure::usage_of("--aad", &error))?;
        return Ok(aad.clone().into_bytes());
    };
    // The path is not quoted: it may be an AAD that begins with '@'.
    let failed = |error| Failure::of_descriptor("read", "the file of --aad @FILE", error);
    let mut bytes = Vec::new();
    Input::of(Input::place(Some(&PathBuf::from(path))))
        .map_err(failed)?
        .take(limits::AAD.max + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    limits::AAD.check(bytes.len())?;
    Ok(bytes)
}

/// Where `--aad` is read from, if it is.
pub(crate) fn source(options: &Aad) -> Option<Source> {
    let path = options.aad.as_ref()?.strip_prefix('@')?;
    Some(Source::new("--aad", Input::place(Some(&PathBuf::from(path)))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(pairs: &[&str]) -> Context {
        Context {
            context: pairs.iter().map(|pair| (*pair).to_owned()).collect(),
        }
    }

    #[test]
    fn a_pair_is_split_at_its_first_equals_sign() {
        let context = context(&pairs(&["b=1=2", "a="])).ok().unwrap();
        assert_eq!(context.pairs().collect::<Vec<_>>(), [("a", ""), ("b", "1=2")]);
    }

    #[test]
    fn what_is_no_pair_is_refused() {
        for bad in [&["a"][..], &["=b"], &["a=1", "a=2"], &["a=b", ""]] {
            assert!(context(&pairs(bad)).is_err(), "{bad:?}");
        }
    }
}
