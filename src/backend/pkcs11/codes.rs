//! Every return code of PKCS#11: its name in the standard, and its kind of error.

use cryptoki::error::RvError;

use crate::value::error::ErrorKind;

/// Returns the name of a code, and its kind if the function does not decide the kind. Codes that only vendors define have no
/// meaning here.
#[allow(clippy::too_many_lines, reason = "a table")]
pub(super) fn meaning(code: RvError) -> (&'static str, ErrorKind) {
    use ErrorKind::{
        Configuration, Denied, InvalidAnswer, KeyDisabled, KeyNotFound, Throttled, Unauthenticated,
        Unavailable,
    };
    const FUNCTION: ErrorKind = ErrorKind::Unsupported {
        feature: "this function on this token",
    };
    const MECHANISM: ErrorKind = ErrorKind::Unsupported {
        feature: "this mechanism on this token",
    };
    const ATTRIBUTES: ErrorKind = ErrorKind::Unsupported {
        feature: "a key with these attributes on this token",
    };
    match code {
        // The host and the module.
        RvError::HostMemory => ("CKR_HOST_MEMORY", Unavailable),
        RvError::GeneralError => ("CKR_GENERAL_ERROR", Unavailable),
        RvError::FunctionFailed => ("CKR_FUNCTION_FAILED", Unavailable),
        RvError::FunctionCanceled => ("CKR_FUNCTION_CANCELED", Unavailable),
        RvError::Cancel => ("CKR_CANCEL", Unavailable),
        RvError::CryptokiNotInitialized => ("CKR_CRYPTOKI_NOT_INITIALIZED", Unavailable),
        RvError::CryptokiAlreadyInitialized => ("CKR_CRYPTOKI_ALREADY_INITIALIZED", InvalidAnswer),
        RvError::NeedToCreateThreads => ("CKR_NEED_TO_CREATE_THREADS", Configuration),
        RvError::CantLock => ("CKR_CANT_LOCK", Configuration),
        RvError::LibraryLoadFailed => ("CKR_LIBRARY_LOAD_FAILED", Configuration),
        RvError::MutexBad => ("CKR_MUTEX_BAD", InvalidAnswer),
        RvError::MutexNotLocked => ("CKR_MUTEX_NOT_LOCKED", InvalidAnswer),
        RvError::NoEvent => ("CKR_NO_EVENT", InvalidAnswer),
        RvError::FunctionNotParallel => ("CKR_FUNCTION_NOT_PARALLEL", InvalidAnswer),
        RvError::FunctionNotSupported => ("CKR_FUNCTION_NOT_SUPPORTED", FUNCTION),
        RvError::FunctionRejected => ("CKR_FUNCTION_REJECTED", Denied),
        RvError::ActionProhibited => ("CKR_ACTION_PROHIBITED", Denied),
        RvError::ArgumentsBad => ("CKR_ARGUMENTS_BAD", InvalidAnswer),
        RvError::BufferTooSmall => ("CKR_BUFFER_TOO_SMALL", InvalidAnswer),

        // The slot, the token and the device.
        RvError::SlotIdInvalid => ("CKR_SLOT_ID_INVALID", Unavailable),
        RvError::TokenNotPresent => ("CKR_TOKEN_NOT_PRESENT", Unavailable),
        RvError::TokenNotRecognized => ("CKR_TOKEN_NOT_RECOGNIZED", Unavailable),
        RvError::TokenWriteProtected => ("CKR_TOKEN_WRITE_PROTECTED", Denied),
        RvError::DeviceError => ("CKR_DEVICE_ERROR", Unavailable),
        RvError::DeviceMemory => ("CKR_DEVICE_MEMORY", Unavailable),
        RvError::DeviceRemoved => ("CKR_DEVICE_REMOVED", Unavailable),
        RvError::FipsSelfTestFailed => ("CKR_FIPS_SELF_TEST_FAILED", Unavailable),

        // Sessions.
        RvError::SessionClosed => ("CKR_SESSION_CLOSED", Unavailable),
        RvError::SessionHandleInvalid => ("CKR_SESSION_HANDLE_INVALID", Unavailable),
        RvError::SessionCount => ("CKR_SESSION_COUNT", Throttled),
        RvError::SessionReadOnly => ("CKR_SESSION_READ_ONLY", Denied),
        RvError::SessionReadOnlyExists => ("CKR_SESSION_READ_ONLY_EXISTS", Denied),
        RvError::SessionReadWriteSoExists => ("CKR_SESSION_READ_WRITE_SO_EXISTS", Denied),
        RvError::SessionExists => ("CKR_SESSION_EXISTS", InvalidAnswer),
        RvError::SessionParallelNotSupported => ("CKR_SESSION_PARALLEL_NOT_SUPPORTED", InvalidAnswer),
        RvError::OperationActive => ("CKR_OPERATION_ACTIVE", Unavailable),
        RvError::OperationNotInitialized => ("CKR_OPERATION_NOT_INITIALIZED", Unavailable),
        RvError::SavedStateInvalid => ("CKR_SAVED_STATE_INVALID", InvalidAnswer),
        RvError::StateUnsaveable => ("CKR_STATE_UNSAVEABLE", InvalidAnswer),

        // The user and the PIN.
        RvError::PinIncorrect => ("CKR_PIN_INCORRECT", Unauthenticated),
        RvError::PinInvalid => ("CKR_PIN_INVALID", Unauthenticated),
        RvError::PinLenRange => ("CKR_PIN_LEN_RANGE", Unauthenticated),
        RvError::PinTooWeak => ("CKR_PIN_TOO_WEAK", Unauthenticated),
        RvError::PinExpired => ("CKR_PIN_EXPIRED", Unauthenticated),
        RvError::PinLocked => ("CKR_PIN_LOCKED", Denied),
        RvError::UserNotLoggedIn => ("CKR_USER_NOT_LOGGED_IN", Unauthenticated),
        RvError::UserAlreadyLoggedIn => ("CKR_USER_ALREADY_LOGGED_IN", InvalidAnswer),
        RvError::UserAnotherAlreadyLoggedIn => ("CKR_USER_ANOTHER_ALREADY_LOGGED_IN", Unauthenticated),
        RvError::UserPinNotInitialized => ("CKR_USER_PIN_NOT_INITIALIZED", Configuration),
        RvError::UserTypeInvalid => ("CKR_USER_TYPE_INVALID", Unauthenticated),
        RvError::UserTooManyTypes => ("CKR_USER_TOO_MANY_TYPES", Unauthenticated),
        RvError::NewPinMode => ("CKR_NEW_PIN_MODE", Unauthenticated),
        RvError::NextOtp => ("CKR_NEXT_OTP", Unauthenticated),

        // Keys and objects.
        RvError::KeyHandleInvalid => ("CKR_KEY_HANDLE_INVALID", KeyNotFound),
        RvError::ObjectHandleInvalid => ("CKR_OBJECT_HANDLE_INVALID", KeyNotFound),
        RvError::WrappingKeyHandleInvalid => ("CKR_WRAPPING_KEY_HANDLE_INVALID", KeyNotFound),
        RvError::UnwrappingKeyHandleInvalid => ("CKR_UNWRAPPING_KEY_HANDLE_INVALID", KeyNotFound),
        RvError::KeySizeRange => ("CKR_KEY_SIZE_RANGE", Configuration),
        RvError::KeyTypeInconsistent => ("CKR_KEY_TYPE_INCONSISTENT", Configuration),
        RvError::WrappingKeySizeRange => ("CKR_WRAPPING_KEY_SIZE_RANGE", Configuration),
        RvError::WrappingKeyTypeInconsistent => ("CKR_WRAPPING_KEY_TYPE_INCONSISTENT", Configuration),
        RvError::UnwrappingKeySizeRange => ("CKR_UNWRAPPING_KEY_SIZE_RANGE", Configuration),
        RvError::UnwrappingKeyTypeInconsistent => ("CKR_UNWRAPPING_KEY_TYPE_INCONSISTENT", Configuration),
        RvError::PublicKeyInvalid => ("CKR_PUBLIC_KEY_INVALID", Configuration),
        RvError::KeyFunctionNotPermitted => ("CKR_KEY_FUNCTION_NOT_PERMITTED", KeyDisabled),
        RvError::KeyNotWrappable => ("CKR_KEY_NOT_WRAPPABLE", Denied),
        RvError::KeyUnextractable => ("CKR_KEY_UNEXTRACTABLE", Denied),
        RvError::KeyNotNeeded => ("CKR_KEY_NOT_NEEDED", InvalidAnswer),
        RvError::KeyChanged => ("CKR_KEY_CHANGED", InvalidAnswer),
        RvError::KeyNeeded => ("CKR_KEY_NEEDED", InvalidAnswer),
        RvError::KeyIndigestible => ("CKR_KEY_INDIGESTIBLE", InvalidAnswer),
        RvError::AttributeReadOnly => ("CKR_ATTRIBUTE_READ_ONLY", Denied),
        RvError::AttributeSensitive => ("CKR_ATTRIBUTE_SENSITIVE", Denied),
        RvError::InformationSensitive => ("CKR_INFORMATION_SENSITIVE", Denied),
        RvError::AttributeTypeInvalid => ("CKR_ATTRIBUTE_TYPE_INVALID", ATTRIBUTES),
        RvError::AttributeValueInvalid => ("CKR_ATTRIBUTE_VALUE_INVALID", ATTRIBUTES),
        RvError::TemplateIncomplete => ("CKR_TEMPLATE_INCOMPLETE", ATTRIBUTES),
        RvError::TemplateInconsistent => ("CKR_TEMPLATE_INCONSISTENT", ATTRIBUTES),

        // Mechanisms and their parameters.
        RvError::MechanismInvalid => ("CKR_MECHANISM_INVALID", MECHANISM),
        RvError::MechanismParamInvalid => ("CKR_MECHANISM_PARAM_INVALID", MECHANISM),
        RvError::CurveNotSupported => ("CKR_CURVE_NOT_SUPPORTED", MECHANISM),
        RvError::DomainParamsInvalid => ("CKR_DOMAIN_PARAMS_INVALID", MECHANISM),
        RvError::RandomSeedNotSupported => ("CKR_RANDOM_SEED_NOT_SUPPORTED", FUNCTION),
        RvError::RandomNoRng => ("CKR_RANDOM_NO_RNG", FUNCTION),
        RvError::ExceededMaxIterations => ("CKR_EXCEEDED_MAX_ITERATIONS", InvalidAnswer),
        RvError::DataInvalid => ("CKR_DATA_INVALID", InvalidAnswer),
        RvError::DataLenRange => ("CKR_DATA_LEN_RANGE", InvalidAnswer),
        RvError::EncryptedDataInvalid => ("CKR_ENCRYPTED_DATA_INVALID", InvalidAnswer),
        RvError::EncryptedDataLenRange => ("CKR_ENCRYPTED_DATA_LEN_RANGE", InvalidAnswer),
        RvError::WrappedKeyInvalid => ("CKR_WRAPPED_KEY_INVALID", InvalidAnswer),
        RvError::WrappedKeyLenRange => ("CKR_WRAPPED_KEY_LEN_RANGE", InvalidAnswer),
        RvError::SignatureInvalid => ("CKR_SIGNATURE_INVALID", InvalidAnswer),
        RvError::SignatureLenRange => ("CKR_SIGNATURE_LEN_RANGE", InvalidAnswer),

        // Codes outside the standard.
        RvError::VendorDefined(_) => ("CKR_VENDOR_DEFINED", InvalidAnswer),
        RvError::UnknownErrorCode(_) => ("a return code that PKCS#11 does not know", InvalidAnswer),
    }
}

/// Returns what to do about a code, if its name does not say it.
pub(super) fn advice(code: RvError) -> Option<&'static str> {
    Some(match code {
        RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange => "the PIN is wrong",
        RvError::PinLocked => {
            "the PIN is locked after too many wrong PINs, so it was not compared; the token's security officer must \
             set a new PIN"
        }
        RvError::PinExpired => "the PIN has expired; set a new PIN with the token's tools",
        RvError::UserPinNotInitialized => "the token has no user PIN yet; set a PIN with the token's tools",
        RvError::UserAnotherAlreadyLoggedIn | RvError::SessionReadWriteSoExists => {
            "another library has logged this process in to the token as another user"
        }
        RvError::KeyFunctionNotPermitted => {
            "the key does not have the necessary right (CKA_ENCRYPT, CKA_DECRYPT, CKA_WRAP or CKA_UNWRAP)"
        }
        RvError::SessionCount => "all sessions that the token allows are in use by others",
        RvError::CantLock | RvError::NeedToCreateThreads => "the module cannot be used by several threads",
        _ => return None,
    })
}
