//! What a ring may name, for a key that it is given.

use crate::backend::kek_uri::KekUri;
use crate::value::error::Result;

/// Returns the pattern of [`UriBackends::allow`](crate::ring::UriBackends::allow) that lets a ring name this KEK and the ones
/// that follow it in a rotation, with the same options, and nothing else.
///
/// # Errors
/// `InvalidArgument` if a record cannot name the URI: see [`KekUri::to_stored`].
pub fn pattern_for(uri: &KekUri) -> Result<String> {
    let text = uri.to_stored()?;
    let (place, options) = match text.split_once('?') {
        Some((place, options)) => (place, Some(options)),
        None => (text, None),
    };
    let (scheme, rest) = place.split_once(':').unwrap_or((place, ""));
    let until = |at: Option<usize>| at.and_then(|at| rest.get(..at)).unwrap_or_default();
    let place = match scheme {
        // A successor is another file, key or object beside it.
        "file" | "gcp-kms" => format!("{scheme}:{}*", until(rest.rfind('/').map(|at| at + 1))),
        // And its versions stand behind its name.
        "azure-key-vault" => match rest.find("/keys/") {
            Some(at) => format!("{scheme}:{}*", until(Some(at + "/keys/".len()))),
            None => place.to_owned(),
        },
        // Another key of the account, with an id that nobody knows before.
        "aws-kms" => format!("{scheme}:{}*", until(rest.rfind(':').map(|at| at + 1))),
        "pkcs11" => format!("{scheme}:{}*", until(rest.find("object="))),
        // A new version of the same key, or nothing that follows.
        _ => place.to_owned(),
    };
    Ok(match options {
        Some(options) => format!("{place}?{options}"),
        None => place,
    })
}
