//! What a token's return codes mean: the one place that says so.

use cryptoki::context::Function;
use cryptoki::error::{Error as TokenError, RvError};

use super::PROVIDER;
use super::mechanism::Mechanism;
use crate::value::error::{Error, ErrorKind};

/// Why work on a token did not succeed.
#[derive(Debug)]
pub(super) enum Fault {
    /// The token or its module said so. What was lost may be found again.
    Token(TokenError),
    /// We say so.
    Ours(Error),
}

impl From<TokenError> for Fault {
    fn from(error: TokenError) -> Self {
        Self::Token(error)
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Ours(error)
    }
}

/// What has to be done before the same work can succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Recovery {
    /// Log in, and find the keys again.
    Find,
    /// The same, in new sessions.
    Reopen,
}

/// Whether, and how, what was lost can be found again.
pub(super) fn recovery(error: &TokenError) -> Option<Recovery> {
    let TokenError::Pkcs11(code, function) = error else {
        return None;
    };
    match code {
        // What kryoptic says to whoever uses a key after a logout.
        RvError::GeneralError => {
            matches!(function, Function::EncryptInit | Function::DecryptInit).then_some(Recovery::Find)
        }
        RvError::KeyHandleInvalid
        | RvError::ObjectHandleInvalid
        | RvError::WrappingKeyHandleInvalid
        | RvError::UnwrappingKeyHandleInvalid
        | RvError::UserNotLoggedIn
        | RvError::DeviceError => Some(Recovery::Find),
        RvError::SessionHandleInvalid
        | RvError::SessionClosed
        | RvError::CryptokiNotInitialized
        | RvError::SlotIdInvalid
        | RvError::TokenNotPresent
        | RvError::TokenNotRecognized
        | RvError::DeviceRemoved => Some(Recovery::Reopen),
        _ => None,
    }
}

/// Whether a decryption or unwrapping failed for the bytes it was given. SoftHSM calls a wrong tag a general error,
/// so that is one where the bytes are being looked at, and nowhere else.
pub(super) fn is_about_the_bytes(error: &TokenError) -> bool {
    let TokenError::Pkcs11(code, function) = error else {
        return false;
    };
    if !matches!(function, Function::Decrypt | Function::UnwrapKey) {
        return false;
    }
    matches!(
        code,
        RvError::EncryptedDataInvalid
            | RvError::EncryptedDataLenRange
            | RvError::WrappedKeyInvalid
            | RvError::WrappedKeyLenRange
            | RvError::DataInvalid
            | RvError::DataLenRange
            | RvError::GeneralError
    )
}

/// Whether it failed for the bytes or for the device: where it is RSA, kryoptic calls both a device error, and others
/// call both a function that failed.
pub(super) fn may_be_about_the_bytes(error: &TokenError) -> bool {
    matches!(
        error,
        TokenError::Pkcs11(RvError::DeviceError | RvError::FunctionFailed, Function::Decrypt)
    )
}

/// Whether a token refused a mechanism, or its parameters, before any bytes.
fn is_refused_mechanism(code: &RvError, function: Function) -> bool {
    match code {
        RvError::MechanismInvalid | RvError::MechanismParamInvalid => true,
        RvError::ArgumentsBad | RvError::FunctionNotSupported => {
            matches!(function, Function::EncryptInit | Function::DecryptInit)
        }
        _ => false,
    }
}

fn kind(code: &RvError) -> ErrorKind {
    match code {
        RvError::PinIncorrect
        | RvError::PinInvalid
        | RvError::PinLenRange
        | RvError::PinExpired
        | RvError::PinLocked
        | RvError::UserPinNotInitialized
        | RvError::UserNotLoggedIn
        | RvError::UserTypeInvalid
        | RvError::UserAnotherAlreadyLoggedIn => ErrorKind::Unauthenticated,
        RvError::ActionProhibited
        | RvError::FunctionRejected
        | RvError::KeyNotWrappable
        | RvError::KeyUnextractable
        | RvError::AttributeReadOnly
        | RvError::AttributeSensitive
        | RvError::SessionReadOnly
        | RvError::TokenWriteProtected => ErrorKind::Denied,
        RvError::KeyFunctionNotPermitted => ErrorKind::KeyDisabled,
        RvError::KeyHandleInvalid
        | RvError::ObjectHandleInvalid
        | RvError::WrappingKeyHandleInvalid
        | RvError::UnwrappingKeyHandleInvalid => ErrorKind::KeyNotFound,
        RvError::KeyTypeInconsistent
        | RvError::KeySizeRange
        | RvError::WrappingKeySizeRange
        | RvError::WrappingKeyTypeInconsistent
        | RvError::UnwrappingKeySizeRange
        | RvError::UnwrappingKeyTypeInconsistent => ErrorKind::Configuration,
        RvError::FunctionNotSupported => ErrorKind::Unsupported {
            feature: "this function on this token",
        },
        RvError::SessionCount => ErrorKind::Throttled,
        RvError::TokenNotPresent
        | RvError::TokenNotRecognized
        | RvError::SlotIdInvalid
        | RvError::DeviceError
        | RvError::DeviceMemory
        | RvError::DeviceRemoved
        | RvError::HostMemory
        | RvError::GeneralError
        | RvError::FunctionFailed
        | RvError::FunctionCanceled
        | RvError::SessionHandleInvalid
        | RvError::SessionClosed
        | RvError::OperationActive
        | RvError::CryptokiNotInitialized => ErrorKind::Unavailable,
        _ => ErrorKind::InvalidAnswer,
    }
}

