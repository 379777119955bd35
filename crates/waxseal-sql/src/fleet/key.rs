//! The key of a row, and the text that is the id of its item.

use waxseal::Result;

use super::table::argument;
use crate::link::Value;

/// What a column of a key holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyKind {
    Int,
    Text,
    #[cfg_attr(
        not(feature = "postgres"),
        allow(dead_code, reason = "SQLite has no such type")
    )]
    Uuid,
    Bytes,
}

/// One value of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum KeyPart {
    Int(i64),
    Text(String),
    Bytes(Vec<u8>),
}

/// The values of a row in the columns of the key, in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Key(pub(super) Vec<KeyPart>);

impl KeyPart {
    pub(super) fn value(&self) -> Value<'_> {
        match self {
            Self::Int(int) => (*int).into(),
            Self::Text(text) => text.as_str().into(),
            Self::Bytes(bytes) => bytes.as_slice().into(),
        }
    }

    /// An integer in decimal, bytes in hexadecimal digits.
    pub(super) fn plain(&self) -> String {
        match self {
            Self::Int(int) => int.to_string(),
            Self::Text(text) => text.clone(),
            Self::Bytes(bytes) => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
        }
    }

    /// The part of an id. A value of another class than its column has, which SQLite allows, says so.
    fn id(&self, kind: KeyKind, is_alone: bool) -> String {
        let tag = match (self, kind) {
            (Self::Int(_), KeyKind::Int)
            | (Self::Text(_), KeyKind::Text | KeyKind::Uuid)
            | (Self::Bytes(_), KeyKind::Bytes) => "",
            (Self::Int(_), _) => "%i",
            (Self::Text(_), _) => "%t",
            (Self::Bytes(_), _) => "%b",
        };
        let plain = self.plain();
        let plain = match self {
            Self::Text(_) if is_alone => plain.replace('%', "%25"),
            Self::Text(_) => plain.replace('%', "%25").replace(',', "%2C"),
            _ => plain,
        };
        format!("{tag}{plain}")
    }

    fn parse(id: &str, kind: KeyKind, is_alone: bool) -> Option<Self> {
        let (kind, text) = match id.as_bytes() {
            [b'%', b'i', ..] => (KeyKind::Int, id.get(2..)?),
            [b'%', b't', ..] => (KeyKind::Text, id.get(2..)?),
            [b'%', b'b', ..] => (KeyKind::Bytes, id.get(2..)?),
            _ => (kind, id),
        };
        let part = match kind {
            KeyKind::Int => Self::Int(text.parse().ok()?),
            KeyKind::Bytes => Self::Bytes(bytes(text)?),
            KeyKind::Text => Self::Text(unescaped(text, is_alone)?),
            KeyKind::Uuid => Self::Text(Some(text).filter(|text| is_uuid(text))?.to_owned()),
        };
        Some(part)
    }
}

fn bytes(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: &u8| {
        char::from(*byte)
            .to_digit(16)
            .and_then(|digit| u8::try_from(digit).ok())
    };
    let pairs = text.as_bytes().chunks(2).map(|pair| match pair {
        [high, low] => Some(digit(high)? << 4 | digit(low)?),
        _ => None,
    });
    pairs.collect()
}

fn unescaped(text: &str, is_alone: bool) -> Option<String> {
    let mut pieces = text.split('%');
    let mut plain = pieces.next()?.to_owned();
    for piece in pieces {
        let rest = match piece.strip_prefix("2C") {
            Some(rest) if !is_alone => {
                plain.push(',');
                rest
            }
            _ => {
                plain.push('%');
                piece.strip_prefix("25")?
            }
        };
        plain.push_str(rest);
    }
    Some(plain)
}

/// Whether it is a UUID as PostgreSQL writes one.
fn is_uuid(text: &str) -> bool {
    let is_right = |(at, byte): (usize, u8)| match at {
        8 | 13 | 18 | 23 => byte == b'-',
        _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
    };
    text.len() == 36 && text.bytes().enumerate().all(is_right)
}

impl Key {
    /// The id of the item. One column: its value, `%25` for `%` in a text. Several: those with commas between them, and `%2C` for a comma in a text.
    pub(super) fn id(&self, kinds: &[KeyKind]) -> String {
        let parts = self.0.iter().zip(kinds);
        let parts: Vec<_> = parts
            .map(|(part, kind)| part.id(*kind, kinds.len() == 1))
            .collect();
        parts.join(",")
    }

    /// # Errors
    /// `InvalidArgument` if it is no id of a row of this table.
    pub(super) fn parse(id: &str, kinds: &[KeyKind]) -> Result<Self> {
        let key = match kinds {
            [kind] => KeyPart::parse(id, *kind, true).map(|part| vec![part]),
            kinds => {
                let parts: Vec<_> = id.split(',').collect();
                let parsed = parts
                    .iter()
                    .zip(kinds)
                    .map(|(part, kind)| KeyPart::parse(part, *kind, false));
                match parts.len() == kinds.len() {
                    true => parsed.collect(),
                    false => None,
                }
            }
        };
        let key = key.map(Self).filter(|key| key.id(kinds) == id);
        key.ok_or_else(|| {
            argument(format!(
                "{id:?} is no id of a row of this table: an id is the key, with commas between its {} columns",
                kinds.len()
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_plain_if_it_can_be_and_always_reads_back() {
        use KeyKind::{Bytes, Int, Text, Uuid};
        let text = |text: &str| KeyPart::Text(text.to_owned());
        let uuid = "01890a5d-ac96-774b-bcce-b302099a8057";
        for (kinds, parts, id) in [
            (&[Int][..], vec![KeyPart::Int(-7)], "-7"),
            (&[Text], vec![text("a, b")], "a, b"),
            (&[Text], vec![text("")], ""),
            (&[Text], vec![text("100%")], "100%25"),
            (&[Text], vec![text("%2C%t")], "%252C%25t"),
            (&[Uuid], vec![text(uuid)], uuid),
            (&[Bytes], vec![KeyPart::Bytes(vec![0, 0xfe])], "00fe"),
            (&[Int, Text], vec![KeyPart::Int(1), text("a,b%")], "1,a%2Cb%25"),
            (&[Text, Text], vec![text(""), text("")], ","),
            // As SQLite allows.
            (&[Int], vec![text("x")], "%tx"),
            (
                &[Text, Int],
                vec![KeyPart::Bytes(vec![1]), KeyPart::Int(2)],
                "%b01,2",
            ),
            (&[Text], vec![KeyPart::Int(5)], "%i5"),
        ] {
            let key = Key(parts);
            assert_eq!(key.id(kinds), id);
            assert_eq!(Key::parse(id, kinds).unwrap(), key, "{id}");
        }
    }

    #[test]
    fn what_is_no_id_is_refused() {
        use KeyKind::{Bytes, Int, Text, Uuid};
        for (kinds, id) in [
            (&[Int][..], ""),
            (&[Int], "+1"),
            (&[Int], "01"),
            (&[Int], "9223372036854775808"),
            (&[Int], "%i1"),
            (&[Text], "50%"),
            (&[Text], "%2C"),
            (&[Text], "%ta"),
            (&[Uuid], "01890A5D-ac96-774b-bcce-b302099a8057"),
            (&[Uuid], "x"),
            (&[Bytes], "0"),
            (&[Bytes], "0G"),
            (&[Bytes], "FF"),
            (&[Int, Int], "1"),
            (&[Int, Int], "1,2,3"),
            (&[Text, Text], "a,b,c"),
        ] {
            assert!(Key::parse(id, kinds).is_err(), "{id}");
        }
    }
}
