//! The calls that wrap and unwrap. Every function here blocks.

use cryptoki::error::Error as TokenError;
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::mechanism::rsa::{PkcsMgfType, PkcsOaepParams, PkcsOaepSource};
use cryptoki::mechanism::{Mechanism as Call, MechanismType};
use cryptoki::object::{Attribute, KeyType, ObjectClass, ObjectHandle};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use super::connection::Loan;
use super::map::{self, Fault, is_about_the_bytes, may_be_about_the_bytes};
use super::mechanism::Mechanism;
use super::objects::Version;
use crate::backend::shared::answer::invalid_answer;
use crate::value::entropy;
use crate::value::error::{Error, ErrorKind};
use crate::value::secret::{Dek, KEY_LEN};

const IV: usize = 12;
const TAG: usize = 16;
/// `IV || ciphertext || tag`.
const GCM: usize = IV + KEY_LEN + TAG;
/// Room for an IV that the token appends after the tag, up to a whole block.
const GCM_ROOM: usize = KEY_LEN + TAG + 16;
/// RFC 5649 over 64 bytes.
const KWP: usize = 72;
/// Room for other paddings, which are detected and refused.
const KWP_ROOM: usize = 128;

/// A DEK to wrap, with its wrap binding, which a token gets in one of two ways.
pub(super) struct Wrapping {
    pub(super) mechanism: Mechanism,
    pub(super) aad: [u8; 47],
    /// The DEK, or the DEK and the wrap binding.
    pub(super) secret: Zeroizing<Vec<u8>>,
}

impl Wrapping {
    pub(super) fn run(&self, loan: &Loan, version: &Version) -> Result<Vec<u8>, Fault> {
        let key = version.to_wrap(self.mechanism)?;
        let wrapped = match self.mechanism {
            Mechanism::AesGcm => {
                version.budget.take()?;
                self.gcm(loan, key)?
            }
            Mechanism::AesKeyWrapPad => self.key_wrap(loan, key)?,
            Mechanism::RsaOaep256 => loan.raw.encrypt(
                &loan.session,
                &oaep(),
                key,
                &self.secret,
                version.modulus.unwrap_or_default(),
            )?,
        };
        if Some(wrapped.len()) != expected_len(self.mechanism, version) {
            return Err(invalid_answer("the token returned a wrap of another length").into());
        }
        self.prove(loan, version, &wrapped)?;
        Ok(wrapped)
    }

    /// Opens the first wrap under each version. So a token that encrypts with another IV than it returns, or that does not
    /// decrypt, is found before anything is sealed.
    fn prove(&self, loan: &Loan, version: &Version, wrapped: &[u8]) -> Result<(), Fault> {
        if version.budget.is_proved() || version.unwraps.is_none() {
            return Ok(());
        }
        let unwrapping = Unwrapping {
            mechanism: self.mechanism,
            aad: self.aad,
            wrapped: wrapped.to_vec(),
        };
        match unwrapping.run(loan, version) {
            Ok(opened) if bool::from(opened.as_slice().ct_eq(&self.secret)) => {
                version.budget.prove();
                Ok(())
            }
            Err(Fault::Token(error)) => Err(error.into()),
            Err(Fault::Ours(error)) if error.kind() != ErrorKind::CannotOpen => Err(error.into()),
            Ok(_) | Err(Fault::Ours(_)) => Err(invalid_answer(
                "a wrap of the token does not open under the same key; this happens if the token makes its own IV and \
                 does not return it; nothing was sealed",
            ).into()),
        }
    }

    /// Returns `IV || ciphertext || tag`, with the IV that the token reports.
    fn gcm(&self, loan: &Loan, key: ObjectHandle) -> Result<Vec<u8>, Fault> {
        let iv: [u8; IV] = entropy::array()?;
        let (iv, mut sealed) = match self.gcm_with(loan, key, iv) {
            // A token that accepts only an IV of zeros and replaces it (AWS CloudHSM).
            Err(error) if map::is_refused_mechanism(&error) => match self.gcm_with(loan, key, [0; IV]) {
                Err(_) => return Err(error.into()),
                Ok(([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], _)) => {
                    return Err(invalid_answer(
                        "the token accepts no IV, and does not return the IV that it used",
                    )
                    .into());
                }
                Ok(sealed) => sealed,
            },
            sealed => sealed?,
        };
        match sealed.len().checked_sub(KEY_LEN + TAG) {
            Some(0) => Ok([iv.as_slice(), &sealed].concat()),
            // An IV of the token after the tag (Luna in FIPS mode).
            Some(IV) => {
                let iv = sealed.split_off(KEY_LEN + TAG);
                Ok([iv, sealed].concat())
            }
            _ => Err(Error::unsupported("the form of this token's AES-GCM output")
                .with_detail(format!(
                    "{} bytes where {} were expected, or {} with the IV at the end",
                    sealed.len(),
                    KEY_LEN + TAG,
                    KEY_LEN + TAG + IV
                ))
                .into()),
        }
    }

    fn gcm_with(
        &self,
        loan: &Loan,
        key: ObjectHandle,
        mut iv: [u8; IV],
    ) -> Result<([u8; IV], Vec<u8>), TokenError> {
        // A token may replace the IV, so it is read after the call.
        let params = GcmParams::new(&mut iv, &self.aad, tag_bits())?;
        let sealed = loan
            .raw
            .encrypt(&loan.session, &Call::AesGcm(params), key, &self.secret, GCM_ROOM)?;
        Ok((iv, sealed))
    }