/// What a token's error is to the caller.
pub(super) fn error(error: TokenError, mechanism: Option<Mechanism>) -> Error {
    let mapped = match &error {
        TokenError::Pkcs11(code, function) if is_refused_mechanism(code, *function) => {
            Error::unsupported(mechanism.map_or("this mechanism on this token", Mechanism::feature))
        }
        TokenError::Pkcs11(code, _) => Error::new(kind(code)),
        TokenError::LibraryLoading(_) => {
            Error::configuration("module-path names no module that can be loaded")
        }
        TokenError::MissingSymbol(_) => Error::configuration("module-path names no PKCS#11 module"),
        TokenError::NullFunctionPointer | TokenError::NotSupported => {
            Error::unsupported("this function on this token")
        }
        _ => Error::new(ErrorKind::InvalidAnswer),
    };
    mapped.with_provider(PROVIDER).with_source(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(code: RvError, function: Function) -> ErrorKind {
        error(TokenError::Pkcs11(code, function), Some(Mechanism::RsaOaep256)).kind()
    }

    #[test]
    fn codes_mean_what_they_mean() {
        assert_eq!(
            of(RvError::PinIncorrect, Function::Login),
            ErrorKind::Unauthenticated
        );
        assert_eq!(
            of(RvError::PinLocked, Function::Login),
            ErrorKind::Unauthenticated
        );
        assert_eq!(
            of(RvError::TokenNotPresent, Function::OpenSession),
            ErrorKind::Unavailable
        );
        assert_eq!(
            of(RvError::DeviceRemoved, Function::Encrypt),
            ErrorKind::Unavailable
        );
        assert_eq!(
            of(RvError::SessionCount, Function::OpenSession),
            ErrorKind::Throttled
        );
        assert_eq!(
            of(RvError::KeyFunctionNotPermitted, Function::EncryptInit),
            ErrorKind::KeyDisabled
        );
        // An outage while nothing is decrypted is an outage.
        assert_eq!(of(RvError::GeneralError, Function::Login), ErrorKind::Unavailable);
        for code in [
            RvError::ArgumentsBad,
            RvError::MechanismInvalid,
            RvError::MechanismParamInvalid,
        ] {
            let ErrorKind::Unsupported { feature } = of(code, Function::EncryptInit) else {
                panic!("{code:?}");
            };
            assert!(feature.contains("OAEP"));
        }
    }

    #[test]
    fn only_a_decryption_can_be_about_the_bytes() {
        for code in [RvError::GeneralError, RvError::EncryptedDataInvalid] {
            for (function, expected) in [
                (Function::Decrypt, true),
                (Function::UnwrapKey, true),
                (Function::DecryptInit, false),
                (Function::Encrypt, false),
                (Function::Login, false),
            ] {
                assert_eq!(
                    is_about_the_bytes(&TokenError::Pkcs11(code, function)),
                    expected,
                    "{code:?}"
                );
            }
        }
        let removed = TokenError::Pkcs11(RvError::DeviceRemoved, Function::Decrypt);
        assert!(!is_about_the_bytes(&removed) && !may_be_about_the_bytes(&removed));
        for code in [RvError::DeviceError, RvError::FunctionFailed] {
            let (decrypt, init) = (
                TokenError::Pkcs11(code, Function::Decrypt),
                TokenError::Pkcs11(code, Function::DecryptInit),
            );
            assert!(may_be_about_the_bytes(&decrypt) && !is_about_the_bytes(&decrypt));
            assert!(!may_be_about_the_bytes(&init), "{code:?}");
        }
    }

    #[test]
    fn what_is_lost_is_found_again() {
        let of = |code| recovery(&TokenError::Pkcs11(code, Function::Encrypt));
        assert_eq!(of(RvError::SessionHandleInvalid), Some(Recovery::Reopen));
        assert_eq!(of(RvError::KeyHandleInvalid), Some(Recovery::Find));
        assert_eq!(of(RvError::PinIncorrect), None);
        assert_eq!(of(RvError::GeneralError), None);
        // Before there are bytes it may be a lost login, and afterwards never.
        for (function, expected) in [
            (Function::EncryptInit, Some(Recovery::Find)),
            (Function::DecryptInit, Some(Recovery::Find)),
            (Function::Decrypt, None),
            (Function::UnwrapKey, None),
        ] {
            let error = TokenError::Pkcs11(RvError::GeneralError, function);
            assert_eq!(recovery(&error), expected, "{function:?}");
        }
    }
}
