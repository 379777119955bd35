//! Administration of keys on a token.

use std::fmt;
use std::sync::PoisonError;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use cryptoki::error::{Error as TokenError, RvError};
use cryptoki::mechanism::Mechanism as Call;
use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use sha2::{Digest, Sha256};

use super::PROVIDER;
use super::client::{Client, Token};
use super::map::Fault;
use super::mechanism::Mechanism;
use super::objects::{Version, find, next_id, version_of};
use crate::envelope::KekRef;
use crate::key::{KekAdmin, KekDescription, KekState, KekTemplate, Protection};
use crate::value::error::{Error, ErrorKind, Operation, Result};

/// The `CKA_APPLICATION` of the notes about idempotency keys.
const APPLICATION: &[u8] = b"waxseal";
const RSA_BITS: u64 = 3072;

/// Makes, rotates, describes and disables the KEKs of one token.
///
/// The token makes the keys: AES-256 (or RSA-3072), sensitive, never extractable, and usable only with the
/// one mechanism. Ids count up from `00000001`. Before a key is made, its id is noted under the idempotency key on the token, in a
/// private data object (`CKO_DATA`, application `waxseal`) with the label of the KEK.
///
/// If two processes rotate one KEK at the same time, two keys can get the same id, because PKCS#11 cannot prevent
/// that. Both keys are then refused until an administrator has removed one. Let only one process rotate at a time.
///
/// Disabling removes the rights of a key (`CKA_ENCRYPT` and so on), and returns `Unsupported` if the token does not
/// change keys. Enabling always returns `Unsupported`: a token does not record why a key lacks a right, so this crate could give a key
/// a right that its administrator took away or never gave. To enable a key, set its rights with the tools of the token. A token destroys keys immediately and cannot schedule that: `schedule_destroy` always returns
/// `Unsupported`. When nothing is wrapped under a key anymore, remove the object with the tools of the token.
#[derive(Clone)]
pub struct TokenAdmin {
    client: Client,
    mechanism: Mechanism,
}

impl TokenAdmin {
    pub(super) fn new(client: Client, mechanism: Mechanism) -> Self {
        Self { client, mechanism }
    }

    /// Administers keys for this mechanism. The client's user must be allowed to make keys.
    #[must_use]
    pub fn with_mechanism(self, mechanism: Mechanism) -> Self {
        Self { mechanism, ..self }
    }

    async fn call<T: Send + 'static>(
        &self,
        work: impl Fn(&Token<'_>) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T> {
        let result = self.client.call(None, self.mechanism, work).await;
        result.map_err(|error| error.with_operation(Operation::Administer))
    }

    async fn make(&self, label: &str, key: &str, is_new: bool) -> Result<KekDescription> {
        KekRef::new(PROVIDER, label, "")?;
        let digest: [u8; 32] = Sha256::digest(key.as_bytes()).into();
        let (label, mechanism) = (label.to_owned(), self.mechanism);
        self.call(move |token| {
            // Only one at a time in this process.
            let _one = token.module.making.lock().unwrap_or_else(PoisonError::into_inner);
            let versions = find(token, &label, mechanism)?;
            let session = token.loan.writing()?;
            let id = match noted(&session, &label, &digest)? {
                Some(id) => id,
                None => {
                    let id = match versions.first() {
                        Some(_) if is_new => {
                            return Err(Error::argument(
                                "a KEK of this name exists already: choose another name, or rotate",
                            )
                            .into());
                        }
                        None if !is_new => return Err(Error::new(ErrorKind::KeyNotFound).into()),
                        greatest => next_id(greatest.map_or(&[], |version| &version.id)),
                    };
                    note(&session, &label, &digest, &id)?;
                    id
                }
            };
            if !versions.iter().any(|version| version.id == id) {
                generate(&session, mechanism, &label, &id)?;
            }
            let versions = find(token, &label, mechanism)?;
            let made = versions.iter().find(|version| version.id == id);
            describe(token, &session, mechanism, made.ok_or_else(not_found)?.checked()?)
        })
        .await
    }

    /// Does something with each named version: one version, the active version or all versions.
    async fn with_versions<T: Send + 'static>(
        &self,
        kek: &KekRef,
        work: impl Fn(&Token<'_>, &Session, &[Version]) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T> {
        if kek.provider() != PROVIDER {
            return Err(
                Error::argument("the KEK belongs to another provider, and this is pkcs11")
                    .with_operation(Operation::Administer),
            );
        }
        let (kek, mechanism) = (kek.clone(), self.mechanism);
        self.call(move |token| {
            let mut versions = find(token, kek.id(), mechanism)?;
            if !kek.version().is_empty() {
                versions.retain(|version| version_of(&version.id) == kek.version());
            }
            if versions.is_empty() {
                return Err(not_found());
            }
            work(token, &token.loan.writing()?, &versions)
        })
        .await
    }
}

