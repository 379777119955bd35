//! Making everything of a tenant unreadable: crypto-shredding.
//!
//! A tenant leaves, and its data has to go: from the database, and from every backup, replica and export that nobody can rewrite. If each tenant has
//! a scope with keys of its own in the [key ring](crate::manual::key_ring), it suffices to destroy those keys.
//!
//! ```text
//! waxseal keys shred --scope tenant/acme --ticket GDPR-17 --approver dana --reason "contract ended" --receipt pending.json
//! waxseal keys tick                                              # after the cooling-off, until nothing is due
//! waxseal keys shred-receipt --scope tenant/acme -o shredded.json
//! ```
//!
//! # What happens
//!
//! | when | what |
//! |---|---|
//! | at once | Every key of the scope goes out of use, in one change: active, deprecated and canary keys become retired. A pending key that never wrapped anything leaves the ring. A rotation that was begun is given up. A signed *tombstone* says who has done it, when, and why. |
//! | within a second | Each process that reads the ring ends what it has of the scope: data keys, caches, handles, streams. Sealing, opening and re-wrapping return `KeyDestroyed`, with the date and the ticket. A process that does not reach the inventory goes on for `max_stale_open` at most. |
//! | for the cooling-off | Nothing happens at the backends. Nobody registers one of the KEKs in another scope. |
//! | then | A tick begins to destroy the keys. A branch key is in the ring and nowhere else: its wrap is removed from its record, and no backend is asked. Of any other key, it tells each backend, as for any key that is [destroyed](crate::manual::key_ring#destroying), and asks until the KEK is gone. A backend that the ring cannot tell (key files, tokens, Transit servers) is told by hand, and attested: `waxseal keys destroy ID --attest`. |
//! | for good | The tombstone stays. No key comes into use in the scope anymore: `keys create`, `adopt`, `rotate`, `promote` and `reinstate` are refused. |
//!
//! A scope is shredded alone: `tenant/acme/prod` is another scope than `tenant/acme`. If a KEK of the scope is a key of another scope, too, the shredding is refused
//! before anything is done, since it would destroy what is under that one.
//!
//! No census has to show that nothing is under the keys: that something is under them is the point. A census counts what will be lost; give its receipt with
//! `--census FILE`, and the question at the terminal and the receipt say how much that is. `waxseal ring simulate --shred SCOPE` tells all of it before, and changes
//! nothing.
//!
//! # Taking it back
//!
//! `waxseal keys shred --scope S --cancel --reason TEXT` brings every key back as it was, with its dates, until the first of them is destroyed. If a backend was
//! told already, it calls that off first, where it can; if the command fails or is killed, a tick goes on with it. A canary comes back as deprecated, and a
//! pending key that never wrapped anything does not come back. A key that was revoked meanwhile stays compromised.
//!
//! Once a key is destroyed, there is no way back. A tenant that returns takes another scope: another name, or an epoch in the scope template
//! (`tenant/{tenant}/{epoch}`) that the application counts up.
//!
//! # What it does not reach
//!
//! The receipt says so, for the keys that it is about. It is signed by the ring's authority; `waxseal keys shred-receipt --check FILE` verifies it on any machine that has the
//! configuration of the ring. Its `stage` is `pending`, `destroying` or `destroyed`: only the last one says that the keys are gone.
//!
//! - *Processes* that could not read the ring went on with what they held. The receipt says until when at the latest.
//! - *Backups of the inventory* hold no KEK of a backend. But while a KEK exists, whoever restores an inventory from before has the scope in use again. A *branch key* is in
//!   each backup of the inventory, wrapped under its parent. So the receipt names every parent that still opens such a copy (`copies`): whoever has the backup and
//!   the use of that KEK has the branch key, until the parent is destroyed. Take a receipt anew when that has happened.
//! - *Backends* keep copies by themselves: deletion windows (AWS: 7 to 30 days), backups of a Transit server or an HSM. During a window, whoever administers the backend can
//!   save the KEK there.
//! - *Key files*: the ring does not erase them. Remove the file and every copy of it. Overwriting a file erases it neither on a flash disk nor on a file system that copies on
//!   write, so keep key files where a disk is encrypted, or use a KMS.
//! - *Other wraps*: an envelope that another key opens, too, opens. A census shows how many there are.
//! - *A wider scope*: what was [sealed under another scope's keys](crate::manual::tenants#a-wider-scope-for-those-without-keys) while the tenant had no key of its own is under
//!   those keys. The receipt names the scopes that the settings allow when it is issued (`otherwise`), and the ring does not know which it allowed before. Re-wrap such
//!   envelopes before you shred: what is under the tenant's own keys goes with them.
//! - *Plaintext* that somebody has kept: logs, exports, caches of programs.
//!
//! Script: `docs/runbooks/ring-shred`.
