//! The command line. Values that may be secret stay strings here and are parsed elsewhere, since the errors
//! of `clap` quote what they refuse.

use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

const ABOUT_KEKS: &str = "\
Keys (--kek, --to):
  env:NAME             32 random bytes as base64 or hex in the environment variable NAME
  file:PATH            the same in a file that only its owner can read
                         ?allow-shared=true  take a file that the group or others can read
  passphrase-env:NAME  a passphrase in the environment variable NAME
                         ?kdf=pbkdf2|argon2id&iterations=N&memory=KIB&passes=N&lanes=N&name=TEXT
                       Without kdf it wraps with PBKDF2 and opens PBKDF2 and Argon2id.
  aws-kms:KEY          a key of AWS KMS by id, ARN or alias/NAME, with AWS's usual credentials
                         ?region=R&endpoint=URL&context=pairs|digest&refresh=SECONDS
  azure-key-vault:https://HOST/keys/NAME[/VERSION]
                       a key of Azure Key Vault or Managed HSM, by AZURE_* variables
                         ?algorithm=RSA-OAEP-256|A256KW&ca=PATH&verify-challenge=off
                         &credential=workload|managed|secret|developer&refresh=SECONDS
  gcp-kms:projects/P/locations/L/keyRings/R/cryptoKeys/K
                       a key of Google Cloud KMS, with Application Default Credentials
                         ?endpoint=URL&credentials=anonymous
  vault-transit:KEY    a key of Vault or OpenBao Transit, at VAULT_ADDR with VAULT_TOKEN
                         ?addr=URL&mount=PATH&namespace=N&mode=encrypt|datakey
                         &auth=token|approle|kubernetes|jwt&role=R
                         &auth-mount=PATH&jwt-file=PATH
  pkcs11:…             a key on a PKCS#11 token, by its RFC 7512 URI:
                         pkcs11:token=T;object=LABEL?module-path=PATH&pin-source=env:VAR
  Without --kek: WAXSEAL_KMS_URI and WAXSEAL_KMS_ALSO_OPEN, or WAXSEAL_KMS_BACKEND with
  WAXSEAL_KMS_KEY_ID or WAXSEAL_MASTER_KEY, name the keys.
  Options begin at the last '?': write another '?' behind a path that has one.

Streams:
  INPUT and OUTPUT are standard input and output where they are absent or '-'. An output file
  takes its place only once it is complete: a command that fails or is interrupted leaves none
  behind, and leaves the file that was there before untouched. A file that is replaced keeps
  its owner and mode; a new file of plaintext or of a key can be read by its owner only.
  `rewrap --in-place` overwrites the wraps alone where the new ones fit the room of the old (see
  --padding), through a journal beside the file, FILE.waxseal-journal. If it is interrupted, run it
  again: it first makes the file whole.
  Standard output cannot be taken back: rely on what came out of it only after exit code 0.

Exit codes:
  0 done, 1 refused or failed, 2 usage";

const ABOUT_INSPECT: &str = "\
No key is needed, and nothing that is shown is authenticated: whoever can write the envelope
can change it.

--json prints one object with these keys, null where there is nothing to say:
  version, kind (attached or detached), suite, chunk_size, session_id (hex), header_bytes,
  plaintext_len, chunk_count, dek_id (hex), threshold, padding, wraps, stored_context.
  Each of wraps: algorithm, algorithm_id, class, provider, kek_id, kek_version, wrapped_len,
  share_index.
  stored_context: digest (hex), keys and, with --show-context, values.";

/// Envelope encryption: seal, open, re-wrap and inspect.
#[derive(Parser)]
#[command(name = "waxseal", version, after_long_help = ABOUT_KEKS)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Make a fresh key.
    Keygen(Keygen),
    /// Seal a file or stream.
    #[command(after_long_help = ABOUT_KEKS)]
    Seal(Seal),
    /// Open a sealed file or stream.
    #[command(after_long_help = ABOUT_KEKS)]
    Open(Open),
    /// Wrap an envelope's data key anew. The payload is copied as it is, neither opened nor verified.
    #[command(after_long_help = ABOUT_KEKS)]
    Rewrap(Rewrap),
    /// Show what an envelope says of itself.
    #[command(after_long_help = ABOUT_INSPECT)]
    Inspect(Inspect),
    /// Wrap and unwrap a canary under each key, and show what works.
    #[command(after_long_help = ABOUT_KEKS)]
    Doctor(Doctor),
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
    pub(crate) streams: Streams,
}

#[derive(Args)]
pub(crate) struct Open {
    /// A key to open with; may be repeated.
    #[arg(long, value_name = "URI", action = ArgAction::Append)]
    pub(crate) kek: Vec<String>,
    #[command(flatten)]
    pub(crate) context: Context,
    #[command(flatten)]
    pub(crate) aad: Aad,
    #[command(flatten)]
    pub(crate) threads: Threads,
    #[command(flatten)]
    pub(crate) streams: Streams,
}

#[derive(Args)]
pub(crate) struct Rewrap {
    /// A key to open with; may be repeated. Without --to the first one wraps, too.
    #[arg(long, value_name = "URI", action = ArgAction::Append)]
    pub(crate) kek: Vec<String>,
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
    /// Put the result in the place of INPUT. Where the new wraps fit, only they are written.
    #[arg(long, requires = "input", conflicts_with = "output")]
    pub(crate) in_place: bool,
    #[command(flatten)]
    pub(crate) streams: Streams,
}

#[derive(Args)]
pub(crate) struct Inspect {
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// Show the values of a stored context, and not its keys alone.
    #[arg(long)]
    pub(crate) show_context: bool,
    /// Read the header only: for the front of an envelope. Says nothing of the payload's length.
    #[arg(long)]
    pub(crate) header_only: bool,
    /// The envelope; standard input where absent or '-'.
    #[arg(value_name = "INPUT")]
    pub(crate) input: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct Doctor {
    /// A key to try; may be repeated. By default those of the environment.
    #[arg(long, value_name = "URI", action = ArgAction::Append)]
    pub(crate) kek: Vec<String>,
    #[command(flatten)]
    pub(crate) context: Context,
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
    /// Text to bind the message to, at most 65536 bytes. @FILE takes the bytes of a file. Opening needs the
    /// same.
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
pub(crate) struct Streams {
    /// The input; standard input where absent or '-'.
    #[arg(value_name = "INPUT")]
    pub(crate) input: Option<PathBuf>,
    /// The output; standard output where absent or '-'.
    #[arg(short, long, value_name = "OUTPUT")]
    pub(crate) output: Option<PathBuf>,
}
