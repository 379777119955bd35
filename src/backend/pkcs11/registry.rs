//! The modules that this process has loaded: each once, whoever asks.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, PoisonError};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error as TokenError, RvError};

use super::map::Fault;
use crate::value::error::Error;

static MODULES: LazyLock<Mutex<HashMap<PathBuf, Pkcs11>>> = LazyLock::new(Mutex::default);

/// The module of this path, loaded and initialised.
pub(super) fn module(path: &Path) -> Result<Pkcs11, Fault> {
    // Paths that lead to one file are one module. A bare name is looked for by the dynamic linker.
    let path = if path.components().count() > 1 {
        path.canonicalize().map_err(|error| {
            Error::configuration(format!("module-path: there is no file {}", path.display()))
                .with_source(error)
        })?
    } else {
        path.to_owned()
    };
    let mut modules = MODULES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(module) = modules.get(&path) {
        return Ok(module.clone());
    }
    let module = Pkcs11::new(&path)?;
    initialise(&module)?;
    modules.insert(path, module.clone());
    Ok(module)
}

/// Initialises a module; somebody else in this process may have done so.
pub(super) fn initialise(module: &Pkcs11) -> Result<(), Fault> {
    match module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        Ok(()) | Err(TokenError::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
