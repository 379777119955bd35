//! What is measured against: the same libraries called without this crate.

use std::hint::black_box;
use std::time::Duration;

use aes::cipher::{BlockCipherEncrypt, KeyInit};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use waxseal::entropy;

/// CPU time of this thread, where the system tells.
pub(crate) struct Stopwatch(Duration);

impl Stopwatch {
    pub(crate) fn start() -> Self {
        Self(now())
    }

    pub(crate) fn elapsed(&self) -> Duration {
        now() - self.0
    }
}

#[cfg(target_os = "linux")]
fn now() -> Duration {
    use rustix::time::{ClockId, clock_gettime};
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.try_into().unwrap(), time.tv_nsec.try_into().unwrap())
}

#[cfg(not(target_os = "linux"))]
fn now() -> Duration {
    static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    START.get_or_init(std::time::Instant::now).elapsed()
}

/// AES-256-GCM of AWS-LC with a held key.
pub(crate) struct RawAead(LessSafeKey);

impl RawAead {
    pub(crate) fn new() -> Self {
        Self::with_key(&[7; 32])
    }

    pub(crate) fn with_key(key: &[u8; 32]) -> Self {
        Self(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).unwrap()))
    }

    pub(crate) fn seal(&self, nonce: &[u8; 12], aad: &[u8], plaintext: &[u8]) -> (Vec<u8>, [u8; 16]) {
        let mut out = vec![0; plaintext.len()];
        let mut tag = [0; 16];
        let nonce = Nonce::assume_unique_for_key(*nonce);
        self.0
            .seal_out_of_place_scatter(nonce, Aad::from(aad), plaintext, &mut out, &[], &mut tag)
            .unwrap();
        (out, tag)
    }

    pub(crate) fn seal_to(&self, nonce: &[u8; 12], plaintext: &[u8], out: &mut [u8]) {
        let mut tag = [0; 16];
        let nonce = Nonce::assume_unique_for_key(*nonce);
        self.0
            .seal_out_of_place_scatter(
                nonce,
                Aad::from(b"row 7"),
                black_box(plaintext),
                out,
                &[],
                &mut tag,
            )
            .unwrap();
        black_box(tag);
    }

    pub(crate) fn seal_in_place(&self, nonce: &[u8; 12], in_out: &mut [u8]) {
        let nonce = Nonce::assume_unique_for_key(*nonce);
        black_box(
            self.0
                .seal_in_place_separate_tag(nonce, Aad::empty(), in_out)
                .unwrap()
                .as_ref(),
        );
    }

    pub(crate) fn open_to(&self, nonce: &[u8; 12], ciphertext: &[u8], tag: &[u8; 16], out: &mut [u8]) {
        let nonce = Nonce::assume_unique_for_key(*nonce);
        self.0
            .open_separate_gather(nonce, Aad::from(b"row 7"), black_box(ciphertext), tag, out)
            .unwrap();
    }

    pub(crate) fn open_in_place(&self, nonce: &[u8; 12], in_out: &mut [u8], tag: &[u8; 16]) {
        let nonce = Nonce::assume_unique_for_key(*nonce);
        self.0
            .open_in_place_separate_tag(nonce, Aad::empty(), tag, in_out)
            .unwrap();
    }
}

/// Every primitive that a one-off seal of a small value with a fresh DEK under a local KEK cannot do without:
/// 84 random bytes (DEK, wrap nonce, session id, nonce), the two blocks and the key of an XAES-256-GCM wrap,
/// an HKDF expansion to 64 bytes, and the sealing under a new key.
pub(crate) fn sum_of_fresh_seal(plaintext: &[u8; 100]) {
    thread_local! {
        static KEK: aes::Aes256 = aes::Aes256::new(&[7; 32].into());
    }
    let dek: [u8; 32] = entropy::array().unwrap();
    let wrap_nonce: [u8; 24] = entropy::array().unwrap();
    let session: [u8; 16] = entropy::array().unwrap();
    let nonce: [u8; 12] = entropy::array().unwrap();
    let mut wrap_key = [0; 32];
    KEK.with(|kek| {
        for half in wrap_key.chunks_exact_mut(16) {
            half.copy_from_slice(&wrap_nonce[..16]);
            kek.encrypt_block(half.try_into().unwrap());
        }
    });
    let mut wrapped = dek;
    RawAead::with_key(&wrap_key).seal_in_place(wrap_nonce[12..].try_into().unwrap(), &mut wrapped);
    let mut okm = [0; 64];
    let hkdf = hkdf::Hkdf::<sha2::Sha256>::from_prk(&dek).unwrap();
    hkdf.expand_multi_info(&[b"waxseal v1 session", &[0; 4], &session, &[0; 32]], &mut okm)
        .unwrap();
    let mut out = [0; 100];
    RawAead::with_key(okm[..32].try_into().unwrap()).seal_to(&nonce, plaintext, &mut out);
    black_box((out, wrapped));
}

/// Writes the table with what it was measured on.
pub(crate) fn write_results(table: &str) {
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
