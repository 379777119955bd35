//! Where output goes: a stream as it comes, a file all or nothing.

use std::fs::{self, File};
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use super::identity::Identity;
#[cfg(unix)]
use super::kept::Kept;
use super::staged::Staged;
use super::{Input, Name, Place, Source, path_of};
use crate::failure::{Failure, Result};
use crate::{terminal, warnings};

/// An output that is not there before [`finish`](Output::finish), unless it is a stream.
pub(crate) struct Output {
    sink: Sink,
    name: Name,
    /// What has come to a terminal that shows text only.
    text: Option<terminal::Text>,
}

enum Sink {
    /// A pipe, a terminal, a device, or a file that the shell has opened. What was written cannot be taken back.
    Stream(File),
    /// A file that takes its place when it is complete.
    Staged(Staged, At),
}

/// What is at the target.
enum At {
    /// Nothing, and it must stay so.
    Nothing,
    /// A file that is replaced.
    #[cfg(unix)]
    File(Box<Kept>),
    #[cfg(not(unix))]
    File,
}

/// Who can read a new file.
#[derive(Clone, Copy)]
pub(crate) enum Access {
    /// Whom the umask lets.
    Usual,
    /// Its owner.
    Private,
}

/// What an output may do, and what it must spare.
#[derive(Clone, Copy, Default)]
pub(crate) struct Replace<'a> {
    /// Take the place of a file that has other names, too.
    pub(crate) break_links: bool,
    /// What is read meanwhile.
    pub(crate) input: Option<&'a Input>,
    /// What keys were read from.
    pub(crate) keys: &'a [Source],
    /// Show a terminal what may be no text, although it was not asked for by `-o -`.
    pub(crate) any_bytes: bool,
}

impl Output {
    /// The output of an option. A file that exists is replaced when the new one is complete, and keeps its owner, its
    /// mode and its attributes. All that can be known is checked now, before anything is done.
    pub(crate) fn create(option: Option<&PathBuf>, access: Access, replace: Replace<'_>) -> Result<Self> {
        let place = path_of(option).map_or_else(Place::output, Place::of);
        let name = place.name();
        let sink = match &place {
            Place::Descriptor(number, _) => given(*number)
                .map(Sink::Stream)
                .map_err(|error| Failure::of_descriptor("write", &name, error))?,
            Place::Foreign(path) | Place::Path(path) => {
                let is_foreign = matches!(place, Place::Foreign(_));
                replacing(path, &name, access, replace, is_foreign)?
            }
        };
        let mut output = Self {
            sink,
            name,
            text: None,
        };
        output.check_stream(replace)?;
        let is_asked = option.is_some_and(|path| path == Path::new("-"));
        if output.is_terminal() && !is_asked && !replace.any_bytes {
            output.text = Some(terminal::Text::default());
        }
        Ok(output)
    }

    /// Standard output, for text.
    pub(crate) fn text() -> Result<Self> {
        Self::create(
            None,
            Access::Usual,
            Replace {
                any_bytes: true,
                ..Replace::default()
            },
        )
    }

    /// A new file that only its owner can read; refused if anything is there.
    pub(crate) fn create_new(path: &Path) -> Result<Self> {
        let name = Name::Path(path.into());
        if !matches!(Place::of(path), Place::Path(_)) || fs::symlink_metadata(path).is_ok() {
            return Err(exists(&name));
        }
        let staged = stage(path, &name, 0o600)?;
        Ok(Self {
            sink: Sink::Staged(staged, At::Nothing),
            name,
            text: None,
        })
    }

    /// What it is called.
    pub(crate) fn name(&self) -> Name {
        self.name.clone()
    }

    /// Whether somebody is looking at it.
    pub(crate) fn is_terminal(&self) -> bool {
        matches!(&self.sink, Sink::Stream(file) if file.is_terminal())
    }

    /// Whether it is a stream, so that nothing else can go there.
    pub(crate) fn is_stream(&self) -> bool {
        matches!(self.sink, Sink::Stream(_))
    }

    /// Refuses a terminal, for what is no text.
    pub(crate) fn refuse_terminal(&self) -> Result<()> {
        if self.text.is_some() {
            return Err(terminal::refused("what is sealed is not text"));
        }
        Ok(())
    }

