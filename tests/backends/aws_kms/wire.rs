//! KMS on the wire: answers of its kind, and the calls that a proxy has seen.

use crate::fault_proxy::{Fault, FaultProxy, Seen};

/// An answer in the form of KMS.
pub(crate) fn aws(status: u16, body: &str) -> Fault {
    let headers =
        "Content-Type: application/x-amz-json-1.1\r\nx-amzn-RequestId: test-request\r\nRetry-After: 7\r\n";
    Fault::Answer(status, headers, body.to_owned())
}

/// This fault for one operation, and none for the others.
pub(crate) fn only(operation: &'static str, fault: Fault) -> impl Fn(&Seen) -> Fault + Send + 'static {
    move |seen| match called(seen) == operation {
        true => fault.clone(),
        false => Fault::Forward,
    }
}

fn called(seen: &Seen) -> &str {
    seen.header("x-amz-target")
        .unwrap_or_default()
        .trim_start_matches("TrentService.")
}

/// The operations that came since the last time, and their parameters.
pub(crate) fn calls(proxy: &FaultProxy) -> Vec<(String, serde_json::Value)> {
    let call = |seen: &Seen| {
        let parameters = serde_json::from_str(&seen.body).unwrap_or_default();
        (called(seen).to_owned(), parameters)
    };
    proxy.seen().iter().map(call).collect()
}
