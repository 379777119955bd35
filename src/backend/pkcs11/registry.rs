//! The modules that this process has loaded: each once, whoever asks.
//!
//! A module, its sessions and its login belong to one process. The child of a `fork` inherits the memory of all of
//! them and owns none, so everything here is kept for each process, and a child begins anew.

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
                .with_detail("too many forks lie behind this process to use a PKCS#11 module in it")
        })
    }

    /// Whether this process, a parent, initialized a module. A lock may have been held during the fork, by a thread
    /// that is not here, so nothing is waited for.
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

/// How often each version has wrapped, in this process.
pub(super) fn counts() -> Result<&'static Counts, Error> {
    Ok(&Process::current()?.counts)
}

/// One module: what all clients of it in this process share.
pub(super) struct Module {
    path: PathBuf,
    loaded: Mutex<Option<(Pkcs11, Arc<Raw>)>>,
    /// Whether it was this crate that initialized it.
    is_ours: AtomicBool,
    /// Read by every call; written while the module is restarted.
    calls: RwLock<()>,
    /// How often it was restarted by this crate. Session handles are good within one count.
    restarts: AtomicU64,
    /// Calls that were given up and have not returned.
    pub(super) hung: Arc<AtomicUsize>,
    pub(super) logins: Logins,
    /// One key is made at a time.
    pub(super) making: Mutex<()>,
    clients: Mutex<Vec<Weak<Connection>>>,
}

/// The module of this path, which is not loaded yet.
///
/// # Errors
/// `Configuration` if there is no such file.
pub(super) fn module(path: &Path) -> Result<Arc<Module>, Error> {
    // Paths that lead to one file are one module. A bare name is looked for by the dynamic linker.
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
    /// The module, loaded and initialized.
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

    /// Initializes the module; somebody else in this process may have done so.
    pub(super) fn initialize(&self, module: &Pkcs11) -> Result<(), Fault> {
        let start = || module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK));
        let started = match start() {
            Err(TokenError::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) if self.is_inherited() => {
                // A module that does not notice a fork: what it has in memory is the parent's. The copy of it ends.
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

    /// Held during a call: the module is not restarted meanwhile.
    pub(super) fn call(&self) -> RwLockReadGuard<'_, ()> {
        self.calls.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn restarts(&self) -> u64 {
        self.restarts.load(Ordering::Acquire)
    }

    /// Shuts the module down and starts it again, if this crate has started it and no call of this crate is in it.
    /// `before` counts the restarts that the caller knew of: if there was another one since, nothing is done.
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

    /// Enters a client, so that others can ask for the sessions that it does not need.
    pub(super) fn enter(&self, client: &Arc<Connection>) {
        let mut clients = lock(&self.clients);
        clients.retain(|client| client.strong_count() > 0);
        clients.push(Arc::downgrade(client));
    }

    /// Closes the sessions that other clients of this module keep and do not use. Whether there were any.
    pub(super) fn close_idle(&self, asking: &Connection) -> bool {
        let clients: Vec<_> = lock(&self.clients).iter().filter_map(Weak::upgrade).collect();
        let others = clients.iter().filter(|client| !std::ptr::eq(&***client, asking));
        others.filter(|client| client.close_idle()).count() > 0
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
