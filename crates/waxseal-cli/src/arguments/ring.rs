//! The command line of rings: `ring` and `census`, and what all commands of rings share.

use std::path::PathBuf;

use clap::{ArgAction, ArgGroup, Args, Subcommand};

/// A reason stands in a history for good, so it says something.
pub(super) fn reason() -> clap::builder::NonEmptyStringValueParser {
    clap::builder::NonEmptyStringValueParser::new()
}

/// Which ring.
#[derive(Args, Clone, Default)]
pub(crate) struct RingFile {
    /// The configuration of the ring. By default the file that WAXSEAL_RING names, or else ring.toml.
    #[arg(long = "ring", id = "ring_file", value_name = "FILE", global = true)]
    pub(crate) file: Option<PathBuf>,
}

/// Who does it.
#[derive(Args, Clone, Default)]
pub(crate) struct Actor {
    /// The person or job that does it, for the history. By default WAXSEAL_ACTOR, or else the login name.
    #[arg(long, value_name = "WHO", global = true)]
    pub(crate) actor: Option<String>,
}

/// How the keys of a ring, or of the command line, are restricted, and which scope of a ring serves others.
#[derive(Args, Clone, Default)]
pub(crate) struct Profile {
    /// Refuse what this profile forbids: classes of keys, missing wraps, context keys and more. The scope and the context
    /// may demand more.
    #[arg(long, value_name = "NAME")]
    pub(crate) profile: Option<String>,
    /// The file of profiles. Without it, the one that the ring's configuration names.
    #[arg(long, value_name = "FILE")]
    pub(crate) profiles: Option<PathBuf>,
    /// Let the keys of this scope of the ring serve a context whose own scope has never had a key. The ring's settings must
    /// allow it. Without it, the one that the ring's configuration names.
    #[arg(long, value_name = "SCOPE")]
    pub(crate) otherwise: Option<String>,
}

pub(super) const ABOUT_EXPLAIN: &str = "\
Nothing that the envelope says is authenticated. What a key is comes from the ring's records. Exits
with 10 if something is not met.

--json prints one object with these keys:
  schema, command, input, profiles (those that hold), met, wraps, opening, envelope, sealing.
  Each of wraps: provider, kek_id, kek_version, key, slot, state, class, protection, unmet,
  rewrapped_from (yes, with-approval, no, or null if the ring has no such key).
  opening: why it is not opened. envelope: what it lacks as a whole. sealing: what the keys lack
  that wrap now, or null if none does.
  Each of unmet, opening, envelope and sealing: requirement, key, detail.";

#[derive(Args)]
pub(crate) struct Explain {
    #[command(flatten)]
    pub(crate) ring: RingFile,
    #[command(flatten)]
    pub(crate) profile: Profile,
    #[command(flatten)]
    pub(crate) context: super::Context,
    /// Take the context from the envelope, where it was stored.
    #[arg(long, conflicts_with = "context")]
    pub(crate) use_stored_context: bool,
    /// The envelope; standard input if absent or '-'. The header is enough.
    #[arg(value_name = "INPUT")]
    pub(crate) input: Option<PathBuf>,
}

/// Whether somebody is asked.
#[derive(Args, Clone, Default)]
pub(crate) struct Consent {
    /// Do it without asking.
    #[arg(long)]
    pub(crate) yes: bool,
}

#[derive(Args)]
pub(crate) struct Ring {
    #[command(flatten)]
    pub(crate) ring: RingFile,
    #[command(flatten)]
    pub(crate) actor: Actor,
    #[cfg(feature = "audit")]
    #[command(flatten)]
    pub(crate) log: super::Log,
    #[command(subcommand)]
    pub(crate) command: RingCommand,
}

