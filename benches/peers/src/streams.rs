//! Streams: a long plaintext in memory is sealed into nothing; what it was sealed to is opened into a small buffer.

use std::io::{Read, Write};
use std::rc::Rc;
use std::sync::Arc;

use kms_aead::KmsAeadEnvelopeOptions;
use kms_aead::stream::{EnvelopeStreamHeader, decrypt_stream, encrypt_stream};

use crate::case::{Pair, Work};
use crate::libraries::{kms_aead_sealer, waxseal_context, waxseal_local};

pub const WAXSEAL: &str = "waxseal";
pub const KMS_AEAD: &str = "kms-aead 0.31, AWS-LC";

const BUFFER: usize = 64 << 10;

pub fn all(len: usize) -> Vec<Pair> {
    let plaintext: Rc<[u8]> = vec![7; len].into();
    vec![waxseal(&plaintext), kms_aead(&plaintext), age(&plaintext)]
}

/// Reads to the end and returns how many bytes there were; with `check`, compares them.
fn drain(mut reader: impl Read, check: Option<&[u8]>) -> usize {
    let mut buffer = vec![0; BUFFER];
    let mut total = 0;
    loop {
        let len = reader.read(&mut buffer).expect("opens");
        if len == 0 {
            return total;
        }
        if let Some(plaintext) = check {
            assert!(
                buffer[..len] == plaintext[total..total + len],
                "not what was sealed"
            );
        }
        total += len;
    }
}

fn waxseal(plaintext: &Rc<[u8]>) -> Pair {
    let sealer = Rc::new(waxseal_local());
    let seal = |sealer: &waxseal::blocking::Sealer, plaintext: &[u8], out: &mut dyn Write| {
        let mut writer = sealer.writer(out, &waxseal_context()).expect("a writer");
        writer.write_all(plaintext).expect("seals");
        writer.finish().expect("finishes");
    };
    let mut sealed = Vec::new();
    seal(&sealer, plaintext, &mut sealed);
    let opener = Rc::clone(&sealer);
    let open = move |check: Option<&[u8]>, sealed: &[u8]| {
        // From bytes in memory, as the others.
        drain(opener.buf_reader(sealed, &waxseal_context()).expect("opens"), check)
    };
    pair(
        WAXSEAL,
        plaintext,
        sealed,
        move |plaintext, out| seal(&sealer, plaintext, out),
        open,
    )
}

fn age(plaintext: &Rc<[u8]>) -> Pair {
    let identity = age::x25519::Identity::generate();
    let recipient = identity.to_public();
    let seal = move |plaintext: &[u8], out: &mut dyn Write| {
        let recipients = std::iter::once(&recipient as &dyn age::Recipient);
        let encryptor = age::Encryptor::with_recipients(recipients).expect("a recipient");
        let mut writer = encryptor.wrap_output(out).expect("a writer");
        writer.write_all(plaintext).expect("seals");
        writer.finish().expect("finishes");
    };
    let mut sealed = Vec::new();
    seal(plaintext, &mut sealed);
    let open = move |check: Option<&[u8]>, sealed: &[u8]| {
        let decryptor = age::Decryptor::new_buffered(sealed).expect("a header");
        let identities = std::iter::once(&identity as &dyn age::Identity);
        drain(decryptor.decrypt(identities).expect("opens"), check)
    };
    pair("age 0.12, X25519", plaintext, sealed, seal, open)
}

fn kms_aead(plaintext: &Rc<[u8]>) -> Pair {
    const AAD: &[u8] = b"row 7";
    let sealer = Rc::new(kms_aead_sealer(KmsAeadEnvelopeOptions::new()));
    let encryptor = pollster::block_on(sealer.stream_encryptor(AAD)).expect("an encryptor");
    let mut sealed = Vec::new();
    pollster::block_on(encrypt_stream(encryptor, &plaintext[..], &mut sealed)).expect("seals");
    let opener = Rc::clone(&sealer);
    let decryptor = move |sealed: &[u8]| {
        let len = EnvelopeStreamHeader::header_len(sealed).expect("a header");
        let header = EnvelopeStreamHeader::try_from(&sealed[..len]).expect("a header");
        let decryptor = pollster::block_on(opener.stream_decryptor(AAD, &header)).expect("opens");
        (Arc::new(decryptor), len)
    };
    let (checked, len) = decryptor(&sealed);
    let mut opened = Vec::with_capacity(plaintext.len());
    pollster::block_on(decrypt_stream(checked, &sealed[len..], &mut opened)).expect("opens");
    assert!(opened == **plaintext, "not what was sealed");
    drop(opened);
    let added = sealed.len() - plaintext.len();
    let plaintext = Rc::clone(plaintext);
    Pair {
        name: KMS_AEAD,
        added,
        seal: Work::new(move || {
            let encryptor = pollster::block_on(sealer.stream_encryptor(AAD)).expect("an encryptor");
            let sealed = encrypt_stream(encryptor, &plaintext[..], tokio::io::sink());
            pollster::block_on(sealed).expect("seals");
        }),
        open: Work::new(move || {
            // Its own loop, which writes from its buffer to the sink and copies nothing.
            let (decryptor, len) = decryptor(&sealed);
            let opened = decrypt_stream(decryptor, &sealed[len..], tokio::io::sink());
            pollster::block_on(opened).expect("opens");
        }),
    }
}

fn pair(
    name: &'static str,
    plaintext: &Rc<[u8]>,
    sealed: Vec<u8>,
    seal: impl Fn(&[u8], &mut dyn Write) + 'static,
    open: impl Fn(Option<&[u8]>, &[u8]) -> usize + 'static,
) -> Pair {
    assert!(
        open(Some(plaintext), &sealed) == plaintext.len(),
        "{name} lost bytes"
    );
    let (len, added) = (plaintext.len(), sealed.len() - plaintext.len());
    let plaintext = Rc::clone(plaintext);
    Pair {
        name,
        added,
        seal: Work::new(move || seal(&plaintext, &mut std::io::sink())),
        open: Work::new(move || assert!(open(None, &sealed) == len)),
    }
}
