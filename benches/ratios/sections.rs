//! `RESULTS.md` has a section for each benchmark, between two marks. Each benchmark replaces its own.

use std::path::Path;

/// Puts `text` between the marks of `section`, or with marks at the end where the file has none.
pub(crate) fn replace(file: &Path, section: &str, text: &str) {
    let (begin, end) = (
        format!("<!-- {section} -->"),
        format!("<!-- end of {section} -->"),
    );
    let old = std::fs::read_to_string(file).unwrap_or_else(|_| String::from("# Results\n"));
    let new = format!("{begin}\n{}\n{end}", text.trim());
    let written = match (old.find(&begin), old.find(&end)) {
        (Some(from), Some(to)) if from < to => format!("{}{new}{}", &old[..from], &old[to + end.len()..]),
        _ => format!("{}\n\n{new}\n", old.trim_end()),
    };
    std::fs::write(file, written).expect("the file of the results can be written");
}

/// Processor, threads, system, compiler, and how busy the machine was.
pub(crate) fn machine() -> String {
    let run = |program: &str, arguments: &[&str]| {
        let output = std::process::Command::new(program).args(arguments).output();
        output
            .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
            .unwrap_or_default()
    };
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name\t: "))
        .unwrap_or("unknown processor");
    let threads = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or("unknown");
    format!(
        "{cpu}, {threads} threads, {}, {}, load {load} at the end",
        run("uname", &["-sm"]),
        run("rustc", &["--version"]),
    )
}