#[derive(Subcommand)]
pub(crate) enum RingCommand {
    /// Make a ring: its inventory, its authority and its configuration.
    Init(Init),
    /// Change the settings, which the authority signs.
    Set(Set),
    /// Show the settings, how many keys there are, what is due and who reads.
    Status,
    /// Verify every record: signatures, digests, deleted and added records.
    Check(Check),
    /// Tell what a move would do: which scopes, how many envelopes, which readers lag, what would refuse it. Changes nothing, and
    /// asks no key manager.
    Simulate(Simulate),
    /// Report on all keys, for an auditor: by scope, algorithm and state, what is due, and with the receipts of a census what is still under
    /// which key, what would be lost with it, and what a quantum computer would open. Markdown, or JSON with --json.
    Report(Report),
    /// Write the keys as a cryptography bill of materials: CycloneDX 1.6, JSON.
    Cbom(Report),
    /// Show the time by the inventory, by this machine and by the ring; or set the ring's back.
    Clock(Clock),
    /// Verify the whole ring and write it to a file. Branch keys are in it, wrapped; it holds no other secret. Where the
    /// authority is, a ring with branch keys remembers it.
    Export(Transfer),
    /// Fill an empty inventory from an export.
    Import(Import),
    /// Replace the authority, whose private half signs every change.
    Authority(Authority),
    /// Wrap branch keys under the active key of their parent scope, after it was rotated. Can be killed, and run again: it goes on
    /// with what is left.
    RewrapBranches(RewrapBranches),
    /// Delete first keys that nobody believes: whoever may insert rows into the inventory can have made them. Until then nobody uses
    /// their scopes, and the parent of first keys does not end. `ring check` names them.
    DropUnbelieved(DropUnbelieved),
    /// Make the key of a provisioner, which signs the first key of a scope and nothing else. It counts after `ring set
    /// --provisioner` has listed it.
    ProvisionerKey(SigningKey),
    /// Make a census key, which signs census receipts and nothing else, for a machine without the authority. Its receipts count
    /// after `ring set --census-key` has listed it.
    CensusKey(SigningKey),
    /// Make the key of an approver, which signs approvals and nothing else. They count after `ring set --approver` has listed
    /// it.
    ApproverKey(SigningKey),
    /// Approve that a re-wrap uses a key that is revoked or retired: sign it, for one key and until a time.
    Approve(Approve),
}

#[cfg(feature = "audit")]
impl RingCommand {
    /// Whether an audit log has something to say about it.
    pub(crate) fn is_audited(&self) -> bool {
        matches!(
            self,
            Self::Init(_)
                | Self::Set(_)
                | Self::Clock(_)
                | Self::Export(_)
                | Self::Import(_)
                | Self::Authority(_)
                | Self::RewrapBranches(_)
                | Self::DropUnbelieved(_)
                | Self::Approve(_)
        )
    }
}

#[derive(Args)]
pub(crate) struct Init {
    /// Where the inventory is: sqlite:PATH, or postgres-env:VARIABLE[/NAME] where the variable has the URL of the database, and
    /// NAME is one of its rings. By default a SQLite file beside the configuration, named after it: ring.db.
    #[arg(long, value_name = "STORE")]
    pub(crate) store: Option<String>,
    /// Seal the private half of the authority under this key. By default it is in a file that only its owner can read.
    #[arg(long, value_name = "KEK-URI")]
    pub(crate) authority_kek: Option<String>,
    /// Register a key that wraps data already, as the active key of the scope /.
    #[arg(long, value_name = "KEK-URI")]
    pub(crate) adopt: Option<String>,
    /// Allow the ring to name such keys: a scheme, or a key URI with a * at the end of its place; may be repeated. Key files of
    /// the ring and the key of --adopt are allowed anyway.
    #[arg(long, value_name = "PATTERN", action = ArgAction::Append)]
    pub(crate) allow: Vec<String>,
    /// The name of the processes of this configuration in heartbeats: `ring set --readers` can demand their reports.
    #[arg(long, value_name = "NAME")]
    pub(crate) reader: Option<String>,
    #[command(flatten)]
    pub(crate) settings: Settings,
}

