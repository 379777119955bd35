//! What a wrap is bound to, as AWS gets it.

use std::collections::HashMap;

use base64ct::{Base64UrlUnpadded, Encoding};

use crate::envelope::WrapAlgorithm;
use crate::key::Request;
use crate::value::error::{Error, Result};

/// The one key of the digest form.
const DIGEST_KEY: &str = "waxseal-context";

/// How the encryption context goes to AWS. A KEK has one form; it is part of the wrap algorithm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ContextForm {
    /// Pair by pair: visible in CloudTrail, usable in the conditions of policies and grants. Wrap algorithm 16.
    #[default]
    Pairs,
    /// Its digest only: AWS and CloudTrail learn no name and no value. Any context can be used, and shares of a
    /// DEK can be wrapped. Wrap algorithm 22.
    Digest,
}

impl ContextForm {
    pub(super) fn algorithm(self) -> WrapAlgorithm {
        match self {
            Self::Pairs => WrapAlgorithm::AWS_KMS,
            Self::Digest => WrapAlgorithm::AWS_KMS_DIGEST,
        }
    }

    /// Returns the `EncryptionContext` of a request; `None` if it has no pairs.
    pub(super) fn encryption_context(self, request: &Request<'_>) -> Result<Option<HashMap<String, String>>> {
        match self {
            Self::Digest => {
                let digest = Base64UrlUnpadded::encode_string(request.binding());
                Ok(Some(HashMap::from([(DIGEST_KEY.to_owned(), digest)])))
            }
            Self::Pairs if request.binding() != request.context().digest() => Err(Error::unsupported(
                "a share of a DEK under AWS KMS with the context as pairs",
            )),
            // To AWS it would look like the other form.
            Self::Pairs if request.context().pairs().any(|(key, _)| key == DIGEST_KEY) => Err(
                Error::unsupported("the key waxseal-context in a context that AWS KMS gets as pairs"),
            ),
            Self::Pairs => {
                let pairs = request.context().pairs();
                let pairs: HashMap<_, _> = pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
                Ok((!pairs.is_empty()).then_some(pairs))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::context::EncryptionContext;
    use crate::value::error::ErrorKind;

    #[test]
    fn pairs_go_as_they_are_and_an_empty_context_as_none() {
        let context = EncryptionContext::new([("tenant", ""), ("a", "b c")]).unwrap();
        let pairs = ContextForm::Pairs
            .encryption_context(&Request::new(&context))
            .unwrap();
        let pairs = pairs.unwrap();
        assert_eq!(pairs.len(), 2);
        assert_eq!((&*pairs["tenant"], &*pairs["a"]), ("", "b c"));
        let empty = EncryptionContext::empty();
        let none = ContextForm::Pairs
            .encryption_context(&Request::new(&empty))
            .unwrap();
        assert_eq!(none, None);
    }

    #[test]
    fn the_digest_goes_as_one_pair_and_carries_any_binding() {
        let context = EncryptionContext::empty();
        let request = Request::new(&context).with_binding([0xff; 32]);
        let pairs = ContextForm::Digest.encryption_context(&request).unwrap().unwrap();
        assert_eq!(pairs.len(), 1);
        assert_eq!(pairs["waxseal-context"], "_".repeat(42) + "8");
    }

    #[test]
    fn pairs_carry_no_share_and_nothing_that_looks_like_a_digest() {
        let context = EncryptionContext::new([("a", "b"), ("waxseal-context", "c")]).unwrap();
        let share = EncryptionContext::empty();
        for request in [Request::new(&context), Request::new(&share).with_binding([1; 32])] {
            let error = ContextForm::Pairs.encryption_context(&request).unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::Unsupported { .. }), "{error}");
        }
    }
}
