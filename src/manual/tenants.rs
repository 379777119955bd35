//! Tenants: whose keys seal what.
//!
//! For an application whose data belongs to many customers, projects or environments. Each gets a key of its own, so that one can be rotated, revoked, moved or
//! shredded, and the others do not notice. `crates/waxseal-cli/examples/axum_tenants` is a whole application that does all of this: an axum server, PostgreSQL, and an
//! administrator that rotates and shreds keys under load.
//!
//! # Scopes
//!
//! The settings of a [ring](crate::ring) have one *scope template*, which the authority signs: `tenant/{tenant}`, or
//! `tenant/{tenant}/{environment}`. A context with `tenant=acme` belongs to the scope `tenant/acme`, and only keys of that scope seal and open there, whatever an
//! envelope names. The caller's context decides, so make it from what you have authenticated, and never from the envelope or the request alone. Give the
//! context what the template names, and little more: each context costs data keys of its own. Put the id of a row into the AAD, which costs nothing.
//!
//! A context whose scope has no key is [`NoKeyForScope`](crate::ErrorKind::NoKeyForScope). No key of a wider scope takes its place by itself: a tenant
//! that somebody forgot would be sealed under a key that others use, and nobody would notice.
//!
//! The template cannot change while the ring has keys.
//!
//! # Which kind of key
//!
//! | | a KMS key for each tenant | a branch key for each tenant |
//! |---|---|---|
//! | is made by | an administrator: `keys create --scope tenant/acme --kek aws-kms:alias/acme` | an administrator (`--kek branch`), or the application on first use |
//! | is kept | in the KMS | in the inventory, wrapped under a key of a wider scope, the *parent* |
//! | costs | what the KMS charges for a key, and its limits | a row of a few KB in the database |
//! | a call of the KMS | for each data key | for each process, tenant and [`lease_age`](crate::ring::Settings::lease_age) |
//! | a tenant can hold its own key, in its own account | yes | no: whoever may use the parent in the KMS, and reads the inventory, opens every tenant |
//! | to destroy one for good | the KMS does it | the row is destroyed; copies of it in backups open as long as a parent that they are wrapped under exists |
//! | is lost with the inventory | no: the KMS still has it | yes |
//!
//! Both can be in one ring: branch keys for most tenants, and a KMS key for the one that demands it. Class and protection of a branch key are those of its parent, for
//! [profiles](crate::manual::profiles), too. A branch key's state is the worse of its own and its parent's: if the parent is revoked, so are they all. Whoever
//! reads the inventory gains nothing without the parent.
//!
//! The parent is the active key of the scope `--parent SCOPE`, or else of the one of `ring set --provision-parent`, or else of `/`. That scope is of no context itself, and a branch
//! key is no parent.
//!
//! # A key on first use
//!
//! Once, where the authority is:
//!
//! ```text
//! waxseal ring init --scope-template 'tenant/{tenant}'
//! waxseal keys create --scope / --kek aws-kms:alias/tenants          # the parent
//! waxseal ring provisioner-key provisioner.key                       # prints its public half
//! waxseal ring set --provision on-first-use --provision-parent / --provisioner ed25519:...
//! ```
//!
//! `provisioner-key = "provisioner.key"` in the `ring.toml` of an application, above any `[table]`, lets it make first keys. A job that only opens or re-wraps needs none. In code:
//!
//! ```
//! use std::sync::Arc;
//! use waxseal::ring::inventory::MemoryInventory;
//! use waxseal::ring::{Authority, KeyRing, KeySource, NewKey, Provisioning, Reader, RingAdmin, Scope, Trust, UriBackends};
//! use waxseal::{EncryptionContext, ErrorKind};
//!
//! # pollster::block_on(async {
//! # let folder = tempfile::tempdir()?;
//! # let keys = folder.path().display();
//! # let inventory = Arc::new(MemoryInventory::new());
//! // The administrator.
//! let (authority, provisioner) = (Arc::new(Authority::generate()?), Authority::generate()?);
//! let template = "tenant/{tenant}".parse()?;
//! let on_first_use = Provisioning::on_first_use(Scope::root(), vec![provisioner.public()]);
//! let trust = RingAdmin::init(&*inventory, &authority, "alice", |settings| {
//!     settings.scope_template = template;
//!     settings.provision = Some(on_first_use);
//! })
//! .await?;
//! let ring_id = trust.ring();
//! let backends = Arc::new(UriBackends::new().allow(&format!("file:{keys}/*"))?);
//! let admin = RingAdmin::new(Reader::new(trust, inventory.clone()), authority.clone(), backends.clone(), "alice");
//! let parent = KeySource::MadeBeside(format!("file:{keys}/parent")); // or a key of a KMS
//! admin.create(&NewKey::new(Scope::root(), parent)).await?;
//!
//! // An application: it has the public half of the authority, and the private half of the provisioner.
//! let trust = Trust::new(ring_id, authority.public());
//! let ring = KeyRing::builder(trust, inventory, backends).provisioner(provisioner).open().await?;
//! let sealer = ring.sealer().build()?;
//! let (acme, globex) = (EncryptionContext::new([("tenant", "acme")])?, EncryptionContext::new([("tenant", "globex")])?);
//! let sealed = sealer.seal(b"hello", acme.with_aad(b"note 7")).await?;
//! assert_eq!(sealer.open(&sealed, acme.with_aad(b"note 7")).await?, *b"hello");
//! // Another tenant's context opens nothing of it. Opening makes no keys.
//! let error = sealer.open(&sealed, globex.with_aad(b"note 7")).await.unwrap_err();
//! assert_eq!(error.kind(), ErrorKind::NoKeyForScope);
//!
//! // From time to time the administrator's tick takes over what applications have made.
//! assert_eq!(admin.tick(None).await?.taken_over, 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # }).unwrap();
//! ```
//!
//! - *It lasts before it is used.* A branch key seals after its row was committed and read again. `kill -9` at any point loses nothing that was reported as sealed.
//! - *One for each tenant.* Processes that meet a tenant at the same time use the key of the one that was first.
//! - *First means first.* A key is made only for a scope of which the signed tree proves that it has no record at all. A tenant whose key was
//!   revoked, retired or shredded gets no other in this way: `NoKeyForScope`, or the error of the key.
//! - *Run ticks.* Until a tick has taken a new key over, nothing but the inventory says that it exists: if the row is deleted, nobody notices, what is under the key is lost, and
//!   the tenant gets another one. After that the tree names it, and a deletion is an error. `waxseal keys tick --watch` as a service is best; `ring check` counts what was not
//!   taken over yet. Any other change of such a scope takes its key over, too.
//! - *Whoever names tenants makes keys.* Authenticate a tenant before you seal for it.
//!
//! By an administrator instead: leave `--provision never`, the default, and run `waxseal keys create --scope tenant/acme --kek branch` when a tenant signs up.
//!
//! # What a stolen provisioner key can do
//!
//! It can make first keys, for scopes that have no record, under the parent that the settings name, if the thief can also write the inventory and use the parent in
//! the KMS. Whoever has all three sees the bytes of what it makes: new tenants are sealed under a key that the thief knows. Revoke such keys.
//!
//! It cannot sign a head or settings, change or replace a key that is there, revive a scope that was shredded, revoke or destroy anything, choose another parent, or
//! sign census receipts. Nor does it choose periods: a tick that takes a key over gives it those of the settings.
//!
//! To end it: `waxseal ring set --provision never`, let a tick take over what was made, look at what the history of each key says (`provisioner`,
//! `first use of the scope`), and remove the key by `waxseal ring set --remove-provisioner KEY`. A thief who goes on making keys meanwhile hinders that; then add
//! `--give-up-later-keys`: what was made until now is taken over first, and what comes after that counts no more and is listed. Then list another provisioner key, and
//! allow `--provision on-first-use` again.
//!
//! From `--provision never` on, no reader believes a first key that names that revision of the ring or a later one. A thief who inserts rows past the library can name an
//! older one; the removal of the key ends that, too.
//!
//! Whoever may insert rows and has no such key can make rows that nobody believes. Each of them blocks its own scope, and the parent does not end until it is known what they are:
//! `waxseal ring check` names them, and `waxseal ring drop-unbelieved --save FILE` deletes them, kept in a file. In PostgreSQL only the role
//! `waxseal_provisioner` of the crate's grants may insert them.
//!
//! # What it costs
//!
//! | | statements of the database | calls of the KMS |
//! |---|---|---|
//! | a tenant that nobody has met | 2: a read, and the new row | 1: the parent wraps |
//! | a tenant that this process has not met, or not for a while | 1 | 1: the parent unwraps |
//! | a tenant at hand, whatever the number of contexts, seals and opens | 0 | 0 |
//! | a tenant whose branch key is older than `lease_age` (5 minutes) | 0 | 1 |
//! | watching the inventory, four times a second | 1 for all tenants, and the scopes in use that have changed | 0 |
//!
//! *Memory.* A process keeps the records of 10,000 scopes ([`scopes`](crate::ring::KeyRingBuilder::scopes), about 5 KB each), 10,000 open branch
//! keys ([`branch_keys`](crate::ring::KeyRingBuilder::branch_keys)) and 1,000 data keys for sealing and for opening each
//! ([`Caching`](crate::source::Caching)), however many tenants there are. Those that were not used for longest go first, and are wiped.
//! Set the three to what is in use within a few minutes: what does not fit costs the second line of the table.
//!
//! *Rows.* A branch key takes about 3 KB in the database. Each is found by an index.
//!
//! # Rotation
//!
//! - *A tenant's key*: `waxseal keys rotate --scope tenant/acme --reason TEXT`. A new key wraps, the one before still opens. Then re-wrap what is stored, with a
//!   [`Rewrapper`](crate::sealer::Rewrapper), and retire the old key when a census finds nothing under it. No request fails meanwhile. The cadence of
//!   the settings counts for branch keys as for any others: a tick rotates those that are due, and each leaves data to be re-wrapped. If the parent's
//!   rotation is enough for you, choose a long cadence.
//! - *The parent*: `waxseal keys rotate --scope / --reason TEXT`. New branch keys come under the new parent. Those that are there stay under the key that wrapped them, which
//!   still unwraps, and nothing that is stored has to be re-wrapped. Then wrap the branch keys under the new parent:
//!
//! ```text
//! waxseal ring rewrap-branches            # can be killed and run again; --limit N, --at-once N, --allow-weaker
//! waxseal ring status                     # how many branch keys are under which key
//! ```
//!
//! For each of them the job unwraps, wraps, and unwraps again before it commits: three calls. The signed head counts the branch keys of each parent, so `left` in its
//! result does not depend on what the inventory lists. A branch key under a parent that was revoked is not wrapped anew, since somebody may have it: rotate it, and re-wrap the tenant's data.
//!
//! *A better parent makes no branch key better.* Copies of the former wrap stay in backups, and open with the former parent. So a branch key keeps the weakest protection that it ever
//! had, and a [profile](crate::manual::profiles) looks at the class of each wrap that it ever had. To profit from a parent in hardware, or from one that withstands quantum computers, rotate the
//! tenant's key and re-wrap the tenant's data. A parent that is weaker is refused, unless `--allow-weaker` is given.
//!
//! A parent is neither retired nor destroyed while branch keys are under it, not even by `--force`. To destroy it takes, beside the evidence, an export that is newer
//! than the last re-wrap: from an older one nobody could restore the tenants without that parent. `waxseal ring export FILE`, where the authority is, verifies the file that it has written
//! and lets the ring remember it. A census counts branch keys under their parents (`branch-keys` among what it covers).
//!
//! Script: `docs/runbooks/ring-rotate-parent`.
//!
//! # Moving one tenant elsewhere
//!
//! To another KMS, region or jurisdiction, while the others stay:
//!
//! ```text
//! $EDITOR ring.toml      # here, and where processes read the ring: add "aws-kms:alias/acme?region=eu-central-1" to `allow`
//! waxseal keys create --scope tenant/acme --kek 'aws-kms:alias/acme?region=eu-central-1'
//! waxseal keys promote ID --reason 'a contract'
//! ```
//!
//! The scope has an active key, so the new one is pending until it is promoted: readers try it meanwhile. From the promotion on the tenant seals under it, and
//! the former key opens. Re-wrap what is stored; then the former key can be retired and destroyed. The way back is the same, with `--kek branch`.
//!
//! # Shredding
//!
//! `waxseal keys shred --scope tenant/acme --ticket T --reason TEXT` ends a tenant: nothing of it opens in any process that reads the ring, nothing is sealed for it
//! again, and after the cooling-off its keys are destroyed. Its neighbors go on. Answer requests by 410 Gone. What shredding cannot reach:
//!
//! - backups of the inventory, in which the branch key stands wrapped: they open it as long as one of the parents exists that has wrapped it. The receipt names them;
//! - plaintext that somebody has kept, and envelopes that were re-wrapped under keys of others;
//! - what was sealed under a wider scope, see below;
//! - a process that cannot read the inventory, for `max_stale_open` at most.
//!
//! [The page about shredding](crate::manual::shredding) has the whole procedure.
//!
//! `keys destroy` of a single branch key takes evidence and the cooling-off as for any key. Then a tick deletes the wrapped bytes from its record; the record stays, and says what they
//! were wrapped under: a copy in a backup of the inventory opens with that key for as long as that one exists. No backend is asked.
//!
//! # When the inventory is lost
//!
//! With branch keys the inventory *is* key material: whoever loses it loses what is under them, and no KMS can help. So
//!
//! - back it up as you back up the data, and more often: the backup of a branch key that was made a minute ago does not exist yet. Streaming replication with a
//!   standby that is synchronous is what fits;
//! - export it: `waxseal ring export` writes everything, provisioned rows too, and [`KeyRing`](crate::ring::KeyRing) refuses an older copy in each process that has seen a
//!   newer one. Docs: `docs/runbooks/ring-backup`;
//! - restore the inventory and the data to the same moment. Data that is newer than the inventory is `NoUsableKey` if its tenant's key is missing there;
//! - keep parents as long as backups are to be of use.
//!
//! A copy of the inventory without the KMS opens nothing: every branch key in it is wrapped under a parent.
//!
//! # Limits
//!
//! A ring has room for about 10 million records. The part of its tree that a scope belongs to follows from a hash of its name and has room for 3,236 records: a tick leaves first keys to their provisioner's
//! signature above 3,000, which only somebody who chooses names for that comes to. Branch keys are, or were, under at most 1,000 different keys that are not destroyed. A scope has at most 512 bytes. A ring has one template and one parent for first keys; an administrator can choose another parent for each key. Branch keys are
//! made in the slot `default`: a profile that demands several wraps needs keys in the other slots by hand. A process that holds branch keys in memory can be
//! read by whoever reads its memory, as for data keys.
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
//! *Beside keys on first use.* While keys are made on first use, no wider scope may serve. After `--provision never` one may, but it only opens where there is no key, until the last provisioner is out
//! of the settings ([`--remove-provisioner`](#what-a-stolen-provisioner-key-can-do)): until then no tree proves that a tenant has no key.
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
