//! The command line. Values that may be secret stay strings here and are parsed elsewhere, since the errors
//! of `clap` quote what they refuse.

#[cfg(feature = "audit")]
mod audit;
#[cfg(feature = "fleet")]
pub(crate) mod job;
#[cfg(feature = "ring")]
mod keys;
#[cfg(feature = "page")]
mod page;
#[cfg(all(feature = "audit", feature = "ring"))]
mod review;
#[cfg(feature = "ring")]
mod ring;

use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use waxseal::Builder;
use waxseal::blocking::Sealer;

use crate::failure::Result;
use crate::help;
use crate::kek::Keks;
#[cfg(feature = "audit")]
pub(crate) use audit::*;
#[cfg(feature = "ring")]
pub(crate) use keys::*;
#[cfg(feature = "page")]
pub(crate) use page::*;
#[cfg(all(feature = "audit", feature = "ring"))]
pub(crate) use review::*;
#[cfg(feature = "ring")]
use ring::ABOUT_EXPLAIN;
#[cfg(feature = "ring")]
pub(crate) use ring::*;

const ABOUT_INSPECT: &str = "\
No key is needed, and nothing that is shown is authenticated: whoever can write the envelope
can change it.

--json prints one object with these keys, null if there is nothing to say:
  schema, version, kind (attached or detached), suite, chunk_size, session_id (hex), header_bytes,
  plaintext_len, chunk_count, dek_id (hex), threshold, padding, wraps, stored_context.
  Each of wraps: algorithm, algorithm_id, class, provider, kek_id, kek_version, wrapped_len,
  share_index.
  stored_context: digest (hex), keys and, with --show-context, values.";

/// Envelope encryption: seal, open, re-wrap and inspect.
#[derive(Parser)]
#[command(name = "waxseal", version, long_version = help::version(), after_long_help = help::keys())]
pub(crate) struct Arguments {
    /// Print results, warnings and errors as JSON.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Make a fresh key.
    Keygen(Keygen),
    /// Seal a file or stream.
    #[command(after_long_help = help::keys())]
    Seal(Seal),
    /// Open a sealed file or stream.
    #[command(after_long_help = help::keys())]
    Open(Open),
    /// Wrap an envelope's data key anew. The payload is copied as it is, neither opened nor verified.
    #[command(after_long_help = help::keys())]
    Rewrap(Rewrap),
    /// Show what an envelope says of itself.
    #[command(after_long_help = ABOUT_INSPECT)]
    Inspect(Inspect),
    /// Say what a profile demands and an envelope does not have, and which key lacks it. No key is needed.
    #[cfg(feature = "ring")]
    #[command(after_long_help = ABOUT_EXPLAIN)]
    Explain(Explain),
    /// Wrap and unwrap a canary under each key, and show what works.
    #[command(after_long_help = help::keys())]
    Doctor(Doctor),
    /// Make a key ring and look after it.
    #[cfg(feature = "ring")]
    Ring(Box<Ring>),
    /// Create, rotate and end the keys of a ring.
    #[cfg(feature = "ring")]
    Keys(Keys),
    /// Count the envelopes under each key of a ring, without any key, and sign what was found.
    #[cfg(feature = "ring")]
    Census(Census),
    /// Verify an audit log, prove what is in it, and show it. No key is needed.
    #[cfg(feature = "audit")]
    Audit(Audit),
    /// Serve a page that shows a ring and its audit logs to people. It changes nothing.
    #[cfg(feature = "page")]
    #[command(after_long_help = ABOUT_PAGE)]
    Page(Page),
    /// Write what was done under a key of a ring, after an incident: by whom and for what, and whether anything was released after its
    /// revocation.
    #[cfg(all(feature = "audit", feature = "ring"))]
    #[command(after_long_help = ABOUT_REVIEW)]
    Review(Review),
}