#[async_trait]
impl KekAdmin for TokenAdmin {
    fn provider(&self) -> &str {
        PROVIDER
    }

    async fn create(&self, template: &KekTemplate, idempotency_key: &str) -> Result<KekDescription> {
        let unsupported = |feature| Err(Error::unsupported(feature).with_operation(Operation::Administer));
        if template.name.is_empty() {
            return Err(
                Error::argument("the name of a KEK must not be empty").with_operation(Operation::Administer)
            );
        }
        if !template.labels.is_empty() {
            return unsupported("labeling keys on a token");
        }
        if template.hardware && !self.call(|token| Ok(token.loan.is_hardware()?)).await? {
            return unsupported("a hardware key on this token");
        }
        self.make(&template.name, idempotency_key, true).await
    }

    async fn describe(&self, kek: &KekRef) -> Result<KekDescription> {
        let mechanism = self.mechanism;
        self.with_versions(kek, move |token, session, versions| {
            let version = versions.first().ok_or_else(not_found)?;
            describe(token, session, mechanism, version.checked()?)
        })
        .await
    }

    async fn describe_versions(&self, kek: &KekRef) -> Result<Vec<KekDescription>> {
        let mechanism = self.mechanism;
        self.with_versions(kek, move |token, session, versions| {
            versions
                .iter()
                .map(|version| describe(token, session, mechanism, version.checked()?))
                .collect()
        })
        .await
    }

    async fn rotate(&self, kek: &KekRef, idempotency_key: &str) -> Result<KekDescription> {
        if kek.provider() != PROVIDER {
            return Err(
                Error::argument("the KEK belongs to another provider, and this is pkcs11")
                    .with_operation(Operation::Administer),
            );
        }
        self.make(kek.id(), idempotency_key, false).await
    }

    async fn disable(&self, kek: &KekRef) -> Result<()> {
        let mechanism = self.mechanism;
        self.with_versions(kek, move |_, session, versions| {
            for version in versions {
                disable(session, mechanism, version.checked()?)?;
            }
            Ok(())
        })
        .await
    }

    async fn schedule_destroy(&self, kek: &KekRef, _delay: Duration) -> Result<SystemTime> {
        let object = match kek.version() {
            "" => "that has no CKA_ID".to_owned(),
            version => format!("with CKA_ID {version}"),
        };
        Err(Error::unsupported("scheduled destruction on a token")
            .with_provider(PROVIDER)
            .with_operation(Operation::Administer)
            .with_detail(format!(
                "a token destroys immediately: remove the object with the label {} {object}, and no other object of that label, with the \
                 token's tools; or disable it",
                kek.id().escape_debug()
            )))
    }
}

/// The rights that a key needs, with the half that has them.
fn rights(mechanism: Mechanism, version: &Version) -> [(Option<ObjectHandle>, AttributeType, Attribute); 2] {
    match mechanism {
        Mechanism::AesGcm | Mechanism::RsaOaep256 => [
            (version.wraps, AttributeType::Encrypt, Attribute::Encrypt(false)),
            (version.unwraps, AttributeType::Decrypt, Attribute::Decrypt(false)),
        ],
        Mechanism::AesKeyWrapPad => [
            (version.wraps, AttributeType::Wrap, Attribute::Wrap(false)),
            (version.unwraps, AttributeType::Unwrap, Attribute::Unwrap(false)),
        ],
    }
}

fn has_right(session: &Session, handle: Option<ObjectHandle>, right: AttributeType) -> Result<bool, Fault> {
    let Some(handle) = handle else { return Ok(false) };
    let found = session.get_attributes(handle, &[right])?;
    Ok(found.iter().any(|attribute| {
        matches!(
            attribute,
            Attribute::Encrypt(true)
                | Attribute::Decrypt(true)
                | Attribute::Wrap(true)
                | Attribute::Unwrap(true)
        )
    }))
}

fn describe(
    token: &Token<'_>,
    session: &Session,
    mechanism: Mechanism,
    version: &Version,
) -> Result<KekDescription, Fault> {
    let mut state = KekState::Disabled;
    for (handle, right, _) in rights(mechanism, version) {
        if has_right(session, handle, right)? {
            state = KekState::Enabled;
        }
    }
    let protection = match token.loan.is_hardware()? {
        true => Protection::Hardware,
        false => Protection::Software,
    };
    Ok(KekDescription::new(version.kek.clone(), state, mechanism.algorithm()).with_protection(protection))
}

