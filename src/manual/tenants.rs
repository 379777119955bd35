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
