//! `waxseal explain`: what a profile makes of an envelope, without any key.

use serde_json::{Value, json};
use waxseal::EncryptionContext;
use waxseal::envelope::{AlgorithmClass, Header, HeaderBuf};
use waxseal::ring::RewrappedFrom;
use waxseal::ring::profile::{ExplainedWrap, Explanation, Unmet};

use super::{path_of, show, table, using, wait};
use crate::arguments::Explain;
use crate::binding;
use crate::failure::{Failure, Result, printable};
use crate::report;
use crate::rewrap::{stored, unmet_json};
use crate::stream::Input;

/// Says which requirements are not met, and by which key.
pub(crate) fn run(options: &Explain) -> Result<()> {
    let given = binding::context(&options.context)?;
    let mut input = Input::open(options.input.as_ref())?;
    let from = input.name();
    let read = HeaderBuf::read_from(&mut input);
    let read = read.map_err(|error| input.explain(Failure::of_stream("read", &from, error)))?;
    let header = read.header()?;
    let context = context(options, &header, given)?;
    let ring = using::open_ring(&path_of(&options.ring), &options.profile)?;
    let profile = options.profile.profile.as_deref();
    let told = wait(ring.explain(read.as_bytes(), &context, profile))?;
    show(&of_json(&told, &from.to_string()), || text(&told))?;
    if told.is_met() {
        return Ok(());
    }
    let first = told.opening.first().or_else(|| told.envelope.first());
    let first = first.map(ToString::to_string).unwrap_or_default();
    Err(Failure::attention(printable(&format!(
        "the envelope does not meet what is demanded: {first}"
    ))))
}

fn context(options: &Explain, header: &Header<'_>, given: EncryptionContext) -> Result<EncryptionContext> {
    if options.use_stored_context {
        return stored(header);
    }
    Ok(given)
}

fn of_json(told: &Explanation, input: &str) -> Value {
    let all = |unmet: &[Unmet]| unmet.iter().map(unmet_json).collect::<Vec<_>>();
    json!({
        "schema": report::SCHEMA,
        "command": "explain",
        "input": input,
        "profiles": told.requirements.names().collect::<Vec<_>>(),
        "met": told.is_met(),
        "wraps": told.wraps.iter().map(wrap_json).collect::<Vec<_>>(),
        "opening": all(&told.opening),
        "envelope": all(&told.envelope),
        "sealing": told.sealing.as_deref().map(all),
    })
}

fn wrap_json(wrap: &ExplainedWrap) -> Value {
    let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    json!({
        "provider": wrap.kek.provider(),
        "kek_id": some(wrap.kek.id()),
        "kek_version": some(wrap.kek.version()),
        "key": wrap.key.map(|key| key.to_string()),
        "slot": wrap.slot.as_ref().map(ToString::to_string),
        "state": wrap.state.map(|state| state.name()),
        "class": wrap.class.map(AlgorithmClass::name),
        "protection": wrap.protection.name(),
        "unmet": wrap.unmet.iter().map(unmet_json).collect::<Vec<_>>(),
        "rewrapped_from": wrap.rewrapped_from().map(rewrapped_from),
    })
}

fn rewrapped_from(from: RewrappedFrom) -> &'static str {
    match from {
        RewrappedFrom::Yes => "yes",
        RewrappedFrom::WithApproval => "with-approval",
        _ => "no",
    }
}

fn text(told: &Explanation) -> String {
    let names: Vec<_> = told.requirements.names().collect();
    let mut rows = vec![(
        "profiles",
        if names.is_empty() {
            "none".to_owned()
        } else {
            names.join(", ")
        },
    )];
    for wrap in &told.wraps {
        let key = match (wrap.key, wrap.state, &wrap.slot) {
            (Some(key), Some(state), Some(slot)) => format!(
                "key {key}, {state}, slot {slot}, {}, {}",
                wrap.class.map_or("unknown class", AlgorithmClass::name),
                wrap.protection.name()
            ),
            _ => format!("{}: no key of the ring", wrap.kek),
        };
        rows.push(("wrap", key));
        rows.extend(wrap.unmet.iter().map(|unmet| ("  misses", unmet.to_string())));
        if !wrap.unwraps()
            && let (Some(key), Some(from)) = (wrap.key, wrap.rewrapped_from())
        {
            let how = match from {
                RewrappedFrom::WithApproval => format!(
                    "does not open with it; a re-wrap takes an approval: waxseal ring approve --key {key}"
                ),
                _ => "does not open with it, and no approval helps".to_owned(),
            };
            rows.push(("  state", how));
        }
    }
    let mut part = |name: &'static str, good: &str, unmet: &[Unmet]| {
        if unmet.is_empty() {
            rows.push((name, good.to_owned()));
        }
        rows.extend(unmet.iter().map(|unmet| (name, format!("refused: {unmet}"))));
    };
    part("opening", "not refused by the profile", &told.opening);
    part("envelope", "has all that is demanded", &told.envelope);
    match &told.sealing {
        Some(unmet) => part("sealing now", "not refused by the profile", unmet),
        None => rows.push(("sealing now", "no key wraps".to_owned())),
    }
    table::fields(&rows)
}