    fn key_wrap(&self, loan: &Loan, key: ObjectHandle) -> Result<Vec<u8>, Fault> {
        let mut template = [
            Attribute::Class(ObjectClass::SECRET_KEY),
            Attribute::KeyType(KeyType::GENERIC_SECRET),
            Attribute::Token(false),
            Attribute::Private(true),
            Attribute::Sensitive(false),
            Attribute::Extractable(true),
            Attribute::Value(self.secret.to_vec()),
        ];
        let object = loan.session.create_object(&template);
        for attribute in &mut template {
            wipe(attribute);
        }
        let object = object?;
        let wrapped = loan
            .raw
            .wrap_key(&loan.session, &Call::AesKeyWrapPad, key, object, KWP_ROOM);
        // After an error the connection is closed, which removes what is left on the token.
        loan.session.destroy_object(object)?;
        let wrapped = wrapped?;
        if wrapped.len() == KWP {
            return Ok(wrapped);
        }
        Err(Error::unsupported(self.mechanism.feature())
            .with_detail(format!(
                "CKM_AES_KEY_WRAP_PAD is not RFC 5649 on this token: {} bytes where {KWP} were expected",
                wrapped.len()
            ))
            .into())
    }
}

/// A wrap to unwrap.
pub(super) struct Unwrapping {
    pub(super) mechanism: Mechanism,
    pub(super) aad: [u8; 47],
    pub(super) wrapped: Vec<u8>,
}

impl Unwrapping {
    /// Returns the DEK, or the DEK and a wrap binding that the caller must compare. Returns `CannotOpen` if this version did not
    /// make the wrap.
    pub(super) fn run(&self, loan: &Loan, version: &Version) -> Result<Zeroizing<Vec<u8>>, Fault> {
        let key = version.to_unwrap()?;
        if Some(self.wrapped.len()) != expected_len(self.mechanism, version) {
            return Err(Error::malformed("wrapped DEK", 0).into());
        }
        let opened = match self.mechanism {
            Mechanism::AesGcm => self.gcm(loan, key),
            Mechanism::AesKeyWrapPad => return self.key_unwrap(loan, key),
            Mechanism::RsaOaep256 => match loan.raw.decrypt(&loan.session, &oaep(), key, &self.wrapped) {
                Err(error) if may_be_about_the_bytes(&error) && opens_its_own(loan, version, key) => {
                    return Err(Error::cannot_open().with_source(error).into());
                }
                opened => opened,
            },
        };
        opened.map_err(cannot_open)
    }

    fn gcm(&self, loan: &Loan, key: ObjectHandle) -> Result<Zeroizing<Vec<u8>>, TokenError> {
        let (iv, sealed) = self.wrapped.split_at(IV);
        let mut iv: Vec<u8> = iv.to_vec();
        let params = GcmParams::new(&mut iv, &self.aad, tag_bits())?;
        loan.raw
            .decrypt(&loan.session, &Call::AesGcm(params), key, sealed)
    }

    fn key_unwrap(&self, loan: &Loan, key: ObjectHandle) -> Result<Zeroizing<Vec<u8>>, Fault> {
        let template = [
            Attribute::Class(ObjectClass::SECRET_KEY),
            Attribute::KeyType(KeyType::GENERIC_SECRET),
            Attribute::Token(false),
            Attribute::Private(true),
            Attribute::Sensitive(false),
            Attribute::Extractable(true),
        ];
        let object = loan
            .session
            .unwrap_key(&Call::AesKeyWrapPad, key, &self.wrapped, &template)
            .map_err(cannot_open)?;
        let value = loan.raw.value(&loan.session, object, KWP);
        // After an error the connection is closed, which removes what is left on the token.
        loan.session.destroy_object(object)?;
        Ok(value?)
    }
}

/// Returns whether this key pair opens a wrap that it has just made. If it does, the device works, and the other wrap is wrong.
/// Without the public key, nothing is known.
fn opens_its_own(loan: &Loan, version: &Version, private: ObjectHandle) -> bool {
    let (Some(public), Ok(probe)) = (version.wraps, entropy::array::<64>()) else {
        return false;
    };
    let wrapped = loan.raw.encrypt(
        &loan.session,
        &oaep(),
        public,
        &probe,
        version.modulus.unwrap_or_default(),
    );
    let opened = wrapped.and_then(|wrapped| loan.raw.decrypt(&loan.session, &oaep(), private, &wrapped));
    opened.is_ok_and(|opened| *opened == probe)
}

/// Returns the length of a wrap under this version.
fn expected_len(mechanism: Mechanism, version: &Version) -> Option<usize> {
    match mechanism {
        Mechanism::AesGcm => Some(GCM),
        Mechanism::AesKeyWrapPad => Some(KWP),
        Mechanism::RsaOaep256 => version.modulus,
    }
}

fn oaep() -> Call<'static> {
    Call::RsaPkcsOaep(PkcsOaepParams::new(
        MechanismType::SHA256,
        PkcsMgfType::MGF1_SHA256,
        PkcsOaepSource::empty(),
    ))
}

fn tag_bits() -> cryptoki::types::Ulong {
    cryptoki::types::Ulong::new(128)
}

fn wipe(attribute: &mut Attribute) {
    if let Attribute::Value(bytes) = attribute {
        bytes.zeroize();
    }
}

fn cannot_open(error: TokenError) -> Fault {
    if is_about_the_bytes(&error) {
        Error::cannot_open().with_source(error).into()
    } else {
        error.into()
    }
}

/// Returns the DEK from the bytes that were unwrapped with an AAD.
pub(super) fn bare_dek(bytes: &[u8]) -> Result<Dek, Error> {
    let bytes: &[u8; KEY_LEN] = bytes.try_into().map_err(|_| Error::cannot_open())?;
    Ok(Dek::from_bytes(bytes))
}
