//! `waxseal inspect`.

use std::fmt::Write as _;
use std::io;

use serde_json::{Value, json};
use waxseal::envelope::{AlgorithmClass, HeaderBuf, VERSION, WrapsRef};
use waxseal::{EncryptionContext, Error, ErrorKind, envelope::Header, envelope::WrapRef, value::limits};

use crate::arguments::Inspect;
use crate::copy::copy;
use crate::failure::{Failure, Result, printable};
use crate::progress::Progress;
use crate::report::{self, ascii};
use crate::stream::{Input, Name};

/// The bytes that each chunk adds.
const TAG: u64 = 16;

/// Shows what an envelope says of itself.
pub(crate) fn run(options: &Inspect) -> Result<()> {
    let mut input = Input::open(options.input.as_ref())?;
    let from = input.name();
    let read = HeaderBuf::read_from(&mut input);
    let read = read.map_err(|error| input.explain(Failure::of_stream("read", &from, error)))?;
    let header = read.header()?;
    let payload = if options.header_only {
        None
    } else {
        let sealed = match input.len() {
            Some(len) => len.saturating_sub(header.len() as u64),
            None => {
                let nowhere = Name::Stream("nothing");
                copy(&mut input, &from, &mut io::sink(), &nowhere, Progress::none())?
            }
        };
        Some(Payload::of_sealed(&header, sealed)?)
    };
    let stored = header
        .stored_context()
        .map(EncryptionContext::from_canonical)
        .transpose()?;
    let shown = Shown {
        header,
        payload,
        stored,
        show_values: options.show_context,
    };
    report::print(&if report::is_json() {
        shown.json()
    } else {
        shown.text()
    })
}

struct Payload {
    plaintext_len: u64,
    chunks: u64,
}

impl Payload {
    /// What sealed chunks of this length hold; refused where no payload has that length.
    fn of_sealed(header: &Header<'_>, sealed: u64) -> Result<Self> {
        let chunk = header.body().chunk_size().bytes() as u64 + TAG;
        let chunks = sealed.div_ceil(chunk).max(1);
        let malformed = || {
            Failure::from(Error::new(ErrorKind::Malformed {
                field: "chunks",
                offset: header.len(),
            }))
        };
        let plaintext_len = sealed.checked_sub(chunks * TAG).ok_or_else(malformed)?;
        let before_last = (chunks - 1) * (chunk - TAG);
        if chunks > limits::CHUNKS.max || plaintext_len > limits::MESSAGE.max {
            return Err(Failure::no_envelope(
                "the payload is longer than any that is opened",
            ));
        }
        if chunks > 1 && plaintext_len <= before_last {
            return Err(malformed());
        }
        Ok(Self {
            plaintext_len,
            chunks,
        })
    }
}

struct Shown<'a> {
    header: Header<'a>,
    payload: Option<Payload>,
    stored: Option<EncryptionContext>,
    show_values: bool,
}

