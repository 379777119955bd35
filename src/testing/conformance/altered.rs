//! Wraps open unaltered only.

use super::Subject;
use super::probe::{Outcome, Verdict, WRAPS_ONLY, context, is_about_the_bytes, with_bytes};
use crate::key::Request;

pub(super) async fn no_altered_byte_opens(subject: &Subject) -> Outcome {
    let Some(opener) = subject.opener() else {
        return Ok(Verdict::Skipped(WRAPS_ONLY));
    };
    let context = context("altered")?;
    let request = Request::new(&context);
    let (_, wrapped) = subject.wrapped(&request).await?;
    for place in subject.places(wrapped.wrapped().len()) {
        for mask in [0x01, 0x80] {
            let mut bytes = wrapped.wrapped().to_vec();
            if let Some(byte) = bytes.get_mut(place) {
                *byte ^= mask;
            }
            let answer = opener.unwrap(with_bytes(&wrapped, &bytes), &request).await;
            let what = format!("a wrap with byte {place} changed by {mask:#04x}");
            subject.refused(&what, answer, is_about_the_bytes)?;
            if subject.is_slow() {
                break;
            }
        }
    }
    Ok(Verdict::Passed)
}

pub(super) async fn no_other_length_opens(subject: &Subject) -> Outcome {
    let Some(opener) = subject.opener() else {
        return Ok(Verdict::Skipped(WRAPS_ONLY));
    };
    let context = context("length")?;
    let request = Request::new(&context);
    let (_, wrapped) = subject.wrapped(&request).await?;
    let whole = wrapped.wrapped();
    let cut = subject.places(whole.len()).into_iter();
    let mut lengths: Vec<Vec<u8>> = cut
        .filter_map(|end| whole.get(..end))
        .map(<[u8]>::to_vec)
        .collect();
    lengths.extend([
        whole.get(1..).unwrap_or_default().to_vec(),
        [whole, &[0]].concat(),
        [&[0], whole].concat(),
        [whole, whole].concat(),
        vec![0; 16_384],
    ]);
    for bytes in lengths {
        let answer = opener.unwrap(with_bytes(&wrapped, &bytes), &request).await;
        let what = format!("a wrap with {} bytes instead of {}", bytes.len(), whole.len());
        subject.refused(&what, answer, is_about_the_bytes)?;
    }
    Ok(Verdict::Passed)
}

/// The front of one wrap and the end of another, both good, both in one context.
pub(super) async fn no_spliced_wrap_opens(subject: &Subject) -> Outcome {
    let Some(opener) = subject.opener() else {
        return Ok(Verdict::Skipped(WRAPS_ONLY));
    };
    let context = context("spliced")?;
    let request = Request::new(&context);
    let (_, first) = subject.wrapped(&request).await?;
    let (_, second) = subject.wrapped(&request).await?;
    for place in subject.places(first.wrapped().len()).into_iter().skip(1) {
        let (Some(front), Some(end)) = (first.wrapped().get(..place), second.wrapped().get(place..)) else {
            continue;
        };
        let bytes = [front, end].concat();
        if bytes == first.wrapped() || bytes == second.wrapped() {
            continue;
        }
        let answer = opener.unwrap(with_bytes(&first, &bytes), &request).await;
        let what = format!("two wraps joined at byte {place}");
        subject.refused(&what, answer, is_about_the_bytes)?;
    }
    Ok(Verdict::Passed)
}
