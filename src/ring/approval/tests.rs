//! The bytes of an approval.

use super::document::{Body, KIND};
use super::*;
use crate::ring::clock::Agreed;
use crate::ring::line::{Line, LineKind};
use crate::ring::{Authority, RecordId, Settings, Time};
use crate::value::error::{ApprovalFault, ErrorKind};

fn time(text: &str) -> Time {
    text.parse().unwrap()
}

/// An approval, and the settings of a ring that lists its signer.
fn approval() -> (Approval, Settings, Authority) {
    let now = time("2026-11-27T08:00:00Z");
    let (authority, approver) = (Authority::from_seed(&[1; 32]), Authority::from_seed(&[2; 32]));
    let ring = RecordId::new(now).unwrap();
    let mut settings = Settings::new(ring, authority.public()).unwrap();
    settings.approvers = vec![approver.public()];
    let times = (now, time("2026-11-27T16:00:00Z"));
    let mut body = Body::new(ring, 7, RecordId::new(now).unwrap(), times);
    body.ticket = "INC-7".to_owned();
    body.approver = "carol".to_owned();
    (Approval::sign(body, &approver).unwrap(), settings, approver)
}

fn judge(approval: &Approval, settings: &Settings) -> crate::value::error::Result<Time> {
    approval.judge(settings, 7, Agreed::on(time("2026-11-27T09:00:00Z")))
}

#[test]
fn an_approval_is_one_line_and_says_what_it_says() {
    let (approval, settings, approver) = approval();
    let text = std::str::from_utf8(approval.as_bytes()).unwrap();
    let signature = text
        .split("\"signature\":\"")
        .nth(1)
        .unwrap()
        .strip_suffix("\"}\n")
        .unwrap();
    let expected = format!(
        r#"{{"schema":1,"key":"{}","ring":"{}","revision":7,"ticket":"INC-7","approver":"carol","issued":"2026-11-27T08:00:00Z","expires":"2026-11-27T16:00:00Z","signature":"{signature}"}}"#,
        approval.key(),
        settings.ring
    );
    assert_eq!(text, expected + "\n");
    assert!(signature.starts_with(&approver.public().to_string()) && signature.len() == 138);
    let read = Approval::from_bytes(text.trim_end().as_bytes()).unwrap();
    assert_eq!(read, approval);
    assert_eq!(judge(&read, &settings).unwrap(), approval.expires());
    assert_eq!(read.signer(), approver.public());
    assert_eq!(
        (read.ticket(), read.approver(), read.reason()),
        ("INC-7", "carol", None)
    );
}

#[test]
fn whatever_one_byte_becomes_it_is_none_or_does_not_count() {
    let (approval, settings, _) = approval();
    let line = approval.as_bytes().strip_suffix(b"\n").unwrap();
    let mut read = 0;
    for index in 0..line.len() {
        for bit in [1, 2, 32] {
            let mut changed = line.to_vec();
            changed[index] ^= bit;
            if let Ok(changed) = Approval::from_bytes(&changed) {
                let error = judge(&changed, &settings).unwrap_err();
                assert!(
                    matches!(error.kind(), ErrorKind::ApprovalRefused { .. }),
                    "byte {index}: {error:?}"
                );
                read += 1;
            }
        }
    }
    assert!(read > 50, "{read}");
}

#[test]
fn an_approval_is_read_only_as_it_was_written() {
    let (approval, ..) = approval();
    let text = std::str::from_utf8(approval.as_bytes()).unwrap();
    let value: serde_json::Value = serde_json::from_str(text).unwrap();
    let kind = |bytes: &[u8]| Approval::from_bytes(bytes).unwrap_err().kind();
    assert_eq!(
        kind(&serde_json::to_vec_pretty(&value).unwrap()),
        ErrorKind::InvalidArgument
    );
    for wrong in [
        text.replace("\"ticket\"", "\"any\":1,\"ticket\""),
        text.replace("\"ticket\"", "\"ticket\":\"INC-8\",\"ticket\""),
        text.replace(",\"approver\":\"carol\"", ""),
        text.replace("ed25519:", "ed25519;"),
        text.replace('}', "}}"),
        format!("{text}\n"),
        String::new(),
    ] {
        assert_eq!(kind(wrong.as_bytes()), ErrorKind::InvalidArgument, "{wrong}");
    }
    let newer = text.replace("\"schema\":1", "\"schema\":2");
    assert!(matches!(kind(newer.as_bytes()), ErrorKind::Unsupported { .. }));
    let long = vec![b' '; MAX_APPROVAL + 1];
    assert!(matches!(kind(&long), ErrorKind::OverLimit { .. }));
}

#[test]
fn a_signature_of_another_kind_or_of_a_forger_is_none() {
    let (approval, settings, approver) = approval();
    let text = std::str::from_utf8(approval.as_bytes()).unwrap();
    let body: Body = {
        let mut value: serde_json::Value = serde_json::from_str(text).unwrap();
        value.as_object_mut().unwrap().remove("signature");
        serde_json::from_value(value).unwrap()
    };
    let receipt = LineKind {
        kind: "receipt",
        ..KIND
    };
    let as_receipt = Line::sign(receipt, settings.ring, &body, &approver).unwrap();
    // Signed by anybody, in the name of the approver.
    let anybody = Authority::from_seed(&[3; 32]);
    let forged = Approval::sign(body, &anybody).unwrap();
    let forged = String::from_utf8(forged.as_bytes().to_vec()).unwrap();
    let forged = forged.replace(&anybody.public().to_string(), &approver.public().to_string());
    for line in [as_receipt.as_bytes(), forged.as_bytes()] {
        let error = judge(&Approval::from_bytes(line).unwrap(), &settings).unwrap_err();
        let fault = ApprovalFault::Altered;
        assert_eq!(error.kind(), ErrorKind::ApprovalRefused { fault });
    }
}

#[test]
fn a_signer_cannot_go_beyond_what_any_approval_may() {
    let (_, settings, approver) = approval();
    let sign = |issued: &str, expires: &str, revision: u64, ticket: &str| {
        let key = RecordId::new(time(issued)).unwrap();
        let mut body = Body::new(settings.ring, revision, key, (time(issued), time(expires)));
        body.ticket = ticket.to_owned();
        body.approver = "carol".to_owned();
        Approval::sign(body, &approver).unwrap()
    };
    let day = "2026-11-27T08:00:00Z";
    let cases = [
        (
            sign(day, "2026-12-04T08:00:00.000001Z", 7, "t"),
            ApprovalFault::TooLong,
        ),
        (sign(day, day, 7, "t"), ApprovalFault::Expired),
        (sign(day, "2026-11-27T09:00:00Z", 7, "t"), ApprovalFault::Expired),
        (
            sign(day, "2026-11-27T10:00:00Z", 8, "t"),
            ApprovalFault::LaterRevision,
        ),
        (
            sign(day, "2026-11-27T10:00:00Z", 7, "a\u{1b}b"),
            ApprovalFault::Malformed,
        ),
        (
            sign("2026-11-27T09:05:01Z", "2026-11-27T10:00:00Z", 7, "t"),
            ApprovalFault::NotYetIssued,
        ),
    ];
    for (approval, fault) in cases {
        let error = judge(&approval, &settings).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ApprovalRefused { fault }, "{error}");
    }
    assert!(judge(&sign(day, "2026-12-04T08:00:00Z", 7, "t"), &settings).is_ok());
}
