//! Items that do not begin as an envelope does, and yet hold one.

/// How much of such an item is looked at.
pub(super) const LOOK: usize = 4096;

/// What every envelope of version 1 begins with: the magic, the version, and one of the two kinds.
const BEGINNINGS: [&[u8]; 2] = [b"WAX\x01\x01", b"WAX\x01\x02"];

/// The same, as texts write it. JSON and columns hold bytes in many ways.
const WRITTEN: [(&[u8], &str); 10] = [
    (b"5741580101", HEXADECIMAL),
    (b"5741580102", HEXADECIMAL),
    (b"57:41:58:01", HEXADECIMAL),
    (b"87,65,88,1,1", "as a list of numbers"),
    (b"87,65,88,1,2", "as a list of numbers"),
    (b"WAX\\u0001", ESCAPES),
    (b"WAX\\x01", ESCAPES),
    (b"WAX\\001", ESCAPES),
    (b"WAX%01", ESCAPES),
    (b"WAX=01", ESCAPES),
];
const HEXADECIMAL: &str = "in hexadecimal digits";
const ESCAPES: &str = "with escapes";
const BASE64: &str = "in base64";

/// How an envelope is written that is somewhere in the front of an item. `None` if there is none.
pub(super) fn hidden(front: &[u8]) -> Option<&'static str> {
    if let Some(how) = encoded(front) {
        return Some(how);
    }
    if positions(front).any(|rest| BEGINNINGS.iter().any(|begins| rest.starts_with(begins))) {
        return Some("after other bytes");
    }
    // Lines are broken anywhere.
    let text: Vec<u8> = front
        .iter()
        .copied()
        .filter(|byte| !byte.is_ascii_whitespace())
        .collect();
    positions(&text).find_map(|rest| {
        let mut written = WRITTEN.iter();
        let found = written.find(|(begins, _)| rest.starts_with(begins));
        found
            .map(|(_, how)| *how)
            .or_else(|| is_base64(rest).then_some(BASE64))
    })
}

fn positions(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    (0..bytes.len()).filter_map(|at| bytes.get(at..))
}

/// What a text would have to be decoded from to begin as an envelope.
fn encoded(front: &[u8]) -> Option<&'static str> {
    // "WAX", version 1, and the kind: the same characters in both alphabets of base64, and no letters in hexadecimal digits.
    if front.starts_with(b"V0FYAQ") {
        return Some(BASE64);
    }
    (front.starts_with(b"57415801") || front.starts_with(b"\\x574158")).then_some(HEXADECIMAL)
}

/// Whether base64 goes on here that has the beginning of an envelope, 0, 1 or 2 bytes after the beginning of three.
fn is_base64(text: &[u8]) -> bool {
    matches!(
        text,
        [b'V', b'0', b'F', b'Y', b'A', b'Q', b'E'..=b'L', ..]
            | [
                b'F' | b'V' | b'l' | b'1',
                b'd',
                b'B',
                b'W',
                b'A',
                b'E',
                b'B' | b'C',
                ..
            ]
            | [
                b'X',
                b'Q',
                b'V',
                b'g',
                b'B',
                b'A',
                b'Q'..=b'Z' | b'a'..=b'v',
                ..
            ]
    )
}

#[cfg(test)]
mod tests {
    use base64ct::{Base64, Encoding};

    use super::*;

    /// The front of an envelope of each kind.
    fn fronts() -> [Vec<u8>; 2] {
        [1, 2].map(|kind| {
            [
                b"WAX\x01".as_slice(),
                &[kind],
                &[0, 0, 7, 1, 2, 250, 251, 3, 4, 5],
            ]
            .concat()
        })
    }

    #[test]
    fn an_envelope_is_seen_however_a_column_writes_it() {
        for front in fronts() {
            let hex: String = front.iter().map(|byte| format!("{byte:02x}")).collect();
            let json = serde_json::to_string(&front).unwrap();
            let escaped: String = front.iter().map(|byte| char::from(*byte)).collect();
            let escaped = serde_json::to_string(&escaped).unwrap();
            for before in 0..200 {
                let bytes = [vec![b'.'; before], front.clone()].concat();
                assert_eq!(hidden(&bytes), Some("after other bytes"), "{before}");
                let base64 = Base64::encode_string(&bytes);
                assert_eq!(hidden(base64.as_bytes()), Some(BASE64), "{before} {base64}");
                // As mail has it.
                let lines: Vec<_> = base64.as_bytes().chunks(76).collect();
                assert_eq!(hidden(&lines.join(b"\r\n".as_slice())), Some(BASE64), "{before}");
                for (text, how) in [
                    (&hex, HEXADECIMAL),
                    (&hex.to_uppercase(), HEXADECIMAL),
                    (&json, "as a list of numbers"),
                    (&escaped, ESCAPES),
                ] {
                    let text = format!("{}{{\"id\": 7, \"value\": {text}}}", " ".repeat(before));
                    assert_eq!(hidden(text.as_bytes()), Some(how), "{text}");
                }
            }
        }
    }

    #[test]
    fn texts_and_noise_hold_none() {
        for text in [
            "",
            "W",
            "WAX museum",
            "WAX\n1",
            "the WAX format has version 1",
            "V0FY",
            "5741",
            "[87, 65, 88]",
            "574158",
            "{\"name\": \"WAX\", \"version\": 1}",
        ] {
            assert_eq!(hidden(text.as_bytes()), None, "{text}");
        }
        let mut state = 1_u64;
        let noise: Vec<u8> = (0..1 << 20)
            .map(|_| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                state.to_be_bytes()[0]
            })
            .collect();
        let base64 = Base64::encode_string(&noise);
        for part in noise.chunks(LOOK).chain(base64.as_bytes().chunks(LOOK)) {
            assert_eq!(hidden(part), None);
        }
    }
}
