//! What ends up in a log that takes everything. The log is the process's.

use base64ct::{Base64, Encoding};
use waxseal::backend::aws_kms::Client;
use waxseal::{EncryptionContext, KeyManager, key::Request, value::Dek};

use crate::log::Log;
use crate::server::{SECRET, moto};

pub(crate) const TESTS: &[crate::Test] = &[(
    "aws_kms_log::no_dek_and_no_secret_at_any_level",
    no_dek_and_no_secret_at_any_level,
)];

#[tokio::main(flavor = "current_thread")]
async fn no_dek_and_no_secret_at_any_level() {
    let Some(moto) = moto() else { return };
    let arn = moto.key().await;
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_writer(log.clone())
        .with_ansi(false)
        .finish();
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let keys = Client::connect(moto.config()).await.unwrap().key(&arn).unwrap();
    let context = EncryptionContext::empty();
    let request = Request::new(&context);
    let dek = Dek::generate().unwrap();
    let wrapped = keys.wrap(&dek, &request).await.unwrap();
    keys.rewrap(wrapped.as_wrap_ref(), &request)
        .await
        .unwrap()
        .unwrap();
    let (generated, wrapped_too) = keys.generate(&request).await.unwrap();
    keys.unwrap(wrapped_too.as_wrap_ref(), &request).await.unwrap();
    keys.unwrap(wrapped.as_wrap_ref(), &request).await.unwrap();

    let text = log.text();
    if std::env::var_os("SHOW").is_some() {
        println!("{text}");
    }
    // It does take everything: the request of an unwrap is in it.
    assert!(
        text.contains("TrentService.Decrypt"),
        "the log of the SDK is not seen"
    );
    for dek in [&dek, &generated] {
        let bytes = dek.expose_bytes();
        for shown in [
            Base64::encode_string(bytes),
            hex::encode(bytes),
            format!("{bytes:?}").trim_matches(['[', ']']).to_owned(),
            // As part of a body that is shown as bytes.
            format!("{:?}", Base64::encode_string(bytes).as_bytes())
                .trim_matches(['[', ']'])
                .to_owned(),
        ] {
            assert!(!text.contains(&shown), "a DEK is in the log");
        }
    }
    assert!(!text.contains(SECRET));
}
