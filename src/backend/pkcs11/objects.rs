//! The keys of one label on a token: the versions of a KEK.

use std::cmp::Ordering;

use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;

use super::budget::Budget;
use super::client::Token;
use super::map::Fault;
use super::mechanism::Mechanism;
use super::registry::counts;
use crate::envelope::KekRef;
use crate::value::error::{Error, ErrorKind};

/// The maximum length of a `CKA_ID`: a version has twice as many digits.
const ID_MAX: usize = 127;
/// The minimum length of an RSA modulus, in bytes.
const MODULUS_MIN: usize = 256;

/// One version of a KEK: a key, or a key pair.
#[derive(Clone)]
pub(super) struct Version {
    /// `CKA_ID`.
    pub(super) id: Vec<u8>,
    pub(super) kek: KekRef,
    /// The key that wraps; with RSA the public key.
    pub(super) wraps: Option<ObjectHandle>,
    /// The key that unwraps; with RSA the private key.
    pub(super) unwraps: Option<ObjectHandle>,
    /// Length of a wrap under an RSA key.
    pub(super) modulus: Option<usize>,
    /// Whether the key may wrap, and whether it may unwrap; `None` if the token does not report it.
    pub(super) may_wrap: Option<bool>,
    pub(super) may_unwrap: Option<bool>,
    /// More than one object has this label and id.
    pub(super) is_ambiguous: bool,
    pub(super) budget: Budget,
}

impl Version {
    /// Refuses a version that two objects share.
    pub(super) fn checked(&self) -> Result<&Self, Fault> {
        if self.is_ambiguous {
            return Err(Error::configuration(
                "two keys on the token have this label and id: remove one, or give it another id",
            )
            .into());
        }
        Ok(self)
    }

    /// Returns whether the token reports that the key may not wrap, or that its wraps may not be unwrapped.
    pub(super) fn is_barred(&self) -> bool {
        self.may_wrap == Some(false) || self.may_unwrap == Some(false)
    }

    /// Returns the handle that wraps, if its wraps can be opened again as far as the token reports.
    pub(super) fn to_wrap(&self, mechanism: Mechanism) -> Result<ObjectHandle, Fault> {
        let [wrap, unwrap] = mechanism.rights();
        let barred = |why: String| {
            Err(Error::new(ErrorKind::KeyDisabled)
                .with_detail(format!("version {} of the key has {why}", version_of(&self.id)))
                .into())
        };
        let handle = self.checked()?.wraps.ok_or_else(no_such_half)?;
        if self.may_wrap == Some(false) {
            return barred(format!("{wrap} false, so the token wraps nothing under it"));
        }
        if self.may_unwrap == Some(false) {
            return barred(format!(
                "{unwrap} false, so nothing that is wrapped under it could be opened"
            ));
        }
        Ok(handle)
    }

    /// Returns the handle that unwraps. The token checks its rights during the call.
    pub(super) fn to_unwrap(&self) -> Result<ObjectHandle, Fault> {
        self.checked()?.unwraps.ok_or_else(no_such_half)
    }
}

fn no_such_half() -> Fault {
    Error::new(ErrorKind::KeyNotFound)
        .with_detail("the token has only one key of the key pair")
        .into()
}

/// Compares ids as numbers, whatever the number of leading zeros. Greater ids are later versions.
pub(super) fn by_number(a: &[u8], b: &[u8]) -> Ordering {
    fn digits(id: &[u8]) -> &[u8] {
        let zeros = id.iter().take_while(|byte| **byte == 0).count();
        id.get(zeros..).unwrap_or_default()
    }
    let (x, y) = (digits(a), digits(b));
    x.len()
        .cmp(&y.len())
        .then_with(|| x.cmp(y))
        .then_with(|| a.len().cmp(&b.len()))
}

