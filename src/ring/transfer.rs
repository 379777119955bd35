//! Export and import: a ring as one file, complete, and as believable as the inventory that it came from.

use std::collections::BTreeMap;

use base64ct::{Base64, Encoding};
use serde::{Deserialize, Serialize};

use super::inventory::{Inventory, MAX_BODY, RecordKind, Row, Signed, Snapshot};
use super::reader::Reader;
use super::view::{Mark, Trust};
use super::{RecordId, Scope, Slot, State, Time};
use crate::envelope::KekRef;
use crate::value::error::{Error, ErrorKind, Result};

/// The version of the form of exports.
const SCHEMA: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Export {
    schema: u32,
    ring: RecordId,
    revision: u64,
    head: SignedText,
    settings: SignedText,
    successions: Vec<SignedText>,
    nodes: BTreeMap<String, String>,
    rows: Vec<RowText>,
    /// The keys of provisioners, of scopes that have no other.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    provisioned: Vec<RowText>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SignedText {
    body: String,
    signer: String,
    signature: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RowText {
    id: RecordId,
    kind: String,
    scope: Scope,
    slot: Slot,
    state: Option<State>,
    revision: u64,
    kek: Option<(String, String, String)>,
    due: Option<Time>,
    signed: SignedText,
}

impl SignedText {
    fn of(signed: &Signed) -> Result<Self> {
        // A body is JSON, so it stands there to be read.
        let body = String::from_utf8(signed.body.clone()).map_err(|_| wrong("a body is no text"))?;
        Ok(Self {
            body,
            signer: Base64::encode_string(&signed.signer),
            signature: Base64::encode_string(&signed.signature),
        })
    }

    fn into_signed(self) -> Result<Signed> {
        if self.body.len() > MAX_BODY {
            return Err(wrong("a body is too long"));
        }
        let signer = bytes(&self.signer)?;
        let signature = bytes(&self.signature)?;
        Ok(Signed::new(self.body.into_bytes(), signer, signature))
    }
}

fn bytes<const N: usize>(text: &str) -> Result<[u8; N]> {
    let mut bytes = [0; N];
    match Base64::decode(text, &mut bytes) {
        Ok(decoded) if decoded.len() == N => Ok(bytes),
        _ => Err(wrong("a key or signature has a wrong form")),
    }
}

fn wrong(what: &str) -> Error {
    Error::new(ErrorKind::InventoryInvalid).with_detail(format!("the export: {what}"))
}

impl Reader {
    /// Writes the whole ring as JSON, from one moment, after it was verified. The export holds no private half of an authority, and no KEK but
    /// branch keys, wrapped under their parents.
    ///
    /// # Errors
    /// As [`Trust::read`]; then nothing is exported.
    pub async fn export(&self) -> Result<(Mark, Vec<u8>)> {
        let (snapshot, view) = self.everything().await?;
        let missing = || wrong("head or settings are missing");
        let export = Export {
            schema: SCHEMA,
            ring: self.trust().ring(),
            revision: snapshot.revision,
            head: SignedText::of(snapshot.head.as_ref().ok_or_else(missing)?)?,
            settings: SignedText::of(snapshot.settings.as_ref().ok_or_else(missing)?)?,
            successions: snapshot
                .successions
                .iter()
                .map(SignedText::of)
                .collect::<Result<_>>()?,
            nodes: snapshot
                .nodes
                .iter()
                .map(|(path, body)| (path.clone(), Base64::encode_string(body)))
                .collect(),
            rows: snapshot.rows.iter().map(to_text).collect::<Result<_>>()?,
            provisioned: snapshot.provisioned.iter().map(to_text).collect::<Result<_>>()?,
        };
        let text = serde_json::to_vec_pretty(&export).map_err(|error| wrong(&error.to_string()))?;
        Ok((view.mark(), text))
    }
}

fn to_text(row: &Row) -> Result<RowText> {
    let names = |kek: &KekRef| {
        (
            kek.provider().to_owned(),
            kek.id().to_owned(),
            kek.version().to_owned(),
        )
    };
    Ok(RowText {
        id: row.id,
        kind: row.kind.name().to_owned(),
        scope: row.scope.clone(),
        slot: row.slot.clone(),
        state: row.state,
        revision: row.revision,
        kek: row.kek.as_ref().map(names),
        due: row.due,
        signed: SignedText::of(&row.signed)?,
    })
}

fn of_text(row: RowText) -> Result<Row> {
    let kek = match row.kek {
        None => None,
        Some((provider, id, version)) => Some(KekRef::new(&provider, &id, &version)?),
    };
    Ok(Row {
        id: row.id,
        kind: RecordKind::of_name(&row.kind).ok_or_else(|| wrong("a record is of no known kind"))?,
        scope: row.scope,
        slot: row.slot,
        state: row.state,
        revision: row.revision,
        kek,
        due: row.due,
        signed: row.signed.into_signed()?,
    })
}

/// Fills an empty inventory with an export, after it was verified in the same way as an inventory: it is whole, and the ring's
/// authority has signed it. An export that is older than the mark that `trust` holds is refused.
///
/// # Errors
/// `InventoryInvalid` for an export that is changed, incomplete, older than a mark, or of another ring; `Conflict` if the inventory holds a
/// ring; those of [`Inventory::restore`].
pub async fn import(trust: &Trust, inventory: &dyn Inventory, export: &[u8]) -> Result<Mark> {
    let export: Export = serde_json::from_slice(export).map_err(|error| {
        wrong(&format!(
            "line {}, column {}: it has a wrong form",
            error.line(),
            error.column()
        ))
    })?;
    if export.schema != SCHEMA {
        return Err(Error::unsupported("this version of exports").with_detail(format!(
            "it has version {}, and this library reads version {SCHEMA}",
            export.schema
        )));
    }
    if export.ring != trust.ring() {
        return Err(wrong(&format!(
            "it is of ring {}, and not of {}",
            export.ring,
            trust.ring()
        )));
    }
    let mut nodes = BTreeMap::new();
    for (path, body) in export.nodes {
        let body = Base64::decode_vec(&body).map_err(|_| wrong("a node has a wrong form"))?;
        nodes.insert(path, body);
    }
    let snapshot = Snapshot {
        revision: export.revision,
        head: Some(export.head.into_signed()?),
        settings: Some(export.settings.into_signed()?),
        successions: export
            .successions
            .into_iter()
            .map(SignedText::into_signed)
            .collect::<Result<_>>()?,
        nodes,
        rows: export.rows.into_iter().map(of_text).collect::<Result<_>>()?,
        provisioned: export
            .provisioned
            .into_iter()
            .map(of_text)
            .collect::<Result<_>>()?,
    };
    let rows = snapshot.rows.iter().chain(&snapshot.provisioned);
    let mut scopes: Vec<Scope> = rows.map(|row| row.scope.clone()).collect();
    scopes.sort();
    scopes.dedup();
    let view = trust.verify(snapshot.clone(), &scopes)?;
    let leaves = super::tree::all_leaves(&view.nodes, &view.root)?;
    if leaves.len() != snapshot.rows.len() {
        return Err(wrong(&format!(
            "its records are not as many as its head signs: {}, and not {}",
            snapshot.rows.len(),
            leaves.len()
        )));
    }
    let mut provisioned = snapshot.provisioned.iter();
    if let Some(row) = provisioned.find(|row| !view.is_provisioned(row.id)) {
        return Err(wrong(&format!(
            "the provisioned key {} is of a scope that has records",
            row.id
        )));
    }
    inventory.restore(&snapshot).await?;
    Ok(view.mark())
}
