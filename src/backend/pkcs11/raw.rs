//! Direct calls to the module, for answers of a known length.
//!
//! This is the only module of the backend that may contain `unsafe`. The `cryptoki` library first asks the module for
//! the length of each answer, takes the answer into a buffer of that length, and reads every field of a structure. This has three
//! problems. Tokens with an invalid value in a field that nobody needs cannot be used (the clock of openCryptoki). Tokens that
//! report a wrong length cannot be used (NSS softokn reports less for AES-GCM than it then writes). And the value of an unwrapped key is
//! copied through memory that nobody wipes. Here the buffer has the length of the format, nothing asks for a length, and secrets go
//! directly to memory that is wiped.
#![allow(unsafe_code)]

use std::path::Path;
use std::ptr;

use cryptoki::context::Function;
use cryptoki::error::{Error as TokenError, Rv};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::ObjectHandle;
use cryptoki::session::Session;
use cryptoki::slot::Slot;
use cryptoki_sys::{
    CK_ATTRIBUTE, CK_C_Decrypt, CK_C_DecryptInit, CK_C_Encrypt, CK_C_EncryptInit, CK_C_GetAttributeValue,
    CK_C_GetTokenInfo, CK_C_WrapKey, CK_FLAGS, CK_FUNCTION_LIST, CK_MECHANISM, CK_TOKEN_INFO, CK_ULONG,
    CKA_VALUE, CKF_LOGIN_REQUIRED, CKF_TOKEN_INITIALIZED, CKF_USER_PIN_FINAL_TRY, CKF_USER_PIN_LOCKED,
};
use zeroize::Zeroizing;

/// The functions of a loaded module.
pub(super) struct Raw {
    /// The pointers are valid as long as the module is loaded.
    _library: cryptoki_sys::Pkcs11,
    encrypt_init: CK_C_EncryptInit,
    encrypt: CK_C_Encrypt,
    decrypt_init: CK_C_DecryptInit,
    decrypt: CK_C_Decrypt,
    wrap_key: CK_C_WrapKey,
    get_attribute_value: CK_C_GetAttributeValue,
    get_token_info: CK_C_GetTokenInfo,
}

/// The fields that a token reports.
pub(super) struct TokenInfo {
    pub(super) label: String,
    pub(super) manufacturer: String,
    pub(super) model: String,
    pub(super) serial: String,
    flags: CK_FLAGS,
}

impl TokenInfo {
    pub(super) fn is_initialized(&self) -> bool {
        self.flags & CKF_TOKEN_INITIALIZED != 0
    }

    pub(super) fn needs_login(&self) -> bool {
        self.flags & CKF_LOGIN_REQUIRED != 0
    }

    pub(super) fn is_final_try(&self) -> bool {
        self.flags & CKF_USER_PIN_FINAL_TRY != 0
    }

    pub(super) fn is_locked(&self) -> bool {
        self.flags & CKF_USER_PIN_LOCKED != 0
    }
}

impl Raw {
    /// Returns the functions of the module at this path, which is loaded already: the system counts it twice.
    pub(super) fn new(path: &Path) -> Result<Self, TokenError> {
        // SAFETY: the module is loaded already, so none of its initializers runs now.
        let library = unsafe { cryptoki_sys::Pkcs11::new(path) }.map_err(TokenError::LibraryLoading)?;
        let Ok(get_function_list) = library.C_GetFunctionList.as_ref() else {
            return Err(TokenError::MissingSymbol("C_GetFunctionList"));
        };
        let mut list: *mut CK_FUNCTION_LIST = ptr::null_mut();
        // SAFETY: the function takes a place for one pointer, which lives until it returns. It may be called before
        // C_Initialize.
        let code = unsafe { get_function_list(&raw mut list) };
        Rv::from(code).into_result(Function::GetFunctionList)?;
        // SAFETY: PKCS#11 says that the list it returns is the module's own, and good until the module is unloaded. A
        // null pointer is not read.
        let list = unsafe { list.as_ref() }.ok_or(TokenError::NullFunctionPointer)?;
        Ok(Self {
            encrypt_init: list.C_EncryptInit,
            encrypt: list.C_Encrypt,
            decrypt_init: list.C_DecryptInit,
            decrypt: list.C_Decrypt,
            wrap_key: list.C_WrapKey,
            get_attribute_value: list.C_GetAttributeValue,
            get_token_info: list.C_GetTokenInfo,
            _library: library,
        })
    }

    /// Returns the fields that the token in this slot reports. Reads only the necessary fields, so that a token with an invalid clock
    /// (openCryptoki) can be used.
    pub(super) fn token_info(&self, slot: Slot) -> Result<TokenInfo, TokenError> {
        let get = self.get_token_info.ok_or(TokenError::NullFunctionPointer)?;
        let mut info = CK_TOKEN_INFO::default();
        // SAFETY: the structure lives until the function returns.
        let code = unsafe { get(slot.into(), &raw mut info) };
        Rv::from(code).into_result(Function::GetTokenInfo)?;
        Ok(TokenInfo {
            label: text(&info.label),
            manufacturer: text(&info.manufacturerID),
            model: text(&info.model),
            serial: text(&info.serialNumber),
            flags: info.flags,
        })
    }

