//! Tenants: whose keys seal what.
//!
//! The settings of a [ring](crate::ring) have one *scope template*, which the authority signs: `tenant/{tenant}`, for example. A context with
//! `tenant=acme` belongs to the scope `tenant/acme`, and only keys of that scope seal and open there, whatever an envelope names. The caller's context
//! decides, so make it from what you have authenticated, and never from the envelope or the request alone.
//!
//! ```text
//! waxseal ring init --scope-template 'tenant/{tenant}'
//! waxseal keys create --scope tenant/acme --kek local
//! waxseal seal --ring ring.toml --context tenant=acme -o a.wax plain
//! ```
//!
//! A context whose scope has no key is [`NoKeyForScope`](crate::ErrorKind::NoKeyForScope). No key of a wider scope takes its place by itself: a tenant
//! that somebody forgot would be sealed under a key that others use, and nobody would notice.
//!
//! The template cannot change while the ring has keys.
//!
//! # A branch key for each tenant
//!
//! A million tenants need no million keys of a KMS. A *branch key* is a KEK of 32 random bytes that the ring keeps, wrapped under the active key of a wider scope, its
//! *parent*. It has a record, states and a history as any other key; its class and its protection are those of the parent, and it is never in a better state
//! than the parent. A process unwraps it with one call of the KMS, and keeps it for the `lease_age`.
//!
//! ```text
//! waxseal keys create --scope / --kek vault-transit:tenants      # the parent, once
//! waxseal keys create --scope tenant/acme --kek branch           # wrapped under it
//! waxseal keys rotate --scope tenant/acme --reason TEXT          # 32 other bytes, under the parent that is active then
//! ```
//!
//! The parent scope is `--parent SCOPE`, or else the one of `ring set --provision-parent`, or else `/`. It is of no context itself, and a branch key is no parent.
//!
//! With branch keys, **the inventory is key material**: whoever loses its rows loses what was sealed under them. Back it up (`ring export`, or the database's own
//! means), and try the backup. Whoever reads it gains nothing without the parent.
//!
//! ## On first use
//!
//! An application can make the first key of a tenant when it meets the tenant for the first time. It signs with the key of a *provisioner*, which can do nothing else: it signs
//! no head, and what it signs counts only for a scope of which the signed tree has no record at all.
//!
//! ```text
//! waxseal ring provisioner-key provisioner.key
//! waxseal ring set --provision on-first-use --provision-parent / --provisioner ed25519:...
//! # in ring.toml of the application:  provisioner-key = "provisioner.key"
//! waxseal keys tick                                               # often: takes over what was made
//! ```
//!
//! Until a tick has taken a new key over, nothing but the inventory says that it exists: if the row is deleted, nobody notices, and the tenant gets another key. After that the
//! tree names it, and a deletion is an error. `ring check` counts what was not taken over yet. Any other change of such a scope takes its key over, too.
//!
//! `ring set --provision never` ends it: what was made is used on. A provisioner's key, or the parent, can be taken out of the settings when a tick has taken over what it made.
//!
//! ## The parent is rotated
//!
//! A rotation of the parent touches no branch key: they stay under the key that wrapped them, which still unwraps. Then wrap them under the new one:
//!
//! ```text
//! waxseal keys rotate --scope / --reason "yearly"
//! waxseal ring rewrap-branches            # can be killed and run again; --limit N, --at-once N
//! waxseal ring status                     # how many branch keys are under which key
//! ```
//!
//! For each of them the job unwraps, wraps, and unwraps again before it commits: three calls. It changes no envelope. The signed head counts the branch keys of each parent, so `left` in its
//! result does not depend on what the inventory lists. A branch key under a parent that was revoked is not wrapped anew, since somebody may have it: rotate it, and re-wrap the tenant's data.
//!
//! A parent is neither retired nor destroyed while branch keys are under it, not even by `--force`. To destroy it takes, beside the evidence, an export that is newer
//! than the last re-wrap: from an older one nobody could restore the tenants without that parent. `waxseal ring export FILE`, where the authority is, verifies the file that it has written
//! and lets the ring remember it. A census counts branch keys under their parents (`branch-keys` among what it covers).
//!
//! ## Destroying one
//!
//! `keys destroy` of a branch key takes evidence and the cooling-off as for any key. Then a tick deletes the wrapped bytes from its record; the record stays, and says what they were wrapped
//! under: a copy in a backup of the inventory opens with that key for as long as that one exists. No backend is asked.
//!
//! # A wider scope for those without keys
//!
//! While tenants get keys of their own one by one, the others can be served by a wider scope. Two have to say so:
//!
//! - the authority, in the signed settings: `waxseal ring set --otherwise /` lists the scopes that may serve others. None of them can be the scope of a
//!   context itself;
//! - the process: `otherwise = "/"` in its `ring.toml`, [`KeyRingBuilder::otherwise`](crate::ring::KeyRingBuilder::otherwise), or `--otherwise /`.
//!
//! | the scope of the context | seals | opens |
//! |---|---|---|
//! | has never had a key | under the wider scope's keys | what is under the wider scope's keys |
//! | has a key that seals | under its own keys | what is under its own keys, and what was sealed under the wider scope's before |
//! | has lost its keys: they are retired, revoked or destroyed | no: `NoKeyForScope` | what is under its own keys, as far as their states allow |
//!
//! A key that is pending and has never wrapped is none yet, so a tenant goes on sealing while its first key is made. From the moment it is active, the tenant
//! seals under it, in each process that has read the change; what caches held is turned over. A re-wrap moves older envelopes into the tenant's scope:
//! run a job over them, with the same `otherwise`, then take the scope out of the settings.
//!
//! *Whoever writes the inventory gains nothing.* The signed tree proves whether a scope has a key. If the inventory hides a tenant's records, the process
//! refuses what it reads (`InventoryInvalid`) and seals nothing under a wider key. As everywhere, an older copy of the *whole* ring is believed by a process
//! that starts without a mark; such a process may seal under the wider scope for a tenant that has got its key since.
//!
//! *No tenant opens another's.* Each wrap is bound to its context, under a shared KEK as under its own: an envelope opens only in the context that it was sealed in.
//!
//! Use it
//!
//! - while you move from one key for all to a key for each tenant, and afterwards take it out of the settings again;
//! - for contexts that need no separation, where one forgotten tenant is worse unsealed than sealed under a shared key.
//!
//! Do not use it where a tenant's key is the promise. Under a wider key, whoever may use that KEK at its backend can unwrap for every tenant it serves, a
//! revocation of it concerns them all, and shredding a tenant's own keys leaves what is still under the wider one: re-wrap first, and let a census
//! show that nothing of the tenant is left there. A profile holds for the scope of the context, whichever keys serve it.
