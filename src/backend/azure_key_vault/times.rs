//! Times in what a managed identity's endpoint answers. Azure's own are text, and Microsoft's client takes no others;
//! some that stand in for it write numbers.

use zeroize::Zeroizing;

const TIMES: [&[u8]; 3] = [b"expires_on", b"expires_in", b"not_before"];

/// The same JSON, with those times that are whole numbers as text. Where there are none, the same bytes.
pub(super) fn as_text(json: &[u8]) -> Zeroizing<Vec<u8>> {
    // Room for all quotes: growing in place would leave the old allocation as it was.
    let numbers = json.iter().filter(|byte| **byte == b':').count();
    let mut out = Zeroizing::new(Vec::with_capacity(json.len() + 2 * numbers));
    let mut rest = json;
    while let Some((text, after)) = next_text(rest) {
        out.extend_from_slice(rest.get(..rest.len() - after.len()).unwrap_or_default());
        rest = after;
        if !TIMES.contains(&text) {
            continue;
        }
        let Some(value) = rest.trim_ascii_start().strip_prefix(b":") else {
            continue;
        };
        let value = value.trim_ascii_start();
        let digits = value.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (number, after) = value.split_at(digits);
        let is_whole = matches!(after.trim_ascii_start().first(), Some(b',' | b'}'));
        if !number.is_empty() && is_whole {
            out.extend_from_slice(b":\"");
            out.extend_from_slice(number);
            out.push(b'"');
            rest = after;
        }
    }
    out.extend_from_slice(rest);
    out
}

/// The next string of some JSON, as it is written, and what follows its last quote.
fn next_text(json: &[u8]) -> Option<(&[u8], &[u8])> {
    let start = json.iter().position(|byte| *byte == b'"')?;
    let text = json.get(start + 1..)?;
    let mut is_escaped = false;
    let end = text.iter().position(|byte| {
        let ends = *byte == b'"' && !is_escaped;
        is_escaped = *byte == b'\\' && !is_escaped;
        ends
    })?;
    Some((text.get(..end)?, text.get(end + 1..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_become_text_and_all_else_stays() {
        for (json, expected) in [
            (
                r#"{"access_token":"a","expires_on":12,"expires_in" : 3 , "not_before":0}"#,
                r#"{"access_token":"a","expires_on":"12","expires_in":"3" , "not_before":"0"}"#,
            ),
            (r#"{"expires_on":"12"}"#, r#"{"expires_on":"12"}"#),
            (r#"{"expires_on":1.5,"a":[1]}"#, r#"{"expires_on":1.5,"a":[1]}"#),
            (r#"{"expires_on":null}"#, r#"{"expires_on":null}"#),
            // Within a string.
            (
                r#"{"a":"\"expires_on\":1,","b\\":"expires_on","c":1}"#,
                r#"{"a":"\"expires_on\":1,","b\\":"expires_on","c":1}"#,
            ),
            // None at all.
            (r#"{"expires_on":1"#, r#"{"expires_on":1"#),
            (r#""expires_on"#, r#""expires_on"#),
            ("", ""),
        ] {
            let out = as_text(json.as_bytes());
            assert_eq!(std::str::from_utf8(&out).unwrap(), expected);
        }
    }

    #[test]
    fn nothing_is_left_in_an_outgrown_buffer() {
        let json = br#"{"expires_on":1,"expires_in":2,"not_before":3}"#;
        let out = as_text(json);
        assert_eq!(out.len(), json.len() + 6);
        assert_eq!(out.capacity(), json.len() + 2 * 3);
    }
}
