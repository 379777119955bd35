//! The modules that this process has loaded. Each module is loaded once for all clients.
//!
//! A module, its connections and its login belong to one process. The child of a `fork` inherits the memory of all of
//! them but owns none. So everything here is kept for each process, and a child begins with nothing.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, TryLockError, Weak};
use std::time::Duration;

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error as TokenError, RvError};

use super::budget::Counts;
use super::connection::Connection;
use super::login::Logins;
use super::map::Fault;
use super::raw::Raw;
use crate::runtime::{Monotonic, PerProcess, Runtime, ThreadRuntime};
use crate::value::error::{Error, ErrorKind};

static PROCESSES: PerProcess<Process> = PerProcess::new();

/// What one process has.
#[derive(Default)]
struct Process {
    modules: Mutex<HashMap<PathBuf, Arc<Module>>>,
    counts: Counts,
}

impl Process {
    fn current() -> Result<&'static Self, Error> {
        PROCESSES.get_or_init(|_| Self::default()).ok_or_else(|| {
            Error::new(ErrorKind::Unavailable)
                .with_retryable(false)
                .with_detail(
                    "this process comes from too many forks to use a PKCS#11 module: start a new process",
                )
        })
    }

    /// Returns whether a parent of this process initialized a module. A thread of the parent may have held a lock during the fork,
    /// so this does not wait for a lock.
    fn has_started(&self, path: &Path) -> bool {
        let modules = match self.modules.try_lock() {
            Ok(modules) => modules,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return true,
        };
        let module = modules.get(path);
        module.is_some_and(|module| module.is_ours.load(Ordering::Relaxed))
    }
}

/// How often each version has wrapped in this process.
pub(super) fn counts() -> Result<&'static Counts, Error> {
    Ok(&Process::current()?.counts)
}

/// One module, which all its clients in this process share.
pub(super) struct Module {
    path: PathBuf,
    loaded: Mutex<Option<(Pkcs11, Arc<Raw>)>>,
    /// Whether this crate initialized the module.
    is_ours: AtomicBool,
    /// Read by every call; written while the module is restarted.
    calls: RwLock<()>,
    /// How often this crate restarted the module. Handles of connections are valid within one count.
    restarts: AtomicU64,
    /// Calls that were given up and have not returned.
    pub(super) hung: Arc<AtomicUsize>,
    pub(super) logins: Logins,
    /// One key is made at a time.
    pub(super) making: Mutex<()>,
    clients: Mutex<Vec<Weak<Connection>>>,
}

/// Returns the module at this path, without loading it.
///
/// # Errors
/// `Configuration` if there is no such file.
pub(super) fn module(path: &Path) -> Result<Arc<Module>, Error> {
    // Paths that lead to one file are one module. The dynamic linker searches for a bare name.
    let path = if path.components().count() > 1 {
        path.canonicalize().map_err(|error| {
            Error::configuration(format!(
                "module-path: cannot find the file {}: {}",
                path.display(),
                error.kind()
            ))
            .with_source(error)
        })?
    } else {
        path.to_owned()
    };
    let mut modules = lock(&Process::current()?.modules);
    let module = modules.entry(path.clone()).or_insert_with(|| {
        Arc::new(Module {
            path,
            loaded: Mutex::default(),
            is_ours: AtomicBool::new(false),
            calls: RwLock::default(),
            restarts: AtomicU64::new(0),
            hung: Arc::default(),
            logins: Logins::default(),
            making: Mutex::default(),
            clients: Mutex::default(),
        })
    });
    Ok(Arc::clone(module))
}

impl Module {
    /// Returns the module, loaded and initialized.
    pub(super) fn loaded(&self) -> Result<(Pkcs11, Arc<Raw>), Fault> {
        let mut loaded = lock(&self.loaded);
        if let Some((module, raw)) = &*loaded {
            return Ok((module.clone(), Arc::clone(raw)));
        }
        let module = Pkcs11::new(&self.path)?;
        let raw = Arc::new(Raw::new(&self.path)?);
        self.initialize(&module)?;
        *loaded = Some((module.clone(), Arc::clone(&raw)));
        Ok((module, raw))
    }

    /// Initializes the module, unless another library of this process has done so.
    pub(super) fn initialize(&self, module: &Pkcs11) -> Result<(), Fault> {
        let start = || module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK));
        let started = match start() {
            Err(TokenError::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) if self.is_inherited() => {
                // This module did not notice the fork: its memory is a copy of the parent's. Finalize the copy.
                module.clone().finalize()?;
                start()
            }
            started => started,
        };
        match started {
            Ok(()) => {
                self.is_ours.store(true, Ordering::Relaxed);
                Ok(())
            }
            Err(TokenError::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether a parent of this process initialized the module, and this process has not done so yet.
    fn is_inherited(&self) -> bool {
        !self.is_ours.load(Ordering::Relaxed)
            && PROCESSES.inherited().any(|parent| parent.has_started(&self.path))
    }

    /// Prevents a restart of the module during a call.
    pub(super) fn call(&self) -> RwLockReadGuard<'_, ()> {
        self.calls.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn restarts(&self) -> u64 {
        self.restarts.load(Ordering::Acquire)
    }

    /// Shuts the module down and starts it again, if this crate has started it and no call of this crate is in it.
    /// `before` counts the restarts that the caller knows: after another restart, does nothing.
    pub(super) fn restart(&self, before: u64, until: Monotonic) -> Result<bool, Fault> {
        if !self.is_ours.load(Ordering::Relaxed) {
            return Ok(false);
        }
        let _alone = loop {
            match self.calls.try_write() {
                Ok(guard) => break guard,
                Err(TryLockError::Poisoned(poisoned)) => break poisoned.into_inner(),
                Err(TryLockError::WouldBlock) if ThreadRuntime.now() >= until => return Ok(false),
                Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(5)),
            }
        };
        if self.restarts() != before {
            return Ok(true);
        }
        let (module, _) = self.loaded()?;
        self.restarts.fetch_add(1, Ordering::AcqRel);
        self.logins.forget();
        module.clone().finalize()?;
        self.initialize(&module)?;
        Ok(true)
    }

    /// Registers a client, so that other clients can ask for the connections that it does not need.
    pub(super) fn enter(&self, client: &Arc<Connection>) {
        let mut clients = lock(&self.clients);
        clients.retain(|client| client.strong_count() > 0);
        clients.push(Arc::downgrade(client));
    }

    /// Closes the connections that other clients of this module keep but do not use. Returns whether there were any.
    pub(super) fn close_idle(&self, asking: &Connection) -> bool {
        let clients: Vec<_> = lock(&self.clients).iter().filter_map(Weak::upgrade).collect();
        let others = clients.iter().filter(|client| !std::ptr::eq(&***client, asking));
        others.filter(|client| client.close_idle()).count() > 0
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
