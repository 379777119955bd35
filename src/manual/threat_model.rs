//! What is promised, against whom, and what is not.
//!
//! # What is protected
//!
//! - *Payloads*: nobody without a KEK can read a payload, alter or shorten it unnoticed, or move it to a place where it
//!   does not belong.
//! - *DEKs*, because the payloads depend on them.
//! - *KEKs*, because everything depends on them. With the [`local`](crate::backend::local) backend KEKs are in the process. With a
//!   [key manager](crate::manual::key_manager) for a KMS or an HSM, KEKs never enter the process.
//!
//! These are public by design and not protected: the fact that something is sealed and when it was rewritten; the length
//! of each payload, the suite and the chunk size; which KEKs can open it (unless
//! [hidden](crate::Builder::hide_kek_ids)); which envelopes came from one session; and the encryption context,
//! if it is [stored](crate::Builder::store_context) or shown to a KMS.
//!
//! # Which attackers are considered
//!
//! | attacker | has | gets | cannot get |
//! |---|---|---|---|
//! | a thief of the store | every envelope, also in backups | what is public by design; guesses at a passphrase, each at the cost of the KDF | any payload |
//! | a writer to the store | the same, and can change it | denial of service, see [below](#what-is-not-promised); putting an *older* envelope back in its own place; exchanging values of one context that have no AAD | opening; making an envelope that opens; altering, cutting, reordering or mixing chunks; moving a value to another context or another AAD |
//! | the network | what a key manager sends to a KMS and receives from it | times and sizes; payloads are never sent | DEKs and contexts, as far as the key manager's transport protects them |
//! | an operator of the KMS | use of KEKs, and the context if the KMS receives it | the DEK of any wrap that the operator also has; denial of service by disabling a key | payloads, without access to the store |
//! | a holder of one DEK | 32 bytes that were once unwrapped | everything sealed under that DEK, and the power to forge under it | anything under other DEKs |
//! | a holder of an old KEK | a retired KEK and the store | everything that is still wrapped under it, and old copies of what was re-wrapped | what was first sealed under a later KEK |
//! | a reader of process memory | keys in use | what those keys open; under a local KEK, everything | what is under KEKs outside the process and not in use |
//! | somebody who can run code in the process | everything that the process can do | all of the above, as long as the attack lasts | nothing; only the log and the limits of the KMS remain |
//!
//! # What is promised
//!
//! 1. An envelope opens only under its DEK, its context and its AAD, and only if it is complete. The body commits to DEK,
//!    suite, chunk size, session and context. The crate compares the commitment in constant time before it decrypts any
//!    chunk, so that no envelope opens to two plaintexts under two DEKs.
//! 2. A wrap opens only for the context that it was made for.
//! 3. The crate trusts nothing in an envelope. KEKs, their algorithms and the context come from the caller and
//!    the configuration. An id in an envelope finds a configured KEK and is never used as an address.
//! 4. Plaintext is released only after it was verified: all of it at once by [`open`](crate::Sealer::open), chunk
//!    by chunk by an [`OpenReader`](crate::message::OpenReader), which ends in an error if the stream was cut off.
//! 5. No caller picks a nonce, and the budgets of [`limits`](crate::value::limits) that keep random nonces from repeating are
//!    enforced.
//! 6. A re-wrap changes no byte of the body.
//! 7. Lengths, counts and costs are checked before anything is allocated and before a key manager is called.
//! 8. Up to the commitment, one error without detail says that an envelope does not open, whatever the reason. After the commitment, the
//!    error says that key and context are right, which the public commitment reveals anyway. (The *time* until an error depends on
//!    the step that failed.)
//!
//! # What is not promised
//!
//! *Proof of origin.* Any holder of a DEK can seal anything under it, so an envelope proves only that some holder
//! of the DEK made it. If a key manager wraps with a public key (algorithms of class
//! [`Classical`](crate::envelope::AlgorithmClass), `Hybrid` and `PostQuantum`), *anyone* who has that public key
//! can make a whole envelope that opens.
//!
//! *Revocation by re-wrap.* A re-wrap removes a KEK from an envelope. Anybody who had the DEK, or who has the old KEK and an old
//! copy of the envelope, can still open the payload. Only sealing the data again under a new DEK prevents that.
//!
//! *Places without an AAD.* The context binds all of its values in the same way. A writer to the store can swap
//! two values of one context unless each is sealed with an AAD that names its place:
//! [`with_aad`](crate::EncryptionContext::with_aad).
//!
//! *Freshness.* An older envelope of the same context and AAD still opens. If that matters, put a
//! version number into the AAD and keep the number elsewhere.
//!
//! *The AAD against a holder of the DEK.* AES-GCM and ChaCha20-Poly1305 do not commit to the AAD: a holder of the DEK might
//! build a chunk that opens under two AADs. Nobody else can.
//!
//! *Lengths and links.* The length of a payload follows from that of its envelope. Envelopes of one session show
//! the same session id, and envelopes of one [`DataKey`](crate::DataKey) show the same wraps. If you compress before you seal,
//! lengths reveal something about the content.
//!
//! *Availability.* A writer to the store can destroy data, and can make readers work: up to sixteen
//! stanzas can name a configured KEK and cause up to 32 calls to backends, and two passphrase stanzas can each
//! demand a derivation at the maximum of [`limits`](crate::value::limits) (10,000,000 iterations, or 1 GiB and 16 passes)
//! before anything is verified. If a KEK is lost, everything under it is lost, and nobody can restore the KEK of a lost
//! environment variable.
//!
//! *Weak passphrases.* A KDF makes each guess expensive, not impossible. Draw a passphrase for stored data at random, for example
//! six or more random words. Do not invent one.
//!
//! # A key ring
//!
//! The inventory of a ring needs no trust. The authority signs each record, and a signed head names all of them; readers hold its public
//! key in `ring.toml`, which others must not be able to write.
//!
//! | attacker | has | gets | cannot get |
//! |---|---|---|---|
//! | a reader of the inventory | names, states and histories of all keys | the same | any KEK or DEK: the inventory holds none |
//! | a writer of the inventory, or its operator | the same, and can change, delete, delay and replay | denial of service: `InventoryInvalid`, `InventoryStale`; an *older* state, for a process that starts without a mark; delay: a running process to which it shows no change goes on with the keys that it knows; the end of an overlap or of a cooling-off by `clock_tolerance` too early | a key, a state, a setting, a time or a receipt that is believed; a wider key in the place of a missing one |
//! | a writer of heartbeats: the role of any reader | what a reader of the inventory gets | if every listed reader has a key, a delay by rows in the names of those, until an administrator skips the reader (`--skip-reader`), and warnings; else also delays in any name; reports in the name of a listed reader *without* a key | a report of a listed reader with a key: that permits a promotion only if the key signed it for this ring, this key and the last five minutes, by clocks that are `clock_tolerance` apart at most |
//! | a thief of a reader's key | its private half | reports that this reader can use a successor, so that it is promoted too early and the reader fails to open what is sealed, until it can or the key is rolled back | any record |
//! | whoever sets the clock of one machine | what that machine signs, if it may sign | with PostgreSQL nothing: the server's clock disagrees, and nothing is signed. With SQLite, whose clock is the machine's: the end of a cooling-off or an overlap, and receipts that claim a later time | a receipt for a key that wrapped when the census read the ring |
//! | a thief of a copy of the inventory | all of it, as of some day | what a reader gets | anything that opens an envelope |
//! | somebody who restores an older copy | an older, valid state | what was valid then, for processes without a mark file and without memory of a newer one: a deprecated key wraps again, a retired key opens again | a state that never was; anything from a process that has seen a newer one |
//! | a thief of a census key | its private half | receipts that say that nothing is under a key, so that an administrator retires it, which can be undone, or begins to destroy it, which the cooling-off delays | any move by itself |
//! | a thief of the authority's private half | the power to sign | any record: which KEK wraps, as far as `allow` in `ring.toml` lets records name it; retired keys | a KEK: using one takes the credentials of its backend; back what was signed before. Make a new ring, and replace `ring.toml` everywhere |
//! | a writer of `ring.toml` | what one process believes | everything that the authority's thief gets, for that process | the same |
//!
//! A heartbeat is no record: it delays, and what permits a promotion is that *some* process of each listed reader could use the successor. A writer of
//! the inventory can hide the heartbeats of a process that cannot.
//!
//! A deleted record makes its scope fail closed, and `waxseal ring check` names it. A deleted inventory is restored from an export. A process
//! that starts for the first time, with no mark file, cannot know whether the state that it reads is the newest: give it one.
//!
//! *Time.* Nobody signs the inventory's clock, so nobody believes it alone: whoever signs compares it with the clock of the machine, and signs nothing if they
//! are more than `clock_tolerance` apart. Within the tolerance, a change bears the later of the two times, and a census began at the earlier one: one wrong
//! clock alone makes no evidence count too early. Two do, the database's and that of the machine which signs, and SQLite has no other clock than the machine's. That a census began after a key stopped wrapping is
//! known by the order of signed revisions, and by no clock. What is left is *delay*: a database that shows a running process an old revision
//! keeps it wrapping under a key that others have retired, without end, and what it seals after the census is lost if the key is destroyed. Heartbeats show
//! revision each process has; look at `ring status` before you destroy a key.
//!
//! A census believes what envelopes say of their KEKs, as everybody who wrote them could write there. Who can write envelopes can hinder a
//! retirement, by envelopes that name the key. Who can write envelopes and also wraps under the key can hide one: by a false id. The reader of
//! such an envelope would not find its key by that id, either.
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
//!   `/proc/<pid>/environ` continue to show;
//! - plaintext that the caller passes in, [takes out](crate::Plaintext::into_vec), or has opened
//!   [into a buffer](crate::DataKey::open_into) or [in place](crate::DataKey::open_in_place): that memory belongs to the caller;
//! - what the kernel wrote to swap, a core file or a hibernation image.
//!
//! Feature `hardening` (Linux) adds `hardening::protect_process`, which keeps the whole process out of swap, core
//! files and debuggers of the same user. A forked child does not inherit locked memory. A revoked or expired
//! lease refuses immediately; its DEK is wiped when the last handle to it is dropped.
//!
//! # Copies of a running process
//!
//! *Fork.* Randomness is buffered for each thread, and a forked child throws its buffers away. Sessions
//! end at a fork: parent and child continue in different sessions. Only the parent can finish a stream that was open. The child's
//! budget for a DEK that it inherited is 2^16 sessions, which is safe for up to 256 such children. If
//! there may be more, let each child ask for data keys of its own. As with any lock, fork before you start threads
//! that seal: a lock that another thread holds at the fork stays locked in the child.
//!
//! *Virtual machine snapshots, process images (CRIU), a raw `clone` system call.* Nobody tells the process about
//! these. Two copies that resume from one image would hand out the same buffered randomness, and nonces with it.
//! A program that may be copied so calls [`entropy::disable_buffering`](crate::value::entropy::disable_buffering)
//! before it seals anything, and has no [`SealWriter`](crate::message::SealWriter) open while an image is taken: a
//! stream's nonces count up, so two copies that both finish the stream repeat nonces.
//!
//! # Time
//!
//! Leases and data keys end by the monotonic clock of the [`Runtime`](crate::runtime::Runtime), never by the
//! calendar, so setting the clock prolongs nothing. On Linux that clock includes the time in which the machine is suspended: after a weekend of
//! suspension all leases of a laptop have ended. On other systems the clock may stop during a suspension. If that is not acceptable, revoke
//! leases on resume.
