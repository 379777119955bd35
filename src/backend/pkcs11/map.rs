//! The meaning of a token's return codes. No other file decides it.

use cryptoki::context::Function;
use cryptoki::error::{Error as TokenError, RvError};

use super::PROVIDER;
use super::codes::{advice, meaning};
use super::mechanism::Mechanism;
use crate::value::error::{Error, ErrorKind};

/// Why work on a token failed.
#[derive(Debug)]
pub(super) enum Fault {
    /// The token or its module returned an error. A lost connection, login or key may be found again.
    Token(TokenError),
    /// This crate found the error.
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

/// What is necessary before the same work can succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Recovery {
    /// Log in, and find the keys again.
    Find,
    /// The same, with new connections.
    Reopen,
}

/// Returns whether a loss can be recovered, and how.
pub(super) fn recovery(error: &TokenError) -> Option<Recovery> {
    let TokenError::Pkcs11(code, function) = error else {
        return None;
    };
    match code {
        // kryoptic returns this if a key is used after a logout.
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

/// Returns whether a decryption or unwrapping failed because of its bytes. SoftHSM reports a wrong tag as a general error,
/// so this code means that only while the token processes the bytes.
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

/// Returns whether it is unclear if the bytes or the device failed: for RSA, kryoptic reports both as a device error, and other
/// tokens report both as a failed function.
pub(super) fn may_be_about_the_bytes(error: &TokenError) -> bool {
    matches!(
        error,
        TokenError::Pkcs11(RvError::DeviceError | RvError::FunctionFailed, Function::Decrypt)
    )
}

/// Returns whether a token refused a mechanism or its parameters, before any bytes.
pub(super) fn is_refused_mechanism(error: &TokenError) -> bool {
    let TokenError::Pkcs11(code, function) = error else {
        return false;
    };
    match code {
        RvError::MechanismInvalid | RvError::MechanismParamInvalid => true,
        RvError::ArgumentsBad | RvError::FunctionNotSupported => {
            matches!(function, Function::EncryptInit | Function::DecryptInit)
        }
        _ => false,
    }
}

/// Returns whether the token compared the PIN and refused it.
pub(super) fn refuses_pin(error: &TokenError) -> bool {
    matches!(
        code(error),
        Some(RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange)
    )
}

/// Returns whether the module was shut down.
pub(super) fn is_lost_module(error: &TokenError) -> bool {
    code(error) == Some(RvError::CryptokiNotInitialized)
}

/// Returns whether the token or its module fails for every request.
pub(super) fn is_outage(error: &TokenError) -> bool {
    code(error).is_some_and(|code| meaning(code).1 == ErrorKind::Unavailable)
}

/// Returns the return code.
pub(super) fn code(error: &TokenError) -> Option<RvError> {
    match error {
        TokenError::Pkcs11(code, _) => Some(*code),
        _ => None,
    }
}

/// Names the function and the return code, as in the standard.
pub(super) fn said(error: &TokenError) -> String {
    match error {
        TokenError::Pkcs11(RvError::VendorDefined(number), function) => {
            format!("C_{function:?}: CKR_VENDOR_DEFINED (0x{number:08x})")
        }
        TokenError::Pkcs11(RvError::UnknownErrorCode(number), function) => {
            format!("C_{function:?}: a return code that PKCS#11 does not know (0x{number:08x})")
        }
        TokenError::Pkcs11(code, function) => format!("C_{function:?}: {}", meaning(*code).0),
        TokenError::NullFunctionPointer | TokenError::NotSupported => {
            "the module has no such function".to_owned()
        }
        _ => "the module's answer could not be read".to_owned(),
    }
}

/// Maps a token's error to the error that the caller gets.
pub(super) fn error(error: TokenError, mechanism: Option<Mechanism>) -> Error {
    let mapped = match &error {
        TokenError::Pkcs11(code, _) => {
            let mapped = if is_refused_mechanism(&error) {
                Error::unsupported(mechanism.map_or("this mechanism on this token", Mechanism::feature))
            } else {
                Error::new(meaning(*code).1)
            };
            let said = said(&error);
            let mapped = mapped.with_detail(match advice(*code) {
                Some(advice) => format!("{said}: {advice}"),
                None => said,
            });
            match code {
                // A token that has failed its self-test does nothing until a reset.
                RvError::FipsSelfTestFailed => mapped.with_retryable(false),
                _ => mapped,
            }
        }
        TokenError::LibraryLoading(why) => Error::configuration(format!(
            "module-path must name a PKCS#11 module, but the file cannot be loaded: {why}"
        )),
        TokenError::MissingSymbol(_) => Error::configuration(
            "module-path must name a PKCS#11 module, but the file is a library without its functions",
        ),
        TokenError::NullFunctionPointer | TokenError::NotSupported => {
            Error::unsupported("this function on this token")
        }
        _ => Error::new(ErrorKind::InvalidAnswer).with_detail(said(&error)),
    };
    mapped.with_provider(PROVIDER).with_source(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use cryptoki::error::Rv;

    fn of(code: RvError, function: Function) -> ErrorKind {
        error(TokenError::Pkcs11(code, function), Some(Mechanism::RsaOaep256)).kind()
    }

    #[test]
    fn codes_mean_what_they_mean() {
        assert_eq!(
            of(RvError::PinIncorrect, Function::Login),
            ErrorKind::Unauthenticated
        );
        // It was not compared, and no other PIN helps.
        assert_eq!(of(RvError::PinLocked, Function::Login), ErrorKind::Denied);
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

    /// The codes of PKCS#11 3.1 with what they are to a caller, by number.
    #[test]
    fn every_code_of_the_standard_has_a_kind_and_is_named() {
        const UNAVAILABLE: &[u64] = &[
            0x01, 0x02, 0x03, 0x05, 0x06, 0x30, 0x31, 0x32, 0x50, 0x90, 0x91, 0xb0, 0xb3, 0xe0, 0xe1, 0x190,
            0x1b6,
        ];
        const UNAUTHENTICATED: &[u64] = &[
            0xa0, 0xa1, 0xa2, 0xa3, 0x101, 0x103, 0x104, 0x105, 0x1b0, 0x1b1, 0x1b8,
        ];
        const DENIED: &[u64] = &[
            0x10, 0x11, 0x1b, 0x69, 0x6a, 0xa4, 0xb5, 0xb7, 0xb8, 0xe2, 0x170, 0x200,
        ];
        const NOT_FOUND: &[u64] = &[0x60, 0x82, 0xf0, 0x113];
        const CONFIGURATION: &[u64] = &[
            0x09, 0x0a, 0x62, 0x63, 0x102, 0x114, 0x115, 0xf1, 0xf2, 0x1b7, 0x1b9,
        ];
        const UNSUPPORTED: &[u64] = &[
            0x12, 0x13, 0x54, 0x70, 0x71, 0xd0, 0xd1, 0x120, 0x121, 0x130, 0x140,
        ];
        const INVALID: &[u64] = &[
            0x07, 0x08, 0x20, 0x21, 0x40, 0x41, 0x51, 0x64, 0x65, 0x66, 0x67, 0xb4, 0xb6, 0xc0, 0xc1, 0x100,
            0x110, 0x112, 0x150, 0x160, 0x180, 0x191, 0x1a0, 0x1a1, 0x1b5,
        ];
        let mut seen = std::collections::BTreeSet::new();
        let mut check = |numbers: &[u64], fits: &dyn Fn(ErrorKind) -> bool| {
            for number in numbers {
                let Rv::Error(code) = Rv::from(*number) else {
                    panic!("{number:x}")
                };
                let error = error(TokenError::Pkcs11(code, Function::GetSessionInfo), None);
                assert!(fits(error.kind()), "{number:#x} {code:?}: {error}");
                assert!(error.to_string().contains("C_GetSessionInfo: CKR_"), "{error}");
                // By the kind alone, save for a token that is out of order.
                let retryable = error.kind().is_retryable() && code != RvError::FipsSelfTestFailed;
                assert_eq!(error.is_retryable(), retryable, "{error}");
                assert!(seen.insert(meaning(code).0), "{code:?} is there twice");
            }
        };
        check(UNAVAILABLE, &|kind| kind == ErrorKind::Unavailable);
        check(UNAUTHENTICATED, &|kind| kind == ErrorKind::Unauthenticated);
        check(DENIED, &|kind| kind == ErrorKind::Denied);
        check(NOT_FOUND, &|kind| kind == ErrorKind::KeyNotFound);
        check(CONFIGURATION, &|kind| kind == ErrorKind::Configuration);
        check(UNSUPPORTED, &|kind| matches!(kind, ErrorKind::Unsupported { .. }));
        check(INVALID, &|kind| kind == ErrorKind::InvalidAnswer);
        check(&[0xb1], &|kind| kind == ErrorKind::Throttled);
        check(&[0x68], &|kind| kind == ErrorKind::KeyDisabled);
        assert_eq!(
            seen.len(),
            95 - 2,
            "all but the codes of vendors and the unknown ones"
        );
        for (number, text) in [(0x8000_0017, "0x80000017"), (0x0999, "0x00000999")] {
            let Rv::Error(code) = Rv::from(number) else {
                panic!()
            };
            let error = error(TokenError::Pkcs11(code, Function::Encrypt), None);
            assert_eq!(error.kind(), ErrorKind::InvalidAnswer);
            assert!(error.to_string().contains(text), "{error}");
        }
    }
}