#[derive(Args)]
pub(crate) struct Set {
    #[command(flatten)]
    pub(crate) settings: Settings,
    /// With --remove-provisioner, because somebody else has its private half and goes on making keys: take over what was made until now,
    /// and let what comes after that count no more. What was sealed under such keys does not open. Their scopes are listed.
    #[arg(long, requires = "remove_provisioner")]
    pub(crate) give_up_later_keys: bool,
}

#[derive(Args)]
pub(crate) struct Settings {
    /// The scope that a context belongs to, for example tenant/{tenant}. By default every context belongs to /.
    #[arg(long, value_name = "TEMPLATE")]
    pub(crate) scope_template: Option<String>,
    /// A scope whose keys may serve contexts whose own scope has never had a key, in processes that name it with
    /// --otherwise: / for example. May be repeated, and replaces the list. Empty: none.
    #[arg(long, value_name = "SCOPE", action = ArgAction::Append)]
    pub(crate) otherwise: Vec<String>,
    /// How long a process seals after it last read the inventory. By default PT60S.
    #[arg(long, value_name = "PERIOD")]
    pub(crate) max_stale: Option<String>,
    /// How long a process opens after it last read the inventory. Never shorter than --max-stale, and by default the same.
    #[arg(long, value_name = "PERIOD")]
    pub(crate) max_stale_open: Option<String>,
    /// How old a data key may get, in caches and handles. By default PT5M.
    #[arg(long, value_name = "PERIOD")]
    pub(crate) lease_age: Option<String>,
    /// How long a stream may go on after the end of its lease. By default 12 times the --lease-age of a new ring, and at most PT1H.
    #[arg(long, value_name = "PERIOD")]
    pub(crate) stream_age: Option<String>,
    /// How long a value that was written to a store may be invisible to a census. By default PT0S.
    #[arg(long, value_name = "PERIOD")]
    pub(crate) store_delay: Option<String>,
    /// How far the clock of the inventory and the clock of a machine that signs may be apart. By default PT5M.
    #[arg(long, value_name = "PERIOD")]
    pub(crate) clock_tolerance: Option<String>,
    /// A place that a census must have scanned before a key is retired or destroyed: files:PATH, store:NAME,
    /// dek-store:NAME or branch-keys; may be repeated, and replaces the list. Empty: none.
    #[arg(long, value_name = "PLACE", action = ArgAction::Append)]
    pub(crate) must_cover: Vec<String>,
    /// What retires a deprecated key.
    #[arg(long, value_parser = ["evidence", "overlap-end"])]
    pub(crate) retire: Option<String>,
    /// How long a key waits before it is destroyed. By default P7D.
    #[arg(long, value_name = "PERIOD")]
    pub(crate) cooling_off: Option<String>,
    /// The cadences of keys that are created without one, by what they are for.
    #[arg(long, value_parser = ["baseline-prod", "baseline-nonprod", "none"])]
    pub(crate) preset: Option<String>,
    /// The cadence of keys that are created without one, if there is no preset. By default P90D.
    #[arg(long, value_name = "PERIOD")]
    pub(crate) cadence: Option<String>,
    /// The overlap of keys that are created without one. By default PT24H.
    #[arg(long, value_name = "PERIOD")]
    pub(crate) overlap: Option<String>,
    /// A reader that must have tried a successor before it is promoted: NAME[=PUBLIC-KEY][,SCOPE]…, with the key that
    /// signs its heartbeats, and the scopes that it serves (without: all). May be repeated, and replaces the list.
    /// Empty: none.
    #[arg(long, value_name = "READER", action = ArgAction::Append)]
    pub(crate) readers: Vec<String>,
    /// Whether a process that has the key of a provisioner makes the first key of a scope when it meets the scope: a branch key under the
    /// active key of --provision-parent. never: no more are made, and those that were made are used on.
    #[arg(long, value_parser = ["on-first-use", "never"])]
    pub(crate) provision: Option<String>,
    /// The scope whose active key wraps the keys that are made on first use. By default /.
    #[arg(long, value_name = "SCOPE")]
    pub(crate) provision_parent: Option<String>,
    /// Add a provisioner: the public half that `ring provisioner-key` prints; may be repeated.
    #[arg(long, value_name = "PUBLIC-KEY", action = ArgAction::Append)]
    pub(crate) provisioner: Vec<String>,
    /// Remove this provisioner, after --provision never and a tick that has taken over what was made; may be repeated.
    #[arg(long, value_name = "PUBLIC-KEY", action = ArgAction::Append)]
    pub(crate) remove_provisioner: Vec<String>,
    /// Add a census key, which may sign receipts: the public half that `ring census-key` prints; may be repeated.
    #[arg(long, value_name = "PUBLIC-KEY", action = ArgAction::Append)]
    pub(crate) census_key: Vec<String>,
    /// Remove this census key. Receipts that it has signed do not count anymore; may be repeated.
    #[arg(long, value_name = "PUBLIC-KEY", action = ArgAction::Append)]
    pub(crate) remove_census_key: Vec<String>,
    /// Add an approver, whose approvals let a re-wrap use a revoked or retired key: the public half that `ring approver-key`
    /// prints; may be repeated.
    #[arg(long, value_name = "PUBLIC-KEY", action = ArgAction::Append)]
    pub(crate) approver: Vec<String>,
    /// Remove this approver. What it has approved does not count anymore; may be repeated.
    #[arg(long, value_name = "PUBLIC-KEY", action = ArgAction::Append)]
    pub(crate) remove_approver: Vec<String>,
}

