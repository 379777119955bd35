//! The command line of `keys`.

use std::path::PathBuf;

use clap::{ArgAction, ArgGroup, Args, Subcommand};

use super::ring::{Actor, Consent, RingFile, reason};

#[derive(Args)]
pub(crate) struct Keys {
    #[command(flatten)]
    pub(crate) ring: RingFile,
    #[command(flatten)]
    pub(crate) actor: Actor,
    #[cfg(feature = "audit")]
    #[command(flatten)]
    pub(crate) log: super::Log,
    #[command(subcommand)]
    pub(crate) command: KeysCommand,
}

#[derive(Subcommand)]
pub(crate) enum KeysCommand {
    /// Create a key. The first of its scope and slot becomes active, after it has wrapped and unwrapped a probe.
    Create(Create),
    /// Register a key that wraps data already.
    Adopt(Adopt),
    /// List the keys.
    List(List),
    /// Show one key: where it is, its dates and its history.
    Show(Show),
    /// Make a successor, and promote it.
    Rotate(Rotate),
    /// Make a pending key active, and deprecate the one before.
    Promote(Promote),
    /// Go back to a key: a deprecated key becomes active, a retired key becomes deprecated.
    Reinstate(Reinstate),
    /// Take a pending key out of the way: a staged key leaves the ring, a canary becomes deprecated.
    TakeBack(TakeBack),
    /// Retire a deprecated key: it opens nothing anymore, and can be reinstated.
    Retire(Retire),
    /// Revoke a key that somebody else may have: it is out of use at once and for good, and a successor takes its place.
    Revoke(Revoke),
    /// Destroy a retired key, after the cooling-off.
    Destroy(Destroy),
    /// Shred a scope: its keys are out of use at once, and destroyed after the cooling-off, with everything under them.
    Shred(Shred),
    /// Write the signed receipt of a shredding: what opens nowhere anymore, and what the shredding does not reach.
    ShredReceipt(ShredReceiptOptions),
    /// Do what is due: rotate, promote, retire, destroy.
    Tick(Tick),
}

#[cfg(feature = "audit")]
impl KeysCommand {
    /// Whether an audit log has something to say about it.
    pub(crate) fn is_audited(&self) -> bool {
        match self {
            Self::List(_) | Self::Show(_) => false,
            // Another one's receipt is only verified.
            Self::ShredReceipt(receipt) => receipt.check.is_none(),
            _ => true,
        }
    }
}

#[derive(Args)]
pub(crate) struct New {
    /// The scope whose values the key wraps: / for the root, or a path such as tenant/acme.
    #[arg(long, value_name = "SCOPE")]
    pub(crate) scope: String,
    /// The slot: the place in the wrap section.
    #[arg(long, value_name = "SLOT", default_value = "default")]
    pub(crate) slot: String,
    /// How long the key is active before it is rotated, for example P90D.
    #[arg(long, value_name = "PERIOD")]
    pub(crate) cadence: Option<String>,
    /// How long the key opens after its successor became active, for example PT24H.
    #[arg(long, value_name = "PERIOD")]
    pub(crate) overlap: Option<String>,
    /// A label; may be repeated.
    #[arg(long, value_name = "NAME=VALUE", action = ArgAction::Append)]
    pub(crate) label: Vec<String>,
    /// The reason, for the history of the key.
    #[arg(long, value_name = "TEXT", value_parser = reason())]
    pub(crate) reason: Option<String>,
}

#[derive(Args)]
pub(crate) struct Create {
    /// The key: its URI, `local` for a new key file of the ring, or `branch` for a key that the ring keeps, wrapped under the
    /// active key of a wider scope.
    #[arg(long, value_name = "KEK-URI|local|branch")]
    pub(crate) kek: String,
    /// The scope of the key that wraps a branch key. By default the one of `ring set --provision-parent`, or else /.
    #[arg(long, value_name = "SCOPE")]
    pub(crate) parent: Option<String>,
    #[command(flatten)]
    pub(crate) new: New,
}

#[derive(Args)]
pub(crate) struct Adopt {
    /// The URI of the key.
    #[arg(long, value_name = "KEK-URI")]
    pub(crate) kek: String,
    /// Its state. The older versions of a key become deprecated.
    #[arg(long, value_parser = ["active", "deprecated"])]
    pub(crate) state: String,
    #[command(flatten)]
    pub(crate) new: New,
}

#[derive(Args)]
pub(crate) struct List {
    /// List only the keys of this scope.
    #[arg(long, value_name = "SCOPE")]
    pub(crate) scope: Option<String>,
    /// List only the keys in this state.
    #[arg(long, value_name = "STATE")]
    pub(crate) state: Option<String>,
}

#[derive(Args)]
pub(crate) struct Show {
    /// The id of the key, as `keys list` shows it.
    #[arg(value_name = "ID")]
    pub(crate) id: String,
}

