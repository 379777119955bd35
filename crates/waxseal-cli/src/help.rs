//! The parts of the help that are put together: only what was compiled in is listed.

use std::sync::LazyLock;

use waxseal::backend::kek_uri::{Scheme, schemes};

use crate::exit;

/// The backends that may be compiled in, by their features.
const FEATURES: [&str; 5] = ["aws-kms", "azure-key-vault", "gcp-kms", "vault-transit", "pkcs11"];

/// Where the text of a line begins, and where it ends.
const INDENT: usize = 22;
const WIDTH: usize = 98;

const SECRETS: &str =
    "  One line end at the end of a key, passphrase, PIN or token is not part of it; everything else is,
  wherever it is read from. A file with a secret is refused if others than its owner have any right
  to it, unless told ?allow-shared=true (a secret volume of Kubernetes needs it).
  passphrase-prompt: asks at the terminal, twice for a key that seals.
  Without --kek: --ring or WAXSEAL_RING names a key ring; else WAXSEAL_KMS_URI and
  WAXSEAL_KMS_ALSO_OPEN, or WAXSEAL_KMS_BACKEND with WAXSEAL_KMS_KEY_ID or WAXSEAL_MASTER_KEY, name
  the keys.
  Options begin at the last '?': write another '?' behind a path that has one.
";

const STREAMS: &str = "\
Streams:
  INPUT and OUTPUT are standard input and output if they are absent or '-'. An output file takes
  its place only once it is complete: a command that fails or is interrupted leaves none behind,
  and leaves the file that was there before untouched. A file that is replaced keeps its owner,
  mode and attributes; what cannot be kept is refused before anything is done, and so is a file
  with several names (see --break-links). A new file of plaintext or of a key can be read by its
  owner only.
  /dev/stdout, /dev/fd/N and their like are what the shell has opened: they are written to, and
  never replaced.
  No stream is read twice: --aad @- and an INPUT from standard input are refused together.
  Standard output cannot be taken back: rely on what came out of it only after exit code 0. A
  terminal is shown text only, unless told so with -o -.
  Warnings and reports go to standard error; they are left out if the output goes there, too.
  `rewrap --in-place` overwrites the wraps alone if the new ones fit the room of the old (see
  --padding), through a journal beside the file, FILE.waxseal-journal. If it is interrupted, run it
  again: it first makes the file whole.
";

const JSON: &str = "\
JSON:
  With --json a command prints its result as one JSON object to standard output, or to standard
  error if the payload goes to standard output. An error is one object on standard error, on one
  line: {\"schema\":1,\"error\":{\"kind\",\"message\",\"detail\",\"operation\",\"provider\",\"retryable\",
  \"retry_after_ms\",\"attempts\":[…],\"exit_code\"}}. A warning is one before it.
";

/// What stands behind the help of a command that takes keys.
pub(crate) fn keys() -> String {
    let mut text = String::from("Keys (--kek, --to):\n");
    for scheme in schemes() {
        text += &entry(scheme);
    }
    let missing = features(false);
    if !missing.is_empty() {
        text += &format!("  Not compiled in: {missing}.\n");
    }
    format!("{text}{SECRETS}\n{STREAMS}\n{JSON}\n{}", codes())
}

/// A scheme: its form, what it names, its options and variables.
fn entry(scheme: &Scheme) -> String {
    let form = format!("  {}", scheme.form);
    let mut text = if form.len() < INDENT {
        format!("{form:<INDENT$} {}\n", scheme.summary)
    } else {
        format!("{form}\n{:INDENT$} {}\n", "", scheme.summary)
    };
    let mut options = scheme
        .options
        .iter()
        .map(|option| format!("{}={}", option.name, option.values));
    if let Some(first) = options.next() {
        let options = std::iter::once(format!("?{first}")).chain(options.map(|option| format!("&{option}")));
        text += &filled(options);
    }
    if let Some((last, variables)) = scheme.variables.split_last() {
        let variables = variables.iter().map(|name| format!("{name}, "));
        text += &filled(
            std::iter::once("reads ".to_owned())
                .chain(variables)
                .chain([(*last).to_owned()]),
        );
    }
    text
}

/// Words on lines of their own, indented, none longer than the width.
fn filled(words: impl Iterator<Item = String>) -> String {
    let start = format!("{:1$}   ", "", INDENT);
    let mut text = String::new();
    let mut line = start.clone();
    for word in words {
        if line.trim_end().len() + word.trim_end().len() > WIDTH && line != start {
            text += line.trim_end();
            text.push('\n');
            line.clone_from(&start);
        }
        line += &word;
    }
    text + line.trim_end() + "\n"
}

/// The features that are compiled in, or those that are not.
fn features(are_in: bool) -> String {
    let chosen: Vec<&str> = FEATURES
        .into_iter()
        .filter(|feature| schemes().any(|scheme| scheme.name == *feature) == are_in)
        .collect();
    chosen.join(", ")
}

/// The exit codes.
pub(crate) fn codes() -> String {
    format!("Exit codes:\n{}", exit::table())
}

/// The version, and the backends that were compiled in.
pub(crate) fn version() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| {
        let features = Some(features(true)).filter(|features| !features.is_empty());
        format!(
            "{}\nfeatures: {}",
            env!("CARGO_PKG_VERSION"),
            features.as_deref().unwrap_or("none")
        )
    });
    &TEXT
}