#[derive(Args)]
pub(crate) struct Check {
    /// Refuse a ring that is older than this mark: one that `ring check` or `ring export` printed, or that is in the mark file of
    /// another machine.
    #[arg(long, value_name = "REVISION:HEX")]
    pub(crate) mark: Option<String>,
}

#[derive(Args)]
#[command(group(ArgGroup::new("move").required(true).args(["retire", "revoke", "shred", "destroy", "rotate"])))]
pub(crate) struct Simulate {
    /// What `keys retire` of this key would do.
    #[arg(long, value_name = "ID")]
    pub(crate) retire: Option<String>,
    /// What `keys revoke` of this key would do.
    #[arg(long, value_name = "ID")]
    pub(crate) revoke: Option<String>,
    /// What `keys shred` of this scope would do.
    #[arg(long, value_name = "SCOPE")]
    pub(crate) shred: Option<String>,
    /// What `keys destroy` of this key would do.
    #[arg(long, value_name = "ID")]
    pub(crate) destroy: Option<String>,
    /// What `keys rotate` of this key would do.
    #[arg(long, value_name = "ID")]
    pub(crate) rotate: Option<String>,
    /// A census receipt; may be repeated.
    #[arg(long, value_name = "FILE", action = ArgAction::Append)]
    pub(crate) receipt: Vec<PathBuf>,
    /// Let the receipts count though their censuses saw not one envelope.
    #[arg(long, requires = "receipt")]
    pub(crate) allow_empty: bool,
}

#[derive(Args)]
pub(crate) struct SigningKey {
    /// A new file for the private half, which only its owner can read.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
}

#[derive(Args)]
pub(crate) struct Approve {
    /// The key that a re-wrap may use, as `keys list` shows it.
    #[arg(long, value_name = "ID")]
    pub(crate) key: String,
    /// The ticket or the incident.
    #[arg(long, value_name = "TEXT", value_parser = reason())]
    pub(crate) ticket: String,
    /// When it ends: a time such as 2026-11-27T18:00:00Z, or a period from now such as PT8H. At most a week.
    #[arg(long, value_name = "TIME")]
    pub(crate) expires: String,
    /// The private half of an approver, which `ring approver-key` made and the settings list.
    #[arg(long, value_name = "FILE")]
    pub(crate) signer: PathBuf,
    /// Why.
    #[arg(long, value_name = "TEXT", value_parser = reason())]
    pub(crate) reason: Option<String>,
    /// A new file for the approval. It holds no secret.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
}