#[derive(Args)]
pub(crate) struct Keygen {
    /// How the key is written.
    #[arg(long, value_enum, default_value_t = KeyFormat::Base64)]
    pub(crate) format: KeyFormat,
    /// Create this file, which only its owner can read. A file that exists is never overwritten.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Print the key's id, as envelopes have it, on standard error.
    #[arg(long)]
    pub(crate) print_id: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum KeyFormat {
    Base64,
    Hex,
}

#[derive(Args)]
pub(crate) struct Seal {
    /// The key that wraps. Given again: checked, and not used for sealing.
    #[arg(long, value_name = "URI", action = ArgAction::Append)]
    pub(crate) kek: Vec<String>,
    /// Use the keys of this ring: its ring.toml. Without --kek and this, WAXSEAL_RING names it.
    #[cfg(feature = "ring")]
    #[arg(long, value_name = "FILE", conflicts_with = "kek")]
    pub(crate) ring: Option<PathBuf>,
    #[cfg(feature = "ring")]
    #[command(flatten)]
    pub(crate) actor: Actor,
    #[cfg(feature = "ring")]
    #[command(flatten)]
    pub(crate) profile: Profile,
    #[command(flatten)]
    pub(crate) context: Context,
    #[command(flatten)]
    pub(crate) aad: Aad,
    /// Store the context in the envelope, in the clear, for re-wrapping without knowing it.
    #[arg(long)]
    pub(crate) store_context: bool,
    /// What seals the payload.
    #[arg(long, value_parser = ["aes-256-gcm", "chacha20-poly1305"], default_value = "aes-256-gcm")]
    pub(crate) suite: String,
    /// The size of a chunk: a power of two from 1024 to 16777216.
    #[arg(long, value_name = "BYTES", default_value = "65536")]
    pub(crate) chunk_size: String,
    #[command(flatten)]
    pub(crate) wraps: NewWraps,
    #[command(flatten)]
    pub(crate) threads: Threads,
    #[command(flatten)]
    pub(crate) calls: Calls,
    #[cfg(feature = "audit")]
    #[command(flatten)]
    pub(crate) log: Log,
    #[command(flatten)]
    pub(crate) streams: Streams,
}

#[derive(Args)]
pub(crate) struct Open {
    /// A key to open with; may be repeated.
    #[arg(long, value_name = "URI", action = ArgAction::Append)]
    pub(crate) kek: Vec<String>,
    /// Use the keys of this ring: its ring.toml. Without --kek and this, WAXSEAL_RING names it.
    #[cfg(feature = "ring")]
    #[arg(long, value_name = "FILE", conflicts_with = "kek")]
    pub(crate) ring: Option<PathBuf>,
    #[cfg(feature = "ring")]
    #[command(flatten)]
    pub(crate) actor: Actor,
    #[cfg(feature = "ring")]
    #[command(flatten)]
    pub(crate) profile: Profile,
    #[command(flatten)]
    pub(crate) context: Context,
    #[command(flatten)]
    pub(crate) aad: Aad,
    #[command(flatten)]
    pub(crate) threads: Threads,
    #[command(flatten)]
    pub(crate) calls: Calls,
    #[cfg(feature = "audit")]
    #[command(flatten)]
    pub(crate) log: Log,
    #[command(flatten)]
    pub(crate) streams: Streams,
}

#[derive(Args)]
pub(crate) struct Rewrap {
    /// A key to open with; may be repeated. A single one wraps, too, if there is no --to.
    #[arg(long, value_name = "URI", action = ArgAction::Append)]
    pub(crate) kek: Vec<String>,
    /// Use the keys of this ring: its ring.toml. Without --kek and this, WAXSEAL_RING names it.
    #[cfg(feature = "ring")]
    #[arg(long, value_name = "FILE", conflicts_with = "kek")]
    pub(crate) ring: Option<PathBuf>,
    #[cfg(feature = "ring")]
    #[command(flatten)]
    pub(crate) actor: Actor,
    #[cfg(feature = "ring")]
    #[command(flatten)]
    pub(crate) profile: Profile,
    /// Allow new wraps that still miss a requirement of the profile, and report it. None lacks what the wrap that
    /// opened has.
    #[cfg(feature = "ring")]
    #[arg(long)]
    pub(crate) fall_short: bool,
    /// An approval, which `waxseal ring approve` made, to use a key of the ring that is revoked or retired; may be
    /// repeated.
    #[cfg(feature = "ring")]
    #[arg(long, value_name = "FILE", action = ArgAction::Append)]
    pub(crate) approval: Vec<PathBuf>,
    /// A key to wrap with. Given again: each wraps, and any of them opens.
    #[arg(long, value_name = "URI", action = ArgAction::Append)]
    pub(crate) to: Vec<String>,
    #[command(flatten)]
    pub(crate) context: Context,
    /// Take the context from the envelope, where it was stored.
    #[arg(long, conflicts_with = "context")]
    pub(crate) use_stored_context: bool,
    /// Leave out the wraps of keys that are not given here. Without this they stay.
    #[arg(long)]
    pub(crate) drop_unknown: bool,
    /// Allow that fewer keys open the envelope afterwards than before.
    #[arg(long)]
    pub(crate) allow_fewer: bool,
    /// Allow a wrap of a weaker class than the one that opened: a classical public key for a symmetric key.
    #[arg(long)]
    pub(crate) allow_weaker: bool,
    #[command(flatten)]
    pub(crate) wraps: NewWraps,
    /// Put the result in the place of INPUT. If the new wraps fit, only they are written.
    #[arg(long, requires = "input", conflicts_with = "output")]
    pub(crate) in_place: bool,
    /// Do not say on standard error which wraps were kept, replaced and dropped.
    #[arg(short, long)]
    pub(crate) quiet: bool,
    #[command(flatten)]
    pub(crate) calls: Calls,
    #[cfg(feature = "audit")]
    #[command(flatten)]
    pub(crate) log: Log,
    #[cfg(feature = "fleet")]
    #[command(flatten)]
    pub(crate) job: job::Job,
    #[command(flatten)]
    pub(crate) streams: Streams,
}

#[cfg(feature = "fleet")]
impl Rewrap {
    /// The directory, or the description of a store, if INPUT is one.
    pub(crate) fn store(&self) -> Option<&PathBuf> {
        let input = self.streams.input.as_ref();
        input.filter(|path| crate::fleet::is_named(path))
    }
}

#[derive(Args)]
pub(crate) struct Inspect {
    /// Show the values of a stored context, and not its keys alone.
    #[arg(long)]
    pub(crate) show_context: bool,
    /// Read the header only: for the front of an envelope. Says nothing of the payload's length.
    #[arg(long)]
    pub(crate) header_only: bool,
    /// The envelope; standard input if absent or '-'.
    #[arg(value_name = "INPUT")]
    pub(crate) input: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct Doctor {
    /// A key to try; may be repeated. By default those of the environment.
    #[arg(long, value_name = "URI", action = ArgAction::Append)]
    pub(crate) kek: Vec<String>,
    /// Use the keys of this ring: its ring.toml. Without --kek and this, WAXSEAL_RING names it.
    #[cfg(feature = "ring")]
    #[arg(long, value_name = "FILE", conflicts_with = "kek")]
    pub(crate) ring: Option<PathBuf>,
    #[cfg(feature = "ring")]
    #[command(flatten)]
    pub(crate) actor: Actor,
    #[cfg(feature = "audit")]
    #[command(flatten)]
    pub(crate) log: Log,
    #[command(flatten)]
    pub(crate) context: Context,
    /// Give up on a key after this many seconds of waiting for its key manager.
    #[arg(long, value_name = "SECONDS")]
    pub(crate) timeout: Option<String>,
    /// Report a key or version that expires within this many days.
    #[arg(long, value_name = "DAYS", default_value = "30")]
    pub(crate) within: String,
    /// Show older versions and do not report them: they were retired, and no data is under them any more.
    #[arg(long)]
    pub(crate) ignore_older: bool,
}

#[derive(Args)]
pub(crate) struct Context {
    /// A pair of the encryption context; may be repeated. Without any, the context is empty. Opening needs
    /// the same pairs.
    #[arg(long, value_name = "KEY=VALUE", action = ArgAction::Append)]
    pub(crate) context: Vec<String>,
}

#[derive(Args)]
pub(crate) struct Aad {
    /// Text to bind the message to, at most 65536 bytes. @FILE takes the bytes of a file, @- those of standard
    /// input. Opening needs the same.
    #[arg(long, value_name = "TEXT|@FILE")]
    pub(crate) aad: Option<String>,
}

#[derive(Args)]
pub(crate) struct NewWraps {
    /// Reserve bytes in the header, for later re-wraps to a larger key without moving the payload. A re-wrap
    /// keeps what was reserved, unless told otherwise here.
    #[arg(long, value_name = "BYTES", visible_alias = "reserve")]
    pub(crate) padding: Option<String>,
    /// Leave the key's id out of the envelope. Opening then tries every key it is given.
    #[arg(long)]
    pub(crate) hide_kek_id: bool,
}

#[derive(Args)]
pub(crate) struct Threads {
    /// Use this many threads, 1 to 1024. More than one keeps some megabytes more in memory, or two chunks for each
    /// thread where that is more.
    #[arg(long, value_name = "N", default_value = "1")]
    pub(crate) threads: String,
}

#[derive(Args)]
pub(crate) struct Calls {
    /// Give up after this many seconds of waiting for a key manager. Each of its calls is counted for itself.
    #[arg(long, value_name = "SECONDS")]
    pub(crate) timeout: Option<String>,
    /// Do not read back the first wrap under a key, for credentials that may wrap and not unwrap. Nobody then knows
    /// that what is sealed can be opened.
    #[arg(long)]
    pub(crate) no_read_back: bool,
}

#[derive(Args)]
pub(crate) struct Streams {
    /// The input; standard input if absent or '-'.
    #[arg(value_name = "INPUT")]
    pub(crate) input: Option<PathBuf>,
    /// The output; standard output if absent or '-'. A file that exists is replaced.
    #[arg(short, long, value_name = "OUTPUT")]
    pub(crate) output: Option<PathBuf>,
    /// Replace a file that has other names (hard links), too: they keep the old content.
    #[arg(long)]
    pub(crate) break_links: bool,
}

macro_rules! ring_of {
    ($($options:ty)*) => {$(
        impl $options {
            /// The ring that is named, if any.
            pub(crate) fn ring(&self) -> Option<PathBuf> {
                #[cfg(feature = "ring")]
                return crate::kek::ring(self.ring.as_ref());
                #[cfg(not(feature = "ring"))]
                None
            }
        }
    )*};
}

ring_of!(Seal Open Rewrap Doctor);

macro_rules! demands_of {
    ($($options:ty)*) => {$(
        impl $options {
            /// The keys, with the profiles that the command line names.
            pub(crate) fn keks(&self) -> Result<Keks> {
                let keks = crate::kek::parse(&self.kek, self.ring())?;
                #[cfg(feature = "ring")]
                let keks = keks.restricted_by(&self.profile);
                Ok(keks)
            }

            /// Lets what a profile demands hold.
            pub(crate) fn demanding(&self, builder: Builder, keks: &Keks) -> Result<Builder> {
                #[cfg(feature = "ring")]
                return crate::ring::demand(builder, keks, &self.profile);
                #[cfg(not(feature = "ring"))]
                {
                    let _ = keks;
                    Ok(builder)
                }
            }
        }
    )*};
}

demands_of!(Seal Open Rewrap);

macro_rules! actor_of {
    ($($options:ty)*) => {$(
        impl $options {
            /// The same sealer in the name of whoever uses a ring or is audited.
            pub(crate) fn acting(&self, sealer: Sealer, keks: &Keks) -> Result<Sealer> {
                #[cfg(all(feature = "audit", feature = "ring"))]
                let is_told = self.log.is_given();
                #[cfg(not(all(feature = "audit", feature = "ring")))]
                let is_told = false;
                #[cfg(feature = "ring")]
                if is_told || matches!(keks, Keks::Ring(..)) {
                    return Ok(sealer.acting_as(&crate::ring::actor(&self.actor)?));
                }
                let _ = (keks, is_told);
                Ok(sealer)
            }

            /// The log of the command, if it has one. It ends when it is dropped.
            #[cfg(feature = "audit")]
            pub(crate) fn audit(&self) -> Result<crate::audit::Auditing> {
                crate::audit::Auditing::of(&self.log)
            }
        }
    )*};
}

actor_of!(Seal Open Rewrap);
