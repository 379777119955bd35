//! What must not compile does not. Each line below stops compiling if a type gains a trait that it must not
//! have; a value that is not used is in the docs of `SealWriter`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fmt::Display;
use std::hash::Hash;

use waxseal::{
    Binding, DataKey, DekSource, EncryptionContext, Error, Kek, KeyManager, Opener, Plaintext, Sealer,
    blocking, message::OpenReader, message::SealWriter, source::AnyOf, source::DekLease, value::Dek,
};

/// Compiles only where `$type` does not have `$trait`: with it there are two candidates for `marker`.
macro_rules! assert_lacks {
    ($($type:ty: $($trait:path),+;)*) => {$($({
        trait Ambiguous<A> {
            fn marker() {}
        }
        impl<T: ?Sized> Ambiguous<()> for T {}
        struct Found;
        impl<T: ?Sized + $trait> Ambiguous<Found> for T {}
        let _ = Found;
        let _: fn() = <$type as Ambiguous<_>>::marker;
    })+)*};
}

fn assert_shareable<T: Send + Sync + 'static>() {}
fn assert_cheap_handle<T: Clone + Send + Sync + 'static>() {}

type Bytes = Vec<u8>;

#[test]
fn secrets_are_not_copied_printed_or_made_by_default() {
    assert_lacks! {
        Dek: Clone, Copy, Display, Default, Hash, AsRef<[u8]>, PartialEq, From<[u8; 32]>;
        Kek: Clone, Copy, Display, Default, Hash, AsRef<[u8]>, PartialEq, From<[u8; 32]>;
        Plaintext: Clone, Display, Hash;
    }
}

#[test]
fn what_counts_or_ends_a_key_has_no_second_copy() {
    assert_lacks! {
        DekLease: Clone, Default;
        DataKey: Clone, Default;
        Opener: Clone;
        SealWriter<Bytes>: Clone;
        OpenReader<&[u8]>: Clone;
    }
}

// spec: CTX-3
#[test]
fn an_empty_context_is_asked_for_by_name() {
    assert_lacks! {
        EncryptionContext: Default, From<()>, From<[(&'static str, &'static str); 0]>;
        Binding<'static>: Default, From<&'static [u8]>;
    }
}

#[test]
fn what_a_program_shares_can_be_shared() {
    assert_shareable::<Error>();
    assert_shareable::<DekLease>();
    assert_shareable::<DataKey>();
    assert_shareable::<Opener>();
    assert_shareable::<Box<dyn KeyManager>>();
    assert_shareable::<Box<dyn DekSource>>();
    assert_cheap_handle::<Sealer>();
    assert_cheap_handle::<blocking::Sealer>();
    assert_cheap_handle::<AnyOf>();
    assert_cheap_handle::<EncryptionContext>();
}
