//! The keys of one label on a token: the versions of a KEK.

use std::cmp::Ordering;

use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;

use super::budget::Budget;
use super::client::Token;
use super::map::Fault;
use super::mechanism::Mechanism;
use crate::envelope::KekRef;
use crate::value::error::{Error, ErrorKind};

/// The longest `CKA_ID`: twice as many digits are a version.
const ID_MAX: usize = 127;
/// The least bytes of an RSA modulus.
const MODULUS_MIN: usize = 256;

/// One version of a KEK: a key, or both halves of one.
#[derive(Clone)]
pub(super) struct Version {
    /// `CKA_ID`.
    pub(super) id: Vec<u8>,
    pub(super) kek: KekRef,
    /// What wraps; the public half of RSA.
    pub(super) wraps: Option<ObjectHandle>,
    /// What unwraps; the private half of RSA.
    pub(super) unwraps: Option<ObjectHandle>,
    /// Length of what an RSA key wraps.
    pub(super) modulus: Option<usize>,
    /// More than one object has this label and id.
    pub(super) is_ambiguous: bool,
    pub(super) budget: Budget,
}

impl Version {
    /// Refuses a version that two objects share.
    pub(super) fn checked(&self) -> Result<&Self, Fault> {
        if self.is_ambiguous {
            return Err(Error::configuration(
                "two keys on the token have this label and id; one of them has to go, or get another id",
            )
            .into());
        }
        Ok(self)
    }
}

/// Greater ids are later ones: as numbers, however many zeros they begin with.
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

/// The id after this one: the next number, in as many bytes, or in four where there are fewer.
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

/// A `CKA_ID` as the version in a stanza.
pub(super) fn version_of(id: &[u8]) -> String {
    base16ct::lower::encode_string(id)
}

/// Every version of a KEK, the greatest first.
pub(super) fn find(token: &Token<'_>, label: &str, mechanism: Mechanism) -> Result<Vec<Version>, Fault> {
    token.log_in()?;
    let session = &token.loan.session;
    let mut versions = Vec::new();
    match mechanism {
        Mechanism::AesGcm | Mechanism::AesKeyWrapPad => {
            for handle in handles(session, label, ObjectClass::SECRET_KEY)? {
                let id = checked_aes(session, handle)?;
                let version = enter(&mut versions, token, label, id)?;
                version.is_ambiguous |= version.wraps.is_some();
                version.wraps = Some(handle);
                version.unwraps = Some(handle);
            }
        }
        Mechanism::RsaOaep256 => {
            for class in [ObjectClass::PUBLIC_KEY, ObjectClass::PRIVATE_KEY] {
                for handle in handles(session, label, class)? {
                    let (id, modulus) = checked_rsa(session, handle)?;
                    let version = enter(&mut versions, token, label, id)?;
                    let half = if class == ObjectClass::PUBLIC_KEY {
                        &mut version.wraps
                    } else {
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

/// The version of this id; a new one where there is none yet.
fn enter<'a>(
    versions: &'a mut Vec<Version>,
    token: &Token<'_>,
    label: &str,
    id: Vec<u8>,
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
                budget: Budget::of(&token.loan.token, label, &text),
                id,
                wraps: None,
                unwraps: None,
                modulus: None,
                is_ambiguous: false,
            });
            versions.len() - 1
        }
    };
    versions
        .get_mut(at)
        .ok_or_else(|| Error::new(ErrorKind::InvalidAnswer).into())
}

/// The id of an AES-256 key.
fn checked_aes(session: &Session, handle: ObjectHandle) -> Result<Vec<u8>, Fault> {
    let wanted = [AttributeType::Id, AttributeType::KeyType, AttributeType::ValueLen];
    let (mut id, mut is_aes, mut len) = (Vec::new(), false, None);
    for attribute in session.get_attributes(handle, &wanted)? {
        match attribute {
            Attribute::Id(bytes) => id = bytes,
            Attribute::KeyType(kind) => is_aes = kind == KeyType::AES,
            Attribute::ValueLen(bytes) => len = Some(usize::from(bytes)),
            _ => {}
        }
    }
    if !is_aes || len.is_some_and(|len| len != 32) {
        return Err(Error::configuration("the key on the token is not an AES key of 256 bits").into());
    }
    Ok(id)
}

/// The id of an RSA key, and the bytes of its modulus.
fn checked_rsa(session: &Session, handle: ObjectHandle) -> Result<(Vec<u8>, usize), Fault> {
    let wanted = [AttributeType::Id, AttributeType::KeyType, AttributeType::Modulus];
    let (mut id, mut is_rsa, mut modulus) = (Vec::new(), false, 0);
    for attribute in session.get_attributes(handle, &wanted)? {
        match attribute {
            Attribute::Id(bytes) => id = bytes,
            Attribute::KeyType(kind) => is_rsa = kind == KeyType::RSA,
            Attribute::Modulus(bytes) => {
                modulus = bytes.len() - bytes.iter().take_while(|byte| **byte == 0).count();
            }
            _ => {}
        }
    }
    if !is_rsa || modulus < MODULUS_MIN {
        return Err(
            Error::configuration("the key on the token is not an RSA key of at least 2048 bits").into(),
        );
    }
    Ok((id, modulus))
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
