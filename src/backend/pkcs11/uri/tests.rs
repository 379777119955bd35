use super::*;
use crate::value::error::ErrorKind;

#[test]
fn every_part_is_read() {
    let uri = Uri::parse(
        "pkcs11:token=My%20token;serial=0a;model=m;manufacturer=x;slot-id=7;object=k%3bek;id=%01%fF;type=secret-key\
         ?module-path=/lib/a%26b.so&pin-source=file:/run/pin&algorithm=AES-KEY-WRAP-PAD",
    )
    .unwrap();
    assert_eq!(uri.token().label.as_deref(), Some("My token"));
    assert_eq!(uri.token().serial.as_deref(), Some("0a"));
    assert_eq!(uri.token().model.as_deref(), Some("m"));
    assert_eq!(uri.token().manufacturer.as_deref(), Some("x"));
    assert_eq!(uri.token().slot, Some(7));
    assert_eq!(uri.object(), "k;ek");
    assert_eq!(uri.id(), Some([1, 255].as_slice()));
    assert_eq!(uri.module(), Path::new("/lib/a&b.so"));
    assert_eq!(uri.pin(), Some(&PinSource::File("/run/pin".into())));
    assert_eq!(uri.mechanism(), Mechanism::AesKeyWrapPad);
    let more = Uri::parse(
        "pkcs11:slot-id=0;object=o?module-path=m&pin-source=file:p&allow-shared=true&final-try=true&module-restart=true",
    )
    .unwrap();
    assert_eq!(more.pin(), Some(&PinSource::SharedFile("p".into())));
    assert!(more.final_try() && more.module_restart());
    let least = Uri::parse("pkcs11:token=t;object=o?module-path=m").unwrap();
    assert_eq!(
        (least.id(), least.pin(), least.mechanism()),
        (None, None, Mechanism::AesGcm)
    );
    assert!(!least.final_try() && !least.module_restart());
}

#[test]
fn an_error_names_the_part_and_never_its_value() {
    for (uri, part) in [
        ("pkcs12:token=t;object=o?module-path=m", "pkcs11:"),
        ("pkcs11:object=o?module-path=m", "token"),
        ("pkcs11:token=t?module-path=m", "object"),
        ("pkcs11:token=t;object=o", "module-path"),
        (
            "pkcs11:token=t;token=u;object=o?module-path=m",
            "token stands twice",
        ),
        ("pkcs11:token=;object=o?module-path=m", "token is empty"),
        ("pkcs11:token=t;object=%4?module-path=m", "object is not well"),
        (
            "pkcs11:token=t;object=%xCANARY?module-path=m",
            "object is not well",
        ),
        ("pkcs11:token=t;object=%ff?module-path=m", "object is not UTF-8"),
        ("pkcs11:token=t;object=%0a?module-path=m", "object has a control"),
        ("pkcs11:token=t;object=o;id=?module-path=m", "id is empty"),
        ("pkcs11:token=t;object=o;slot-id=CANARY?module-path=m", "slot-id"),
        ("pkcs11:token=t;object=o;type=cert?module-path=m", "type"),
        ("pkcs11:token=t;object=o;type=private?module-path=m", "type"),
        (
            "pkcs11:token=t;object=o;library-version=3?module-path=m",
            "library-version",
        ),
        // What is not known is named, with what could stand there.
        (
            "pkcs11:token=t;object=o;library-version=3?module-path=m",
            "not known; its path can have token, object, id",
        ),
        (
            "pkcs11:token=t;object=o?module-path=m&pin=1",
            "pin is not known; its query can have module-path, pin-source",
        ),
        (
            "pkcs11:token=t;object=o;module-path=m",
            "module-path belongs after the \"?\"",
        ),
        (
            "pkcs11:object=o?module-path=m&token=t",
            "token belongs before the \"?\"",
        ),
        (
            "pkcs11:token=t;object=o?module-name=p11-kit",
            "module-name is not supported; give the path",
        ),
        (
            "pkcs11:token=t;object=o?module-path=m&final-try=CANARY",
            "final-try is neither true nor false",
        ),
        (
            "pkcs11:token=t;object=o?module-path=m&module-restart=CANARY",
            "module-restart is neither",
        ),
        ("pkcs11:token=t;object=o;CANARY?module-path=m", "attribute 3"),
        ("pkcs11:token=t;object=o;CANARY=1?module-path=m", "attribute 3"),
        (
            "pkcs11:token=t;object=o?module-path=m&pin-source=CANARY",
            "pin-source",
        ),
        (
            "pkcs11:token=t;object=o?module-path=m&pin-source=env:",
            "pin-source",
        ),
        (
            "pkcs11:token=t;object=o?module-path=m&algorithm=CANARY",
            "algorithm",
        ),
        (
            "pkcs11:token=t;object=o?module-path=m&pin-value=CANARY",
            "pin-value",
        ),
        (
            "pkcs11:token=t;object=o;pin-value=CANARY?module-path=m",
            "pin-value",
        ),
    ] {
        let error = Uri::parse(uri).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration, "{uri}");
        let text = format!("{error} {error:?}");
        assert!(text.contains(part) && !text.contains("CANARY"), "{uri}: {text}");
    }
}
