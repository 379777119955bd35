//! `RESULTS.md` has a section for each benchmark and machine, between two marks. Each run replaces the section of its own
//! benchmark and its own machine, so the last run of each machine stays.

use std::path::Path;

/// Puts `text` under `title` between the marks of `section` on this machine; with new marks after the other machines'
/// where the file has none.
pub(crate) fn replace(file: &Path, section: &str, title: &str, text: &str) {
    let machine = machine();
    let (begin, end) = (
        format!("<!-- {section}: {machine} -->"),
        format!("<!-- end of {section}: {machine} -->"),
    );
    let old = std::fs::read_to_string(file).unwrap_or_else(|_| String::from("# Results\n"));
    let new = format!("{begin}\n## {title}: {machine}\n\n{}\n{end}", text.trim());
    let written = match (old.find(&begin), old.find(&end)) {
        (Some(from), Some(to)) if from < to => format!("{}{new}{}", &old[..from], &old[to + end.len()..]),
        _ => {
            let others = old.rfind(&format!("<!-- end of {section}: "));
            let at = others.map_or(old.len(), |other| {
                old[other..].find('\n').map_or(old.len(), |line| other + line)
            });
            format!("{}\n\n{new}\n{}", old[..at].trim_end(), &old[at..])
        }
    };
    std::fs::write(file, written).expect("the file of the results can be written");
}

/// The processor, with family and model, since the name alone stands for several generations.
pub(crate) fn machine() -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        cpu.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            (key.trim() == name).then(|| value.trim())
        })
    };
    match (field("model name"), field("cpu family"), field("model")) {
        (Some(name), Some(family), Some(model)) => format!("{name} (family {family}, model {model})"),
        _ => format!("unknown processor ({})", std::env::consts::ARCH),
    }
}

/// Threads, system, compiler, versions, day, and how busy the machine was.
pub(crate) fn conditions() -> String {
    let run = |program: &str, arguments: &[&str]| {
        let output = std::process::Command::new(program).args(arguments).output();
        output
            .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
            .unwrap_or_default()
    };
    let threads = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or("unknown");
    format!(
        "{threads} threads, {}, {}, aws-lc-rs {}, {}; load {load} at the end",
        run("uname", &["-sm"]),
        run("rustc", &["--version"]),
        locked("aws-lc-rs"),
        run("date", &["-u", "+%-d %B %Y"]),
    )
}

/// The version of a crate in the lock file of this build.
fn locked(name: &str) -> String {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let lock = [here.join("Cargo.lock"), here.join("../Cargo.lock")]
        .iter()
        .find_map(|path| std::fs::read_to_string(path).ok())
        .unwrap_or_default();
    let entry = format!("name = \"{name}\"\nversion = \"");
    let version = lock.split_once(&entry).and_then(|(_, rest)| rest.split_once('"'));
    version
        .map_or("of unknown version", |(version, _)| version)
        .to_owned()
}
