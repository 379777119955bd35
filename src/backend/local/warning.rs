//! One line in the log for a local KEK outside development.

use std::sync::atomic::{AtomicBool, Ordering};

use secrecy::ExposeSecret;

use crate::runtime::Environment;

static WARNED: AtomicBool = AtomicBool::new(false);

/// Warns once in the life of the process, unless `WAXSEAL_ENVIRONMENT` is `development`.
pub(super) fn warn_once(environment: &dyn Environment) {
    let is_development = matches!(
        environment.var("WAXSEAL_ENVIRONMENT"),
        Ok(Some(value)) if value.expose_secret() == "development"
    );
    if !is_development && !WARNED.swap(true, Ordering::Relaxed) {
        tracing::warn!(
            "a local KEK is in use: anybody who can read this process's memory or configuration has it. Use a KMS or \
             an HSM in production, or set WAXSEAL_ENVIRONMENT=development"
        );
    }
}
