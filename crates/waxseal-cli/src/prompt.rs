//! Asking a person at the terminal for a passphrase.

#[cfg(unix)]
use std::io::Read;

use secrecy::SecretString;
use waxseal::runtime::{Environment, ProcessEnvironment};
use waxseal::{Error, ErrorKind, Result};

#[cfg(unix)]
use crate::stream::{Input, Name, Place};

/// The longest passphrase, as the library has it.
const LEN_MAX: usize = 1024;

/// The environment of the process, and the person at its terminal.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Person {
    /// What is asked for is typed twice, and compared.
    pub(crate) types_twice: bool,
}

impl Environment for Person {
    fn var(&self, name: &str) -> Result<Option<SecretString>> {
        ProcessEnvironment.var(name)
    }

    fn ask(&self, what: &str) -> Result<Option<SecretString>> {
        use secrecy::ExposeSecret;
        let first = terminal::ask(&format!("{what}: "))?;
        if self.types_twice {
            let second = terminal::ask(&format!("{what}, once more: "))?;
            if first.expose_secret() != second.expose_secret() {
                return Err(argument("the two passphrases are not the same; nothing was done"));
            }
        }
        Ok(Some(first))
    }

    /// As the shell left it: from where it stands, and whoever the file or pipe belongs to.
    #[cfg(unix)]
    fn descriptor(&self, number: u32) -> Result<Option<Box<dyn Read + Send>>> {
        let shown = format!("descriptor {number} (passphrase-fd)");
        let failed = |why: &dyn std::fmt::Display| {
            Error::new(ErrorKind::Configuration).with_detail(format!("cannot read {shown}: {why}"))
        };
        let place = i32::try_from(number)
            .map(|number| Place::Descriptor(number, Name::Path(format!("/dev/fd/{number}").into())))
            .map_err(|_| failed(&"it is closed"))?;
        match Input::of(place) {
            Ok(input) => Ok(Some(Box::new(input))),
            Err(error) if error.raw_os_error() == Some(libc::EBADF) => Err(failed(&"it is closed")),
            Err(error) => Err(failed(&error.kind()).with_source(error)),
        }
    }
}

fn argument(detail: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidArgument).with_detail(detail)
}

#[cfg(unix)]
mod terminal {
    use std::fs::File;
    use std::io::{self, Read, Write};

    use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
    use secrecy::SecretString;
    use waxseal::{Error, ErrorKind, Result};
    use zeroize::Zeroizing;

    use super::{LEN_MAX, argument};
    use crate::signals;

    /// Reads a line without showing it. From the terminal itself, whatever the standard streams are.
    pub(super) fn ask(prompt: &str) -> Result<SecretString> {
        let terminal = File::options()
            .read(true)
            .write(true)
            .open("/dev/tty")
            .map_err(|error| {
                Error::new(ErrorKind::Configuration)
                    .with_detail(
                        "passphrase-prompt: needs a terminal, and this process has none; use passphrase-file:PATH, \
                         passphrase-fd:N, passphrase-command:COMMAND or passphrase-env:NAME",
                    )
                    .with_source(error)
            })?;
        let failed = |error: io::Error| {
            Error::new(ErrorKind::Io)
                .with_detail("cannot ask at the terminal")
                .with_source(error)
        };
        let line = {
            let _quiet = Quiet::new(&terminal).map_err(failed)?;
            (&terminal).write_all(prompt.as_bytes()).map_err(failed)?;
            read_line(&terminal).map_err(failed)
        };
        // The end of the line was not shown.
        let _ = (&terminal).write_all(b"\n");
        let line = line?;
        if line.is_empty() {
            return Err(argument("the passphrase is empty; nothing was done"));
        }
        let text = std::str::from_utf8(&line).map_err(|_| argument("the passphrase is not UTF-8"))?;
        Ok(SecretString::from(text))
    }

    /// Up to the end of the line, byte by byte: what comes after it may be meant for somebody else.
    fn read_line(mut terminal: &File) -> io::Result<Zeroizing<Vec<u8>>> {
        let mut line = Zeroizing::new(Vec::with_capacity(LEN_MAX));
        let mut byte = Zeroizing::new([0]);
        loop {
            match terminal.read(byte.as_mut_slice()) {
                Ok(0) => return Ok(line),
                Ok(_) if *byte == *b"\n" => return Ok(line),
                Ok(_) if line.len() == LEN_MAX => {
                    return Err(io::Error::other("the passphrase is longer than 1024 bytes"));
                }
                Ok(_) => line.extend_from_slice(byte.as_slice()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// A terminal that shows nothing of what is typed, until this is dropped or a signal ends the process.
    struct Quiet<'a> {
        terminal: &'a File,
        before: Termios,
    }

    impl<'a> Quiet<'a> {
        fn new(terminal: &'a File) -> io::Result<Self> {
            let before = tcgetattr(terminal)?;
            signals::echo_at_end(terminal.try_clone()?, before.clone());
            let mut quiet = before.clone();
            quiet
                .local_modes
                .remove(LocalModes::ECHO | LocalModes::ECHOE | LocalModes::ECHOK | LocalModes::ECHONL);
            quiet.local_modes.insert(LocalModes::ICANON);
            let this = Self { terminal, before };
            // What was typed before the question is no answer to it.
            tcsetattr(terminal, OptionalActions::Flush, &quiet)?;
            Ok(this)
        }
    }

    impl Drop for Quiet<'_> {
        fn drop(&mut self) {
            let _ = tcsetattr(self.terminal, OptionalActions::Now, &self.before);
            signals::echo_is_back();
        }
    }
}

#[cfg(not(unix))]
mod terminal {
    use secrecy::SecretString;
    use waxseal::{Error, ErrorKind, Result};

    pub(super) fn ask(_: &str) -> Result<SecretString> {
        Err(Error::new(ErrorKind::Configuration)
            .with_detail("passphrase-prompt: is not known on this system; use passphrase-file:PATH"))
    }
}