    /// Refuses to write into what is being read, and keeps messages out of what is written.
    fn check_stream(&self, replace: Replace<'_>) -> Result<()> {
        let Sink::Stream(file) = &self.sink else {
            return Ok(());
        };
        let metadata = file
            .metadata()
            .map_err(|error| Failure::of_io("write", &self.name, error))?;
        let Some(identity) = Identity::of(&metadata) else {
            return Ok(());
        };
        let name = &self.name;
        if replace.input.and_then(Input::written_back) == Some(identity) {
            return Err(Failure::usage(format!(
                "{name} is the input, too, and would be destroyed while it is read; name the file with -o, which \
                 replaces it once the output is complete"
            )));
        }
        if metadata.is_file() {
            check_keys(Some(identity), name, replace)?;
        }
        if !file.is_terminal() && !is_nowhere(&metadata) && stands_for_standard_error(identity) {
            warnings::hold();
        }
        Ok(())
    }

    /// Puts a file in its place, after it has reached the disk; has a stream say now what went wrong with it.
    pub(crate) fn finish(self) -> Result<()> {
        let name = self.name;
        match self.sink {
            Sink::Stream(file) => finish_stream(&file).map_err(|error| Failure::of_io("write", &name, error)),
            Sink::Staged(staged, At::Nothing) => staged.put().map_err(|error| match error.kind() {
                io::ErrorKind::AlreadyExists => Failure::changed(format!(
                    "{name} did not exist when this began, and does now; it is left as it is"
                )),
                _ => failed(&name, error),
            }),
            #[cfg(unix)]
            Sink::Staged(staged, At::File(kept)) => {
                kept.put_on(staged.file())
                    .map_err(|error| Failure::of_io("write", &name, error))?;
                if !kept.is_there(staged.target()) {
                    return Err(changed(&name));
                }
                staged.replace().map_err(|error| failed(&name, error))
            }
            #[cfg(not(unix))]
            Sink::Staged(staged, At::File) => staged.replace().map_err(|error| failed(&name, error)),
        }
    }
}

/// What is said of a file that somebody else has changed.
pub(crate) fn changed(name: &Name) -> Failure {
    Failure::changed(format!(
        "{name} was changed by somebody else meanwhile; it is left as it is now"
    ))
}

fn exists(name: &Name) -> Failure {
    Failure::refused(format!(
        "{name} exists, and a key is never overwritten; name another file or move it away"
    ))
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.sink {
            Sink::Stream(file) => match &mut self.text {
                Some(text) => {
                    text.check(bytes)?;
                    let mut rest = bytes;
                    while !rest.is_empty() {
                        let written = super::patient(file, true, |mut file| file.write(rest))?;
                        rest = rest.get(written..).unwrap_or_default();
                    }
                    Ok(bytes.len())
                }
                None => super::patient(file, true, |mut file| file.write(bytes)),
            },
            Sink::Staged(staged, _) => staged.file().write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What the system has taken and not written yet can still fail: on a disk that is full, over a network.
fn finish_stream(file: &File) -> io::Result<()> {
    let metadata = file.metadata()?;
    #[cfg(unix)]
    let is_device = std::os::unix::fs::FileTypeExt::is_block_device(&metadata.file_type());
    #[cfg(not(unix))]
    let is_device = false;
    if !metadata.is_file() && !is_device {
        return Ok(());
    }
    match file.sync_all() {
        Err(error) if cannot_sync(&error) => Ok(()),
        synced => synced,
    }
}

/// Whether there is nothing that could be synced, or nobody to ask.
pub(super) fn cannot_sync(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied
    )
}

fn replacing(
    path: &Path,
    name: &Name,
    access: Access,
    replace: Replace<'_>,
    is_foreign: bool,
) -> Result<Sink> {
    let failed = |error| Failure::of_io("write", name, error);
    match fs::metadata(path) {
        Ok(_) if is_foreign && fs::metadata(path).is_ok_and(|found| found.is_file()) => {
            Err(Failure::refused(format!(
                "{name} is a file that another process has open; name the file itself"
            )))
        }
        Ok(found) if found.is_file() => {
            check_keys(Identity::of(&found), name, replace)?;
            #[cfg(unix)]
            check_not_given(Identity::of(&found), name)?;
            // If there is a link, what it leads to is replaced and not the link.
            let target = fs::canonicalize(path).map_err(failed)?;
            #[cfg(unix)]
            {
                let kept = Kept::of(&target, name, replace.break_links, replace.input)?;
                let staged = stage(&target, name, 0o600)?;
                kept.try_on(staged.file(), name)?;
                Ok(Sink::Staged(staged, At::File(Box::new(kept))))
            }
            #[cfg(not(unix))]
            Ok(Sink::Staged(stage(&target, name, 0o600)?, At::File))
        }
        Ok(found) if found.is_dir() => Err(failed(io::ErrorKind::IsADirectory.into())),
        // A device or named pipe is no file to be replaced.
        Ok(_) => Ok(Sink::Stream(
            File::options().write(true).open(path).map_err(failed)?,
        )),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if fs::symlink_metadata(path).is_ok() {
                return Err(Failure::io(format!(
                    "cannot write {name}: it is a symbolic link that leads nowhere; name what it should lead to"
                )));
            }
            if path.as_os_str().as_encoded_bytes().ends_with(b"/") {
                return Err(failed(io::ErrorKind::NotADirectory.into()));
            }
            let mode = match access {
                Access::Usual => 0o666,
                Access::Private => 0o600,
            };
            Ok(Sink::Staged(stage(path, name, mode)?, At::Nothing))
        }
        Err(error) => Err(failed(error)),
    }
}