fn disable(session: &Session, mechanism: Mechanism, version: &Version) -> Result<(), Fault> {
    for (handle, right, without) in rights(mechanism, version) {
        let Some(handle) = handle else { continue };
        if !has_right(session, Some(handle), right)? {
            continue;
        }
        match session.update_attributes(handle, &[without]) {
            Ok(()) => {}
            Err(TokenError::Pkcs11(
                RvError::AttributeReadOnly
                | RvError::ActionProhibited
                | RvError::FunctionNotSupported
                | RvError::TemplateInconsistent,
                _,
            )) => return Err(Error::unsupported("disabling this key on this token").into()),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn generate(session: &Session, mechanism: Mechanism, label: &str, id: &[u8]) -> Result<(), Fault> {
    let name = |mut attributes: Vec<Attribute>| {
        attributes.extend([
            Attribute::Token(true),
            Attribute::Label(label.as_bytes().to_vec()),
            Attribute::Id(id.to_vec()),
        ]);
        attributes
    };
    let secret = [
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Derive(false),
        Attribute::Sign(false),
    ];
    let made = match mechanism {
        Mechanism::AesGcm | Mechanism::AesKeyWrapPad => {
            let is_gcm = mechanism == Mechanism::AesGcm;
            let mut template = name(secret.to_vec());
            template.extend([
                Attribute::ValueLen(32.into()),
                Attribute::Verify(false),
                Attribute::Encrypt(is_gcm),
                Attribute::Decrypt(is_gcm),
                Attribute::Wrap(!is_gcm),
                Attribute::Unwrap(!is_gcm),
            ]);
            session.generate_key(&Call::AesKeyGen, &template)?
        }
        Mechanism::RsaOaep256 => {
            let public = name(vec![
                Attribute::ModulusBits(RSA_BITS.into()),
                Attribute::PublicExponent(vec![1, 0, 1]),
                Attribute::Encrypt(true),
                Attribute::Verify(false),
                Attribute::Wrap(false),
            ]);
            let mut private = name(secret.to_vec());
            private.extend([Attribute::Decrypt(true), Attribute::Unwrap(false)]);
            session
                .generate_key_pair(&Call::RsaPkcsKeyPairGen, &public, &private)?
                .1
        }
    };
    // By the answer of the token, not by the request.
    let answers = session.get_attributes(
        made,
        &[
            AttributeType::Sensitive,
            AttributeType::Extractable,
            AttributeType::AlwaysSensitive,
            AttributeType::NeverExtractable,
        ],
    )?;
    let is_kept = answers.len() == 4
        && answers.iter().all(|answer| {
            matches!(
                answer,
                Attribute::Sensitive(true)
                    | Attribute::Extractable(false)
                    | Attribute::AlwaysSensitive(true)
                    | Attribute::NeverExtractable(true)
            )
        });
    if is_kept {
        return Ok(());
    }
    // Nothing is wrapped under the key yet.
    session.destroy_object(made)?;
    Err(Error::new(ErrorKind::InvalidAnswer)
        .with_detail("the token made a key that can leave the token; the key was removed")
        .into())
}

/// Finds the id that was noted for an idempotency key.
fn noted(session: &Session, label: &str, digest: &[u8; 32]) -> Result<Option<Vec<u8>>, Fault> {
    let template = [
        Attribute::Class(ObjectClass::DATA),
        Attribute::Token(true),
        Attribute::Application(APPLICATION.to_vec()),
        Attribute::Label(label.as_bytes().to_vec()),
    ];
    for handle in session.find_objects(&template)? {
        for attribute in session.get_attributes(handle, &[AttributeType::Value])? {
            if let Attribute::Value(value) = attribute
                && let Some(id) = value.strip_prefix(digest.as_slice())
            {
                return Ok(Some(id.to_vec()));
            }
        }
    }
    Ok(None)
}

/// Notes the id of a key before the key is made.
fn note(session: &Session, label: &str, digest: &[u8; 32], id: &[u8]) -> Result<(), Fault> {
    let template = [
        Attribute::Class(ObjectClass::DATA),
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Application(APPLICATION.to_vec()),
        Attribute::Label(label.as_bytes().to_vec()),
        Attribute::Value([digest.as_slice(), id].concat()),
    ];
    session.create_object(&template)?;
    Ok(())
}

fn not_found() -> Fault {
    Error::new(ErrorKind::KeyNotFound).into()
}

impl fmt::Debug for TokenAdmin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenAdmin")
            .field("mechanism", &self.mechanism)
            .field("client", &self.client)
            .finish()
    }
}