impl Shown<'_> {
    fn json(&self) -> String {
        let body = self.header.body();
        let (kind, dek_id, section) = match self.header.wraps() {
            WrapsRef::Attached(section) => ("attached", None, Some(section)),
            WrapsRef::Detached(id) => ("detached", Some(hex(&id.0)), None),
            _ => ("unknown", None, None),
        };
        let object = json!({
            "schema": report::SCHEMA,
            "version": VERSION,
            "kind": kind,
            "suite": body.suite().name(),
            "chunk_size": body.chunk_size().bytes(),
            "session_id": hex(body.session_id()),
            "header_bytes": self.header.len(),
            "plaintext_len": self.payload.as_ref().map(|payload| payload.plaintext_len),
            "chunk_count": self.payload.as_ref().map(|payload| payload.chunks),
            "dek_id": dek_id,
            "threshold": section.map(|section| section.threshold()),
            "padding": section.map(|section| section.padding()),
            "wraps": section.map(|section| section.stanzas().map(|wrap| wrap_json(&wrap)).collect::<Vec<_>>()),
            "stored_context": self.stored.as_ref().map(|context| self.context_json(context)),
        });
        let mut text = ascii(&format!("{object:#}"));
        text.push('\n');
        text
    }

    fn context_json(&self, context: &EncryptionContext) -> Value {
        let mut shown = json!({
            "digest": hex(context.digest()),
            "keys": context.pairs().map(|(key, _)| key).collect::<Vec<_>>(),
        });
        if self.show_values {
            let values: serde_json::Map<String, Value> = context
                .pairs()
                .map(|(key, value)| (key.into(), value.into()))
                .collect();
            shown["values"] = values.into();
        }
        shown
    }

    fn text(&self) -> String {
        let body = self.header.body();
        let mut lines = Lines::default();
        let (kind, section) = match self.header.wraps() {
            WrapsRef::Attached(section) => ("attached", Some(section)),
            WrapsRef::Detached(_) => ("detached", None),
            _ => ("unknown", None),
        };
        lines.put("version", VERSION);
        lines.put("kind", kind);
        lines.put("suite", body.suite());
        lines.put("chunk size", body.chunk_size().bytes());
        lines.put("session id", hex(body.session_id()));
        lines.put("header bytes", self.header.len());
        if let Some(payload) = &self.payload {
            lines.put("plaintext bytes", payload.plaintext_len);
            lines.put("chunks", payload.chunks);
        }
        if let WrapsRef::Detached(id) = self.header.wraps() {
            lines.put("DEK id", hex(&id.0));
        }
        if let Some(section) = section {
            lines.put(
                "opened by",
                format_args!("{} of {}", section.threshold(), section.count()),
            );
            for (index, wrap) in section.stanzas().enumerate() {
                lines.put(&format!("wrap {}", index + 1), wrap_text(&wrap));
            }
            lines.put("padding", section.padding());
        }
        match &self.stored {
            None => lines.put("stored context", "none"),
            Some(context) => {
                lines.put("stored context", format_args!("pairs: {}", context.len()));
                for (key, value) in context.pairs() {
                    let value = if self.show_values { value } else { "(hidden)" };
                    lines.put("", format_args!("{}={}", printable(key), printable(value)));
                }
                lines.put("context digest", hex(context.digest()));
            }
        }
        lines.0
    }
}

#[derive(Default)]
struct Lines(String);

impl Lines {
    fn put(&mut self, label: &str, value: impl std::fmt::Display) {
        // Writing to a string does not fail.
        let _ = writeln!(self.0, "{label:<16} {value}");
    }
}

fn wrap_json(wrap: &WrapRef<'_>) -> Value {
    json!({
        "algorithm": wrap.algorithm.name(),
        "algorithm_id": wrap.algorithm.id(),
        "class": wrap.algorithm.class().map(AlgorithmClass::name),
        "provider": wrap.provider,
        "kek_id": Some(wrap.kek_id).filter(|id| !id.is_empty()),
        "kek_version": Some(wrap.kek_version).filter(|version| !version.is_empty()),
        "wrapped_len": wrap.wrapped.len(),
        "share_index": wrap.share_index,
    })
}

fn wrap_text(wrap: &WrapRef<'_>) -> String {
    let mut text = format!("{} ", wrap.provider);
    match wrap.kek_id {
        "" => text.push_str("(hidden id)"),
        id => text.push_str(&printable(id)),
    }
    if !wrap.kek_version.is_empty() {
        let _ = write!(text, " version {}", printable(wrap.kek_version));
    }
    let name = wrap.algorithm.name().unwrap_or("unknown algorithm");
    let _ = write!(text, ", {name} ({}", wrap.algorithm.id());
    if let Some(known) = wrap.algorithm.class() {
        let _ = write!(text, ", {}", known.name());
    }
    let _ = write!(text, "), {} bytes", wrap.wrapped.len());
    if wrap.share_index != 0 {
        let _ = write!(text, ", share {}", wrap.share_index);
    }
    text
}

fn hex(bytes: &[u8]) -> String {
    base16ct::lower::encode_string(bytes)
}