/// What tries a successor.
#[derive(Args, Clone)]
pub(crate) struct Gated {
    /// Run this program before a successor becomes active, without a shell: words separated by spaces. Exit code 0 permits;
    /// otherwise the successor stays pending. WAXSEAL_GATE_KEK has the URI of the key, for a test such as sealing and
    /// opening; WAXSEAL_GATE_KEY, _VERSION, _SCOPE, _SLOT, _RING and _PREDECESSOR say more.
    #[arg(long, value_name = "COMMAND")]
    pub(crate) gate: Option<String>,
    /// How long the program may take. Then it is killed, with all that it has started.
    #[arg(long, value_name = "PERIOD", default_value = "PT1M", requires = "gate")]
    pub(crate) gate_timeout: String,
}

#[derive(Args)]
#[command(group(ArgGroup::new("which").args(["id", "scope"])))]
pub(crate) struct Rotate {
    /// The id of the active key that gets a successor.
    #[arg(value_name = "ID")]
    pub(crate) id: Option<String>,
    /// Rotate the active keys of this scope, in every slot.
    #[arg(long, value_name = "SCOPE")]
    pub(crate) scope: Option<String>,
    /// Let the successor wait until it is promoted.
    #[arg(long, conflicts_with = "canary")]
    pub(crate) stage: bool,
    /// Let the successor wrap for this share of the contexts until it is promoted; or, for a key that several scopes have,
    /// rotate it in these scopes only.
    #[arg(long, value_name = "N%|SCOPE,…")]
    pub(crate) canary: Option<String>,
    /// Promote without the report of this reader; may be repeated. The history says so.
    #[arg(long, value_name = "NAME", action = ArgAction::Append)]
    pub(crate) skip_reader: Vec<String>,
    /// The reason, for the history of the key.
    #[arg(long, value_name = "TEXT", value_parser = reason())]
    pub(crate) reason: String,
    #[command(flatten)]
    pub(crate) gated: Gated,
}

#[derive(Args)]
pub(crate) struct Promote {
    /// The id of the key, as `keys list` shows it.
    #[arg(value_name = "ID")]
    pub(crate) id: String,
    /// Promote without the report of this reader; may be repeated. The history says so.
    #[arg(long, value_name = "NAME", action = ArgAction::Append)]
    pub(crate) skip_reader: Vec<String>,
    /// The reason, for the history of the key.
    #[arg(long, value_name = "TEXT", value_parser = reason(), default_value = "promoted by hand")]
    pub(crate) reason: String,
    #[command(flatten)]
    pub(crate) gated: Gated,
}

#[derive(Args)]
pub(crate) struct Reinstate {
    /// The id of the key, as `keys list` shows it.
    #[arg(value_name = "ID")]
    pub(crate) id: String,
    /// The reason, for the history of the key.
    #[arg(long, value_name = "TEXT", value_parser = reason())]
    pub(crate) reason: String,
}

#[derive(Args)]
pub(crate) struct TakeBack {
    /// The key.
    #[arg(value_name = "ID")]
    pub(crate) id: String,
    /// The reason, for the history of the key.
    #[arg(long, value_name = "TEXT", value_parser = reason())]
    pub(crate) reason: String,
    #[command(flatten)]
    pub(crate) consent: Consent,
}

#[derive(Args)]
#[command(group(ArgGroup::new("grounds").required(true).args(["receipt", "force"])))]
pub(crate) struct Retire {
    /// The id of the key, as `keys list` shows it.
    #[arg(value_name = "ID")]
    pub(crate) id: String,
    /// A census receipt that finds nothing under it; may be repeated: together they cover what must be covered.
    #[arg(long, value_name = "FILE", action = ArgAction::Append)]
    pub(crate) receipt: Vec<PathBuf>,
    /// Let the receipts count though a census saw not one envelope.
    #[arg(long, requires = "receipt")]
    pub(crate) allow_empty: bool,
    /// Without overlap and evidence. What is under it does not open until it is reinstated.
    #[arg(long, requires = "reason")]
    pub(crate) force: bool,
    /// The reason, for the history of the key.
    #[arg(long, value_name = "TEXT", value_parser = reason())]
    pub(crate) reason: Option<String>,
    #[command(flatten)]
    pub(crate) consent: Consent,
}

#[derive(Args)]
pub(crate) struct Revoke {
    /// The key.
    #[arg(value_name = "ID")]
    pub(crate) id: String,
    /// The ticket or the incident, for the history of the key.
    #[arg(long, value_name = "TEXT", value_parser = reason())]
    pub(crate) ticket: String,
    /// Who has approved it, for the history of the key.
    #[arg(long, value_name = "WHO", value_parser = reason())]
    pub(crate) approver: String,
    /// The reason, for the history of the key.
    #[arg(long, value_name = "TEXT", value_parser = reason())]
    pub(crate) reason: String,
    /// Put no other key in its place. Nothing can be sealed there until somebody creates or promotes one.
    #[arg(long)]
    pub(crate) no_successor: bool,
    /// Disable it at its backend, too. What is under it cannot be re-wrapped until it is enabled there.
    #[arg(long)]
    pub(crate) disable_at_backend: bool,
    #[command(flatten)]
    pub(crate) consent: Consent,
    #[command(flatten)]
    pub(crate) gated: Gated,
}