fn stage(path: &Path, name: &Name, mode: u32) -> Result<Staged> {
    Staged::new(path, mode).map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Failure::io(format!(
            "cannot write {name}: a new file is made in its directory, and that cannot be written ({error})"
        )),
        _ => failed(name, error),
    })
}

fn failed(name: &Name, error: io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::WouldBlock => Failure::busy(format!("cannot write {name}: {error}; try again")),
        _ => Failure::of_io("write", name, error),
    }
}

/// Refuses to write over the only copy of a key.
fn check_keys(target: Option<Identity>, name: &Name, replace: Replace<'_>) -> Result<()> {
    let key = replace
        .keys
        .iter()
        .find(|key| target.is_some() && key.identity() == target);
    match key {
        Some(key) => Err(Failure::usage(format!(
            "{name} is what {} is read from, and would be overwritten; name another output",
            key.what
        ))),
        None => Ok(()),
    }
}

/// Refuses to replace a file that the shell has opened for writing: what it appends would go to the old one.
#[cfg(unix)]
fn check_not_given(target: Option<Identity>, name: &Name) -> Result<()> {
    for number in 0..64 {
        let Ok(file) = super::descriptors::duplicate(number) else {
            continue;
        };
        let is_target = file
            .metadata()
            .is_ok_and(|metadata| Identity::of(&metadata) == target);
        if is_target && can_write(&file) {
            return Err(Failure::usage(format!(
                "{name} is open as descriptor {number}, too, and replacing it would lose what goes there; name \
                 another output, or leave out the redirection"
            )));
        }
    }
    Ok(())
}

#[cfg(unix)]
fn can_write(file: &File) -> bool {
    use rustix::fs::OFlags;
    rustix::fs::fcntl_getfl(file).is_ok_and(|flags| (flags & OFlags::RWMODE) != OFlags::RDONLY)
}

#[cfg(unix)]
fn stands_for_standard_error(identity: Identity) -> bool {
    super::descriptors::duplicate(2)
        .and_then(|file| file.metadata())
        .is_ok_and(|metadata| Identity::of(&metadata) == Some(identity))
}

#[cfg(not(unix))]
fn stands_for_standard_error(_: Identity) -> bool {
    false
}

/// Whether nobody reads what goes there.
fn is_nowhere(metadata: &fs::Metadata) -> bool {
    !metadata.is_file() && !super::identity::is_used_up(metadata)
}

// The streams of the standard library have buffers of their own, which nobody wipes.

#[cfg(unix)]
fn given(number: i32) -> io::Result<File> {
    let file = super::descriptors::duplicate(number)?;
    if can_write(&file) {
        Ok(file)
    } else {
        Err(io::Error::other("it is open for reading only"))
    }
}

#[cfg(windows)]
fn given(_: i32) -> io::Result<File> {
    use std::os::windows::io::AsHandle;
    Ok(io::stdout().as_handle().try_clone_to_owned()?.into())
}
