//! The table, written down.

/// Writes the table with what it was measured on.
pub(crate) fn write(table: &str) {
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
    let text = format!(
        "# Results\n\nWritten by `cargo bench --bench ratios -- --write`. {cpu}, {threads} threads, {}, {}, \
         AEAD: AWS-LC.\nThread CPU time, cases interleaved in one process, best of many rounds. Absolute \
         figures move with the machine; the ratios are what counts.\n\n{table}",
        run("uname", &["-sm"]),
        run("rustc", &["--version"]),
    );
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/RESULTS.md");
    std::fs::write(path, text).unwrap();
    println!("written to {path}");
}