/// Returns the next id: the next number, in the same number of bytes, but at least four.
pub(super) fn next_id(id: &[u8]) -> Vec<u8> {
    let mut next = vec![0; 4_usize.saturating_sub(id.len())];
    next.extend_from_slice(id);
    for byte in next.iter_mut().rev() {
        let (sum, is_over) = byte.overflowing_add(1);
        *byte = sum;
        if !is_over {
            return next;
        }
    }
    next.insert(0, 1);
    next
}

/// Writes a `CKA_ID` as the version in a stanza.
pub(super) fn version_of(id: &[u8]) -> String {
    base16ct::lower::encode_string(id)
}

/// Finds every version of a KEK, the greatest first.
pub(super) fn find(token: &Token<'_>, label: &str, mechanism: Mechanism) -> Result<Vec<Version>, Fault> {
    token.log_in()?;
    let session = &token.loan.session;
    let mut versions = Vec::new();
    match mechanism {
        Mechanism::AesGcm | Mechanism::AesKeyWrapPad => {
            for handle in handles(session, label, ObjectClass::SECRET_KEY)? {
                let (id, [may_wrap, may_unwrap]) = checked_aes(session, handle, mechanism)?;
                let version = enter(&mut versions, token, label, id, mechanism)?;
                version.is_ambiguous |= version.wraps.is_some();
                version.may_wrap = may_wrap;
                version.may_unwrap = may_unwrap;
                version.wraps = Some(handle);
                version.unwraps = Some(handle);
            }
        }
        Mechanism::RsaOaep256 => {
            for class in [ObjectClass::PUBLIC_KEY, ObjectClass::PRIVATE_KEY] {
                for handle in handles(session, label, class)? {
                    let (id, modulus, [may_encrypt, may_decrypt]) = checked_rsa(session, handle)?;
                    let version = enter(&mut versions, token, label, id, mechanism)?;
                    let half = if class == ObjectClass::PUBLIC_KEY {
                        version.may_wrap = may_encrypt;
                        &mut version.wraps
                    } else {
                        version.may_unwrap = may_decrypt;
                        &mut version.unwraps
                    };
                    version.is_ambiguous |= half.is_some();
                    version.is_ambiguous |= version.modulus.is_some_and(|other| other != modulus);
                    *half = Some(handle);
                    version.modulus = Some(modulus);
                }
            }
        }
    }
    versions.sort_by(|a, b| by_number(&b.id, &a.id));
    Ok(versions)
}

fn handles(session: &Session, label: &str, class: ObjectClass) -> Result<Vec<ObjectHandle>, Fault> {
    let template = [
        Attribute::Token(true),
        Attribute::Class(class),
        Attribute::Label(label.as_bytes().to_vec()),
    ];
    Ok(session.find_objects(&template)?)
}

/// Returns the version with this id. Adds it if there is none yet.
fn enter<'a>(
    versions: &'a mut Vec<Version>,
    token: &Token<'_>,
    label: &str,
    id: Vec<u8>,
    mechanism: Mechanism,
) -> Result<&'a mut Version, Fault> {
    if id.len() > ID_MAX {
        return Err(Error::configuration("the id of a key on the token has more than 127 bytes").into());
    }
    let at = match versions.iter().position(|version| version.id == id) {
        Some(at) => at,
        None => {
            let text = version_of(&id);
            versions.push(Version {
                kek: KekRef::new(super::PROVIDER, label, &text)?,
                budget: Budget::of(counts()?, &token.loan.token, label, &text, mechanism),
                id,
                wraps: None,
                unwraps: None,
                modulus: None,
                may_wrap: None,
                may_unwrap: None,
                is_ambiguous: false,
            });
            versions.len() - 1
        }
    };
    versions
        .get_mut(at)
        .ok_or_else(|| Error::new(ErrorKind::InvalidAnswer).into())
}

/// The two rights of an object; `None` if the token does not report a right.
type Rights = [Option<bool>; 2];