#[derive(Args)]
pub(crate) struct RewrapBranches {
    /// Only branch keys whose parent is of this scope.
    #[arg(long, value_name = "SCOPE")]
    pub(crate) scope: Option<String>,
    /// Stop after so many. The next run goes on.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) limit: Option<u64>,
    /// Unwrap and wrap so many at the same time: 1 to 64.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64), default_value = "8")]
    pub(crate) at_once: u16,
    /// Also under a parent that is not in hardware, or classical, where the former one was better. The branch keys are no better
    /// from then on.
    #[arg(long)]
    pub(crate) allow_weaker: bool,
    /// Show no progress.
    #[arg(long)]
    pub(crate) quiet: bool,
}

#[derive(Args)]
pub(crate) struct DropUnbelieved {
    /// Write what is deleted to this file, which must not exist: one line of JSON for each row. Keep it until you know that nothing was
    /// sealed under one of them.
    #[arg(long, value_name = "FILE")]
    pub(crate) save: PathBuf,
    /// Only those of this scope.
    #[arg(long, value_name = "SCOPE")]
    pub(crate) scope: Option<String>,
    /// This one, even if it may be a key; may be repeated.
    #[arg(long, value_name = "ID", action = ArgAction::Append)]
    pub(crate) record: Vec<String>,
    #[command(flatten)]
    pub(crate) consent: Consent,
}

#[derive(Args)]
pub(crate) struct Report {
    /// A census receipt; may be repeated, for places that are not the same.
    #[arg(long, value_name = "FILE", action = ArgAction::Append)]
    pub(crate) receipt: Vec<PathBuf>,
    /// Let the receipts count though their censuses saw not one envelope.
    #[arg(long, requires = "receipt")]
    pub(crate) allow_empty: bool,
}

#[derive(Args)]
pub(crate) struct Clock {
    /// Set the ring's time back to the present, after a change was signed by a clock that was ahead. The clocks must be right
    /// now. Keys with dates of the future have them counted anew from now. The settings keep who did it and why.
    #[arg(long, requires = "reason")]
    pub(crate) correct: bool,
    /// Why.
    #[arg(long, value_name = "TEXT", requires = "correct")]
    pub(crate) reason: Option<String>,
    #[command(flatten)]
    pub(crate) consent: Consent,
}

#[derive(Args)]
pub(crate) struct Transfer {
    /// The file of the export. A file that exists is replaced.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
}

#[derive(Args)]
pub(crate) struct Import {
    /// The file of the export.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) consent: Consent,
}

#[derive(Args)]
pub(crate) struct Authority {
    #[command(subcommand)]
    pub(crate) command: AuthorityCommand,
}

#[derive(Subcommand)]
pub(crate) enum AuthorityCommand {
    /// Make another authority, sign every record anew, and replace the private half of the former authority.
    Rotate(Consent),
}

#[derive(Args)]
pub(crate) struct Census {
    #[command(flatten)]
    pub(crate) ring: RingFile,
    #[command(flatten)]
    pub(crate) actor: Actor,
    #[cfg(feature = "audit")]
    #[command(flatten)]
    pub(crate) log: super::Log,
    /// Files, folders with everything in them, and .toml files that describe stores (of rows or objects, as for `rewrap`).
    #[arg(value_name = "PATH", required = true)]
    pub(crate) paths: Vec<PathBuf>,
    /// Where the signed receipt is written. A file that exists is replaced.
    #[arg(long, value_name = "FILE")]
    pub(crate) receipt: PathBuf,
    /// Sign with the census key in this file: `ring census-key` makes one, and the settings must list it. By default the authority
    /// signs.
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
}