    /// Encrypts to at most `room` bytes.
    pub(super) fn encrypt(
        &self,
        session: &Session,
        mechanism: &Mechanism<'_>,
        key: ObjectHandle,
        plaintext: &[u8],
        room: usize,
    ) -> Result<Vec<u8>, TokenError> {
        let (init, encrypt) = both(self.encrypt_init, self.encrypt)?;
        let mut mechanism = CK_MECHANISM::from(mechanism);
        // SAFETY: the mechanism and its parameter live until the function returns, and so do what the parameter points to:
        // the borrow of `mechanism` says so, and the operation ends in this function.
        let code = unsafe { init(session.handle(), &raw mut mechanism, key.handle()) };
        Rv::from(code).into_result(Function::EncryptInit)?;
        let (mut out, mut len) = (vec![0; room], length(room)?);
        // SAFETY: both buffers live until the function returns, and have the lengths that are given. The module does not
        // write to what it encrypts, though C has no word for it.
        let code = unsafe {
            encrypt(
                session.handle(),
                plaintext.as_ptr().cast_mut(),
                length(plaintext.len())?,
                out.as_mut_ptr(),
                &raw mut len,
            )
        };
        Rv::from(code).into_result(Function::Encrypt)?;
        out.truncate(len.try_into()?);
        Ok(out)
    }

    /// Decrypts to at most as many bytes as the ciphertext has.
    pub(super) fn decrypt(
        &self,
        session: &Session,
        mechanism: &Mechanism<'_>,
        key: ObjectHandle,
        ciphertext: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, TokenError> {
        let (init, decrypt) = both(self.decrypt_init, self.decrypt)?;
        let mut mechanism = CK_MECHANISM::from(mechanism);
        // SAFETY: as in `encrypt`.
        let code = unsafe { init(session.handle(), &raw mut mechanism, key.handle()) };
        Rv::from(code).into_result(Function::DecryptInit)?;
        let mut out = Zeroizing::new(vec![0; ciphertext.len()]);
        let mut len = length(out.len())?;
        // SAFETY: as in `encrypt`.
        let code = unsafe {
            decrypt(
                session.handle(),
                ciphertext.as_ptr().cast_mut(),
                length(ciphertext.len())?,
                out.as_mut_ptr(),
                &raw mut len,
            )
        };
        Rv::from(code).into_result(Function::Decrypt)?;
        out.truncate(len.try_into()?);
        Ok(out)
    }

    /// Wraps a key to at most `room` bytes.
    pub(super) fn wrap_key(
        &self,
        session: &Session,
        mechanism: &Mechanism<'_>,
        by: ObjectHandle,
        key: ObjectHandle,
        room: usize,
    ) -> Result<Vec<u8>, TokenError> {
        let wrap_key = self.wrap_key.ok_or(TokenError::NullFunctionPointer)?;
        let mut mechanism = CK_MECHANISM::from(mechanism);
        let (mut out, mut len) = (vec![0; room], length(room)?);
        // SAFETY: mechanism and buffer live until the function returns, and the buffer has the length that is given.
        let code = unsafe {
            wrap_key(
                session.handle(),
                &raw mut mechanism,
                by.handle(),
                key.handle(),
                out.as_mut_ptr(),
                &raw mut len,
            )
        };
        Rv::from(code).into_result(Function::WrapKey)?;
        out.truncate(len.try_into()?);
        Ok(out)
    }

    /// Returns the value of an object, of at most `room` bytes.
    pub(super) fn value(
        &self,
        session: &Session,
        object: ObjectHandle,
        room: usize,
    ) -> Result<Zeroizing<Vec<u8>>, TokenError> {
        let get = self.get_attribute_value.ok_or(TokenError::NullFunctionPointer)?;
        let mut out = Zeroizing::new(vec![0; room]);
        let mut attribute = CK_ATTRIBUTE {
            type_: CKA_VALUE,
            pValue: out.as_mut_ptr().cast(),
            ulValueLen: length(room)?,
        };
        // SAFETY: the one attribute and its buffer live until the function returns, and the buffer has the length that is
        // given.
        let code = unsafe { get(session.handle(), object.handle(), &raw mut attribute, 1) };
        Rv::from(code).into_result(Function::GetAttributeValue)?;
        out.truncate(attribute.ulValueLen.try_into()?);
        Ok(out)
    }
}

/// Returns a text of fixed length without its padding.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes)
        .trim_end_matches(['\0', ' '])
        .to_owned()
}

/// Returns two functions that belong together, before either is called.
fn both<A, B>(first: Option<A>, second: Option<B>) -> Result<(A, B), TokenError> {
    first.zip(second).ok_or(TokenError::NullFunctionPointer)
}

fn length(len: usize) -> Result<CK_ULONG, TokenError> {
    Ok(CK_ULONG::try_from(len)?)
}