#[derive(Args)]
#[command(group(ArgGroup::new("what").required(true).args(["receipt", "cancel", "attest"])))]
pub(crate) struct Destroy {
    /// The id of the key, as `keys list` shows it.
    #[arg(value_name = "ID")]
    pub(crate) id: String,
    /// Begin: a census receipt that finds nothing under it; may be repeated: together they cover what must be covered. The
    /// cooling-off begins.
    #[arg(long, value_name = "FILE", action = ArgAction::Append)]
    pub(crate) receipt: Vec<PathBuf>,
    /// Let the receipts count though a census saw not one envelope.
    #[arg(long, requires = "receipt")]
    pub(crate) allow_empty: bool,
    /// Take it back. If the backend was told, it calls the destruction off.
    #[arg(long, requires = "reason")]
    pub(crate) cancel: bool,
    /// Record that it was destroyed, where its backend cannot say so: a key file, for example. Refused while the backend says that it is
    /// there.
    #[arg(long, requires = "reason")]
    pub(crate) attest: bool,
    /// The reason, for the history of the key.
    #[arg(long, value_name = "TEXT", value_parser = reason())]
    pub(crate) reason: Option<String>,
    #[command(flatten)]
    pub(crate) consent: Consent,
}

#[derive(Args)]
#[command(group(ArgGroup::new("what").required(true).args(["ticket", "cancel"])))]
pub(crate) struct Shred {
    /// The scope. Those below it are other scopes.
    #[arg(long, value_name = "SCOPE")]
    pub(crate) scope: String,
    /// The ticket, for the history of each key: the request for erasure, for example.
    #[arg(long, value_name = "TEXT", value_parser = reason())]
    pub(crate) ticket: Option<String>,
    /// Who has approved it, for the history of each key.
    #[arg(long, value_name = "WHO", value_parser = reason(), conflicts_with = "cancel")]
    pub(crate) approver: Option<String>,
    /// Take it back: the keys are what they were. Until the first of them is destroyed.
    #[arg(long)]
    pub(crate) cancel: bool,
    /// The reason, for the history of each key.
    #[arg(long, value_name = "TEXT", value_parser = reason(), required = true)]
    pub(crate) reason: Option<String>,
    /// A census receipt: how many envelopes it has found under the keys is told before, and stands in the receipt. May be repeated.
    #[arg(long, value_name = "FILE", action = ArgAction::Append, conflicts_with = "cancel")]
    pub(crate) census: Vec<PathBuf>,
    /// Write the signed receipt of this step to this file.
    #[arg(long, value_name = "FILE", conflicts_with = "cancel")]
    pub(crate) receipt: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) consent: Consent,
}

#[derive(Args)]
#[command(group(ArgGroup::new("whose").required(true).args(["scope", "check"])))]
pub(crate) struct ShredReceiptOptions {
    /// The scope that was shredded.
    #[arg(long, value_name = "SCOPE")]
    pub(crate) scope: Option<String>,
    /// The file of the receipt. Standard output by default.
    #[arg(short, long, value_name = "FILE", conflicts_with = "check")]
    pub(crate) output: Option<PathBuf>,
    /// A census receipt whose counts stand in the receipt; may be repeated.
    #[arg(long, value_name = "FILE", action = ArgAction::Append, conflicts_with = "check")]
    pub(crate) census: Vec<PathBuf>,
    /// Verify this receipt, and tell what it says. Needs no authority.
    #[arg(long, value_name = "FILE")]
    pub(crate) check: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct Tick {
    /// A census receipt, by which deprecated keys are retired; may be repeated: together they cover what must be covered.
    #[arg(long, value_name = "FILE", action = ArgAction::Append)]
    pub(crate) receipt: Vec<PathBuf>,
    /// Let the receipts count though a census saw not one envelope.
    #[arg(long, requires = "receipt")]
    pub(crate) allow_empty: bool,
    /// Promote without the report of this reader; may be repeated. The history says so.
    #[arg(long, value_name = "NAME", action = ArgAction::Append)]
    pub(crate) skip_reader: Vec<String>,
    /// Go on, and do what is due when it is due.
    #[arg(long, conflicts_with = "dry_run")]
    pub(crate) watch: bool,
    /// Show what is due, and do nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Show what is due at this time.
    #[arg(long, value_name = "TIME", requires = "dry_run")]
    pub(crate) now: Option<String>,
    #[command(flatten)]
    pub(crate) gated: Gated,
}