/// Returns the id of an AES-256 key, and its rights to wrap and to unwrap.
fn checked_aes(
    session: &Session,
    handle: ObjectHandle,
    mechanism: Mechanism,
) -> Result<(Vec<u8>, Rights), Fault> {
    let rights = match mechanism {
        Mechanism::AesKeyWrapPad => [AttributeType::Wrap, AttributeType::Unwrap],
        Mechanism::AesGcm | Mechanism::RsaOaep256 => [AttributeType::Encrypt, AttributeType::Decrypt],
    };
    let wanted = [AttributeType::Id, AttributeType::KeyType, AttributeType::ValueLen];
    let (mut id, mut is_aes, mut len, mut may) = (Vec::new(), false, None, [None, None]);
    for attribute in session.get_attributes(handle, &[&wanted[..], &rights].concat())? {
        match attribute {
            Attribute::Id(bytes) => id = bytes,
            Attribute::KeyType(kind) => is_aes = kind == KeyType::AES,
            Attribute::ValueLen(bytes) => len = Some(usize::from(bytes)),
            Attribute::Encrypt(right) | Attribute::Wrap(right) => may[0] = Some(right),
            Attribute::Decrypt(right) | Attribute::Unwrap(right) => may[1] = Some(right),
            _ => {}
        }
    }
    if !is_aes || len.is_some_and(|len| len != 32) {
        return Err(Error::configuration("the key on the token is not an AES key of 256 bits").into());
    }
    Ok((id, may))
}

/// Returns the id of an RSA key, the bytes of its modulus, and its rights to encrypt and to decrypt.
fn checked_rsa(session: &Session, handle: ObjectHandle) -> Result<(Vec<u8>, usize, Rights), Fault> {
    let wanted = [
        AttributeType::Id,
        AttributeType::KeyType,
        AttributeType::Modulus,
        AttributeType::Encrypt,
        AttributeType::Decrypt,
    ];
    let (mut id, mut is_rsa, mut modulus, mut may) = (Vec::new(), false, 0, [None, None]);
    for attribute in session.get_attributes(handle, &wanted)? {
        match attribute {
            Attribute::Id(bytes) => id = bytes,
            Attribute::KeyType(kind) => is_rsa = kind == KeyType::RSA,
            Attribute::Modulus(bytes) => {
                modulus = bytes.len() - bytes.iter().take_while(|byte| **byte == 0).count();
            }
            Attribute::Encrypt(right) => may[0] = Some(right),
            Attribute::Decrypt(right) => may[1] = Some(right),
            _ => {}
        }
    }
    if !is_rsa || modulus < MODULUS_MIN {
        return Err(
            Error::configuration("the key on the token is not an RSA key of at least 2048 bits").into(),
        );
    }
    Ok((id, modulus, may))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn greater_ids_are_greater_numbers() {
        let mut ids: Vec<&[u8]> = vec![&[1, 0], &[2], &[], &[0, 2], &[0xff], &[0, 0, 1]];
        ids.sort_by(|a, b| by_number(a, b));
        assert_eq!(ids, [&[][..], &[0, 0, 1], &[2], &[0, 2], &[0xff], &[1, 0]]);
        assert_eq!(next_id(&[]), [0, 0, 0, 1]);
        assert_eq!(next_id(&[9]), [0, 0, 0, 10]);
        assert_eq!(next_id(&[0, 0, 1, 0xff]), [0, 0, 2, 0]);
        assert_eq!(next_id(&[0xff; 4]), [1, 0, 0, 0, 0]);
        assert_eq!(next_id(&[1, 2, 3, 4, 5]), [1, 2, 3, 4, 6]);
        for id in [&[][..], &[7], &[0xff, 0xff], &[0xff; 9]] {
            assert!(by_number(&next_id(id), id).is_gt());
        }
        assert_eq!(version_of(&[0, 0xab]), "00ab");
        assert_eq!(version_of(&[]), "");
    }
}
