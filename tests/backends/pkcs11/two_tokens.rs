//! Two tokens whose keys have the same label: each id fits the stanzas of the other.

use waxseal::backend::pkcs11::{Mechanism, TokenKey};
use waxseal::key::Recognition;
use waxseal::source::Fate;
use waxseal::{EncryptionContext, Envelope, KeyManager, Sealer};

use super::support::{Token, has_key_wrap_pad};

async fn opens(keys: &TokenKey, envelope: &[u8], context: &EncryptionContext) -> bool {
    let opened = Sealer::new(keys.clone()).open(envelope, context).await;
    opened.is_ok_and(|opened| opened == *b"payload")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rewrap_on_one_token_leaves_the_stanza_of_another_with_the_same_label() {
    for mechanism in [Mechanism::AesGcm, Mechanism::AesKeyWrapPad] {
        if mechanism == Mechanism::AesKeyWrapPad && !has_key_wrap_pad("two tokens that share a label") {
            continue;
        }
        let number = mechanism as u8;
        let (Some(here), Some(there)) = (
            Token::fresh(&format!("here-{number}")),
            Token::fresh(&format!("there-{number}")),
        ) else {
            return;
        };
        for token in [&here, &there] {
            token.make_key("kek", &[1]);
            token.make_key("new", &[1]);
        }
        let (ours, theirs) = (here.keys("kek", mechanism), there.keys("kek", mechanism));
        let new = here.keys("new", mechanism);
        assert_ne!(ours.identity(), theirs.identity());
        let context = EncryptionContext::new([("tenant", "acme")]).unwrap();
        for (pair, is_hidden) in [
            ([&ours, &theirs], false),
            ([&theirs, &ours], false),
            ([&ours, &theirs], true),
            ([&theirs, &ours], true),
        ] {
            let mut builder = Sealer::builder()
                .wrap_with(pair[0].clone())
                .wrap_with(pair[1].clone());
            if is_hidden {
                builder = builder.hide_kek_ids();
            }
            let sealed = builder.build().unwrap().seal(b"payload", &context).await.unwrap();
            assert!(opens(&ours, &sealed, &context).await && opens(&theirs, &sealed, &context).await);
            let envelope = Envelope::parse(&sealed).unwrap();
            for stanza in envelope.header().wrap_section().unwrap().stanzas() {
                assert_eq!(ours.recognizes(stanza), Recognition::Perhaps);
            }

            let mover = Sealer::builder().wrap_with(new.clone()).open_with(ours.clone());
            let moved = mover.build().unwrap().rewrap(&sealed, &context).await.unwrap();
            let fates: Vec<Fate> = moved.stanzas().iter().map(|stanza| stanza.fate).collect();
            let expected = match std::ptr::eq(pair[0], &raw const ours) {
                true => [Fate::Replaced, Fate::Kept],
                false => [Fate::Kept, Fate::Replaced],
            };
            assert_eq!(fates, expected, "{mechanism:?} {is_hidden}");
            let moved = moved.splice(&sealed).unwrap();
            assert!(
                opens(&theirs, &moved, &context).await,
                "the other token lost access"
            );
            assert!(opens(&new, &moved, &context).await && !opens(&ours, &moved, &context).await);
        }
    }
}
