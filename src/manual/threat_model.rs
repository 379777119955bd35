//! What is promised, against whom, and what is not.
//!
//! # What is protected
//!
//! *Payloads*: that nobody without a KEK reads them, alters them unnoticed, cuts them short, or puts them where
//! they do not belong. *DEKs*, on which the payloads hang. *KEKs*, on which everything hangs. With the
//! [`local`](crate::backend::local) backend KEKs are in the process; with a [key manager](crate::manual::key_manager) in
//! front of a KMS or an HSM they never come there.
//!
//! Not protected, because it is public by design: that something is sealed and when it was rewritten, the length
//! of each payload, suite and chunk size, which KEKs can open it (unless
//! [hidden](crate::Builder::hide_kek_ids)), which envelopes came from one session, and the encryption context
//! where it is [stored](crate::Builder::store_context) or shown to a KMS.
//!
//! # Who is considered
//!
//! | who | has | gets | is kept from |
//! |---|---|---|---|
//! | a thief of the store | every envelope, backups included | what is public by design; guesses at a passphrase, each at the cost of its KDF | any payload |
//! | a writer to the store | the same, and may change it | denial of service, see [below](#what-is-not-promised); putting an *older* envelope back in its own place; exchanging values of one context that have no AAD | opening; making an envelope that opens; altering, cutting, reordering or mixing chunks; moving a value to another context, or to another AAD |
//! | the network | what a key manager sends to a KMS and gets from it | times and sizes; payloads are never sent | DEKs and contexts, as far as the key manager's transport keeps them |
//! | an operator of the KMS | KEK use, and the context where the KMS is given it | the DEK of any wrap that he also has; denial by disabling a key | payloads, unless he also has the store |
//! | a holder of one DEK | 32 bytes that were once unwrapped | everything sealed under that DEK, and the power to forge under it | anything under other DEKs |
//! | a holder of an old KEK | a retired KEK and the store | whatever is still wrapped under it, and old copies of what was re-wrapped | what was first sealed under its successor |
//! | a reader of process memory | keys in use | what those keys open; under a local KEK, everything | what is under KEKs elsewhere and not in use |
//! | who can run code in the process | everything the process can do | all of the above, for as long as it lasts | nothing; only the KMS's own log and limits stand in the way |
//!
//! # What is promised
//!
//! 1. An envelope opens only under its DEK, its context and its AAD, and only whole. The body commits to DEK,
//!    suite, chunk size, session and context; the commitment is compared in constant time before any chunk is
//!    decrypted, so that no envelope opens to two plaintexts under two DEKs.
//! 2. A wrap opens only for the context it was made for.
//! 3. Nothing is taken from an envelope on trust. KEKs, their algorithms and the context come from the caller and
//!    his configuration. An id in an envelope finds a configured KEK and is never an address to be followed.
//! 4. Plaintext is released only after it was verified: all of it at once by [`open`](crate::Sealer::open), chunk
//!    by chunk by an [`OpenReader`](crate::message::OpenReader), which ends in an error where a stream was cut off.
//! 5. No caller picks a nonce, and the budgets of [`limits`](crate::value::limits) that keep random ones from meeting are
//!    enforced.
//! 6. A re-wrap changes no byte of the body.
//! 7. Lengths, counts and costs are checked before anything is allocated and before a key manager is called.
//! 8. Up to the commitment, one error without detail says that an envelope does not open, whatever the reason. After it, the error
//!    says that key and context are right, which the public commitment tells anyway. (The *time* to an error depends on how far it
//!    came.)
//!
//! # What is not promised
//!
//! *Proof of origin.* Whoever holds a DEK can seal anything under it, so an envelope proves only that some holder
//! of the DEK made it. Where a key manager wraps with a public key (algorithms of class
//! [`Classical`](crate::envelope::AlgorithmClass), `Hybrid` and `PostQuantum`), *anyone* who has that public key
//! can make a whole envelope that opens.
//!
//! *Revocation by re-wrap.* A re-wrap takes a KEK off the door. Whoever had the DEK, or an old copy of the
//! envelope and the old KEK, still has it. Only sealing the data again under a new DEK helps there.
//!
//! *Places without an AAD.* The context binds all of its values alike. Whoever can write to the store can swap
//! two values of one context unless each is sealed with an AAD that names its place:
//! [`with_aad`](crate::EncryptionContext::with_aad).
//!
//! *Freshness.* An older envelope of the same context and AAD opens, as it always did. Where that matters, put a
//! version number into the AAD and keep the number elsewhere.
//!
//! *The AAD against a holder of the DEK.* AES-GCM and ChaCha20-Poly1305 do not commit to it: who has the DEK might
//! build a chunk that opens under two AADs. Everyone else cannot.
//!
//! *Lengths and links.* The length of a payload follows from that of its envelope. Envelopes of one session show
//! the same session id, those of one [`DataKey`](crate::DataKey) the same wraps. Compressing before sealing lets
//! lengths speak about content.
//!
//! *Availability.* Whoever can write to the store can destroy data. He can also make readers work: up to sixteen
//! stanzas that name a configured KEK are as many calls to its key manager, and two passphrase stanzas may each
//! demand a derivation at the ceiling of [`limits`](crate::value::limits) (10,000,000 iterations, or 1 GiB and 16 passes)
//! before anything is verified. A KEK that is gone takes everything under it along; the KEK of a lost environment
//! variable is gone.
//!
//! *Weak passphrases.* A KDF makes each guess dear, not impossible. A passphrase that guards stored data should
//! have been drawn, not thought up: six or more random words.
//!
//! # Memory
//!
//! These are wiped when they are dropped: [`Dek`](crate::value::Dek), [`Kek`](crate::Kek),
//! [`Plaintext`](crate::Plaintext), passphrases as they are held here, derived keys and the output of HKDF,
//! PBKDF2 and Argon2id, the buffers of [`SealWriter`](crate::message::SealWriter) and [`OpenReader`](crate::message::OpenReader),
//! randomness as it is handed out, and the key schedules of the AEAD libraries, by those libraries.
//!
//! These are not:
//!
//! - registers, and copies on the stack that the compiler makes when it moves or spills values;
//! - Argon2id's working memory, and what cryptographic libraries leave on the stack;
//! - the environment block that a KEK or passphrase was read from, which the process and
//!   `/proc/<pid>/environ` go on showing;
//! - plaintext that the caller passes in, [takes out](crate::Plaintext::into_vec), or has opened
//!   [into a buffer](crate::DataKey::open_into) or [in place](crate::DataKey::open_in_place): that memory is his;
//! - what the kernel wrote to swap, a core file or a hibernation image.
//!
//! Feature `hardening` (Linux) adds `hardening::protect_process`, which keeps the whole process out of swap, core
//! files and debuggers of the same user. Locked memory is not inherited by a forked child. A revoked or expired
//! lease refuses at once; its DEK is wiped when the last handle to it is dropped.
//!
//! # Copies of a running process
//!
//! *Fork.* Randomness is buffered for each thread, and the buffers of a forked child are thrown away. Sessions
//! end at a fork: parent and child go on in different ones. A stream that was open is finished by the parent
//! only. The child's budget for a DEK it inherited is 2^16 sessions, which holds for up to 256 such children; where
//! there may be more, let each child ask for data keys of its own. As with any lock, fork before starting threads
//! that seal: a lock that another thread held at that moment stays locked in the child.
//!
//! *Virtual machine snapshots, process images (CRIU), a raw `clone` system call.* Nobody tells the process of
//! these. Two copies that resume from one image would hand out the same buffered randomness, and nonces with it.
//! A program to which that may happen calls [`entropy::disable_buffering`](crate::value::entropy::disable_buffering)
//! before it seals anything, and has no [`SealWriter`](crate::message::SealWriter) open while an image is taken: a
//! stream's nonces count, so two copies that both finish it repeat them.
//!
//! # Time
//!
//! Leases and data keys end by the monotonic clock of the [`Runtime`](crate::runtime::Runtime), never by the
//! calendar, so setting the clock prolongs nothing. On Linux that clock counts the time in which the machine is suspended: a laptop
//! that slept over the weekend wakes up with no lease. On other systems the clock may stand still during a suspension; there, revoke on
//! resume if that is not acceptable.
