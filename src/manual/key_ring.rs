//! Running a key ring: from day one to the night on which the database is away.
//!
//! A [ring](crate::ring) keeps all keys of one deployment in an inventory, with a scope, a state and a history for each. An
//! application asks the ring which key wraps; an administrator moves keys through their states; evidence decides when a key can go.
//! The application changes how its [`Sealer`](crate::Sealer) is built, and nothing else. Each procedure of this page
//! is a script in `docs/runbooks`, which the tests of the command run.
//!
//! # Who has what
//!
//! | role | has | does |
//! |---|---|---|
//! | reader (an application) | `ring.toml` without `[administration]`; `SELECT` on the inventory and `INSERT` and `UPDATE` on its heartbeats; use of the KEKs | seals, opens, re-wraps |
//! | administrator (a person, a job) | the private half of the authority; write access to the inventory; administration of the KEKs | creates, rotates, promotes, retires, destroys |
//! | census | a census key that the settings list; read access to the stored envelopes; a clock that is right; no KEK | counts, and signs receipts |
//!
//! The inventory needs no trust: every record is signed by the authority, and readers hold the authority's public key in `ring.toml`. Keep
//! the private half where no application runs. `waxseal ring init --authority-kek KEK-URI` seals it under a KEK.
//!
//! # Day one
//!
//! ```text
//! waxseal ring init                                      # ring.toml, ring.db, ring.authority, ring.keys/
//! waxseal keys create --scope / --kek local              # or a KEK URI, if `allow` in ring.toml has it: ring init --allow vault-transit:app
//! waxseal seal --ring ring.toml -o a.wax plain
//! waxseal open --ring ring.toml a.wax
//! waxseal ring check
//! ```
//!
//! `waxseal ring init --adopt KEK-URI` registers a KEK that wraps data already: envelopes of before open as before. `ring init` overwrites nothing, and
//! writes `ring.toml` last. If it was interrupted, or could not use the KEK, run it again: it goes on with what is there. With `--ring payments.toml` the files
//! are named `payments.db` and so on, so that several rings can be neighbors.
//!
//! In an application:
//!
//! ```no_run
//! use std::sync::Arc;
//! use waxseal::EncryptionContext;
//! use waxseal::ring::{Inventory, config::RingConfig};
//! use waxseal::runtime::ProcessEnvironment;
//!
//! # async fn run(inventory: Arc<dyn Inventory>) -> waxseal::Result<()> {
//! let config = RingConfig::read("/etc/app/ring.toml")?;
//! // `inventory`: a `SqliteInventory` or `PostgresInventory` of the crate waxseal-sql.
//! let ring = config.builder(inventory, Arc::new(ProcessEnvironment))?.open().await?;
//! let sealer = ring.sealer().build()?;
//! let sealed = sealer.seal(b"hello", &EncryptionContext::new([("tenant", "acme")])?).await?;
//! # Ok(())
//! # }
//! ```
//!
//! Script: `docs/runbooks/ring-day-one`.
//!
//! # The states of a key
//!
//! A key is in one state, and moves only as this table says. The table is generated from [`STATES`](crate::ring::STATES).
//!
//! <!-- states -->
//!
//! | state | NIST SP 800-57 | wraps | opens | re-wrapped from | goes to |
//! |---|---|---|---|---|---|
//! | pending | pre-activation | its canary share | yes | yes | active; deprecated (a canary that is rolled back); compromised; destroyed (if it never wrapped) |
//! | active | active | yes | yes | yes | deprecated (when another key of its scope and slot becomes active, in the same change); retired (if its scope is shredded or closed, with an authorization); compromised |
//! | deprecated | deactivated | no | yes | yes | retired (with evidence, or after the overlap if the settings say so); active (a reinstatement; the active key becomes deprecated in the same change); compromised |
//! | retired | deactivated | no | no | with an approval | deprecated (a reinstatement); destroying (with evidence, or because its scope was shredded); compromised |
//! | compromised | compromised | no | no | with an approval | destroying (with evidence, or because its scope was shredded) |
//! | destroying | deactivated | no | no | no | retired (cancelled, if it was retired); compromised (cancelled, if it was compromised); destroyed (when the backend says so, or an operator attests it) |
//! | destroyed | destroyed | no | no | no |  |
//!
//! <!-- /states -->
//!
//! # Rotation
//!
//! Run `waxseal keys tick` every few minutes, or `waxseal keys tick --watch` as a service, in as many places as you like: each move
//! happens once. A tick rotates keys whose cadence is over, promotes successors that every listed reader has tried, and retires and
//! destroys what evidence permits. By hand: `waxseal keys rotate --scope S --reason TEXT`.
//!
//! Readers that a promotion must wait for are listed by `waxseal ring set --readers NAME=PUBLIC-KEY,SCOPE`. Each of them reports every 30
//! seconds in a heartbeat that its key signs (`reader` and `reader-key` in its `ring.toml`; `waxseal ring census-key FILE` makes such a file and
//! prints the public key); nothing else counts as its report. It
//! need only report on keys of the scopes that are listed with it, or of all if none is, and tries those of scopes that it has not used yet, too. A
//! reader without a public key can be listed as well: that is a net for mistakes, since whoever may write heartbeats can report in its
//! name. Any other process that reads the ring delays a promotion for as long as its fresh heartbeats say that it cannot use the key, or does not know it,
//! unless every listed reader has a public key: then it is only warned of.
//! `--skip-reader NAME` of `keys tick`, `keys rotate` and `keys promote` goes on without a report, and the history says so.
//!
//! After a promotion the old key is deprecated: it opens, and wraps nothing anymore. Re-wrap what is stored within the overlap:
//! `waxseal rewrap --ring R --in-place FILE`. Exit codes: 0 if something was done, 11 if nothing is due, 8 if something that is due was refused.
//!
//! If a tick dies at any point, a later one goes on. What a process has begun is its own for two minutes, so that nobody does it twice: until then `keys tick` lists it under
//! `by_others`, with the time. What it made at a backend and cannot use is reported as an orphan.
//!
//! Script: `docs/runbooks/ring-rotate`.
//!
//! # Canary
//!
//! `waxseal keys rotate ID --canary 5% --reason TEXT` makes a successor that wraps for a twentieth of the contexts and waits. Then
//! `waxseal keys promote` promotes it. If a KEK is shared by several scopes, `--canary SCOPE,…` rotates it in those scopes first.
//!
//! To stop a canary, or to give up a successor that waits, take it back: `waxseal keys take-back ID --reason TEXT`. As long as a pending key waits, its
//! scope and slot are not rotated. A canary becomes deprecated: it wraps nothing anymore, and opens what it has wrapped. A key that
//! has not wrapped anything is no key of the ring anymore; at its backend nothing is changed, and its KEK can be registered again.
//!
//! Script: `docs/runbooks/ring-canary`.
//!
//! # Rollback
//!
//! `waxseal keys reinstate ID --reason TEXT` makes a deprecated key active again, and deprecates the active one in the same change.
//! Nothing that was sealed meanwhile is lost: both open. A retired key becomes deprecated, and opens again. A key whose KEK the backend has
//! disabled is refused: enable it there first.
//!
//! Script: `docs/runbooks/ring-rollback`.
//!
//! # When a key has leaked
//!
//! `waxseal keys revoke ID --ticket T --approver WHO --reason TEXT` makes the key compromised, at once and for good. It asks no reader, no hook and no
//! census; ticket and approver stand in the history as claims. No command takes it back.
//!
//! *Other processes.* Each process that reads the ring ends every data key whose envelope names the KEK, in caches, handles and streams: `KeyRevoked` at
//! the next call or chunk. That takes a quarter of a second, the time between two looks at the inventory, and the time that a look takes. A process that
//! does not reach the inventory goes on for `max_stale_open` at most. Which version of a KEK an envelope names is a claim, so data keys under
//! other versions end, too; the next call fetches a new one.
//!
//! *What was sealed.* An envelope that needs the key is `KeyRevoked` from then on. One that has another good wrap opens, and counts as exposed
//! ([`Status::exposed_opens`](crate::ring::Status::exposed_opens), [`DekLease::exposed_by`](crate::source::DekLease::exposed_by)), unless its profile says
//! `refuse-exposed`. To have the rest back, see [below](#break-glass).
//!
//! *What is sealed.* A successor takes the place of a key that was active: the pending key of its scope and slot, a canary or a staged one as well, or else a
//! new one, which waits for no reader. Until that one is active, sealing returns `NoKeyForScope`. If the backend fails or the
//! command is killed, `waxseal keys tick` goes on with it; so do the same command once more, and `waxseal keys rotate ID`. If the command was killed while it made the successor, all of
//! them wait until its lease is over, two minutes after it began: `keys tick` says until when (`by_others`). With `--no-successor` nothing takes its place by itself.
//!
//! *A gate.* `--gate COMMAND` tries the successor before it becomes active: a program that seals and opens with it, for example, or asks a monitor. The revoked key is out of use whatever the
//! gate says; only the successor waits. If the gate refuses, does not end within `--gate-timeout`, or dies, the successor stays pending, nobody promotes it by
//! itself, and the message says how to go on: mend what the gate found and run the same command again, or `waxseal keys promote ID` without a gate. The library has
//! [`Gate`](crate::ring::Gate), and `keys rotate`, `promote` and `tick` take a gate, too. That a gate decides is in the ring before it is asked, together with the
//! revocation or with what is about to be made.
//!
//! *The backend.* Nothing is disabled there unless you say `--disable-at-backend`, since nothing can be re-wrapped out of a disabled KEK. That waits for no hook and no gate;
//! where the newest version of a KEK cannot be disabled (Vault), it is done as soon as the successor is made. If the backend does
//! not do it, the key is revoked all the same; the same command tries it once more. The command names other keys of the ring that are the
//! same KEK: revoke them, too. A new version of a key helps if the version has leaked. If somebody had access to the backend itself, revoke with
//! `--no-successor`, and create a key elsewhere.
//!
//! *Branch keys.* Whoever has a key that branch keys are wrapped under, or were, and the inventory or a backup of it from then, has the branch keys. So they are exposed
//! with it. Those that are wrapped under it now are out of use at once: `seal` returns `NoKeyForScope` and `open` `KeyRevoked` in their scopes. Those that were wrapped
//! under it before go on, so that what is stored opens; but they count as exposed, a profile with `refuse-exposed` refuses them, and each process that seals with one writes
//! a `tracing` warning. `waxseal keys revoke` and `waxseal ring simulate` name both. `waxseal keys tick` rotates those that are active, as soon as another key of the parent's scope is
//! active: at most 1,000 in one tick for each revoked key, and the next one goes on, also after it was killed. Where nothing can be sealed, it waits for no reader. Then re-wrap what was sealed. An exposed branch
//! key is neither promoted nor reinstated, and `ring rewrap-branches` does not help: the 32 bytes stay the same.
//!
//! *The same KEK elsewhere.* A KEK that was revoked in one scope is not registered, adopted, promoted or reinstated in another.
//!
//! *Afterwards.* `waxseal ring status` shows what is exposed: each key that was revoked and is not destroyed, since when, whether another one is in its
//! place, which branch keys are exposed with it, and which other keys are the same KEK. `waxseal ring check` notes branch keys that need rotation; the ring is good all the same. `waxseal census` counts what is under it. `waxseal review` says who used it and for what, by the audit logs, and whether anything was released under it at or after
//! the revision that revoked it (see [`evidence`](super::evidence)). A program that has to let its users authenticate again has
//! [`Hook::on_revoke`](crate::ring::Hook::on_revoke).
//!
//! A leaked key opens what was copied before, whatever the ring says: what was under it is to be counted as known.
//!
//! Script: `docs/runbooks/ring-revoke`.
//!
//! ## Break-glass
//!
//! What is under a revoked key alone opens no more. If it is needed, somebody who is neither the administrator nor the job that runs approves that a re-wrap uses the key once more:
//!
//! ```text
//! waxseal ring approver-key carol.key                           # once, on the approver's machine
//! waxseal ring set --approver ed25519:…                         # once, where the authority is
//! waxseal ring approve --key ID --ticket INC-7 --expires PT8H --signer carol.key -o approval.json
//! waxseal rewrap --ring ring.toml --approval approval.json --context tenant=acme report.wax -o report.wax
//! ```
//!
//! An [approval](crate::ring::Approval) is one signed line of JSON, and holds no secret: for one key of one ring, with a ticket, and good until a time, at most for a week. It
//! allows a re-wrap and nothing else; what is under the key still does not open, and opens after the re-wrap, under the keys that wrap now. In a program,
//! `sealer.authorized_by([approval.authorization()])` gives a sealer whose re-wraps may use it, a [`Rewrapper`](crate::sealer::Rewrapper) included.
//!
//! *What is checked.* At each use the ring verifies the signature, that the settings list the signer now, that the approval is for this ring and this very key, that the key has not
//! moved to another state since it was issued, and that it is not over. By the clock of the inventory and that of the machine, whichever is later; if they differ by more than
//! `clock_tolerance`, or the ring was last changed at a time that has not come yet, the error is `ClocksDisagree`. If the clock that it was issued by was corrected since
//! (`ring clock --correct`), its life counts from the correction. Each reason has its own [`ApprovalFault`](crate::ErrorKind::ApprovalRefused), and the key is not
//! asked. For a branch key, the approval names it, or the key that it is wrapped under. A key that is destroyed has no approval.
//!
//! *What was used.* [`NewWraps::authorizations`](crate::sealer::NewWraps::authorizations) has the ticket, the approver, the key and the document of each approval that was used, and so does
//! [`Rewrapped`](crate::source::Rewrapped) for a layer that audits. A `tracing` warning is written each time that a key was used under one. The command
//! says it, too.
//!
//! *Afterwards.* `waxseal ring set --remove-approver` ends what an approver has approved. Approvals do not have to be deleted: they end.
//!
//! Script: `docs/runbooks/ring-break-glass`.
//!
//! # Retirement
//!
//! A key is retired when nothing is under it. Only a census can show that:
//!
//! ```text
//! waxseal census /srv/data --receipt receipt.json
//! waxseal keys retire ID --receipt receipt.json
//! ```
//!
//! The receipt names every key with the number of envelopes under it, and how many of those no other key of the same scope
//! opens (*sole*). A receipt that is not whole counts for no key. An envelope that hides its KEK id counts against every key of its provider.
//!
//! A receipt counts for a key only if the census began late enough, in two ways:
//!
//! - It had read the ring at the revision with which the key stopped wrapping, or a later one. Revisions are signed and in order, so no clock can
//!   change that. If the key was reinstated after it was retired, somebody needed it: then the census must have begun after that, and a census for `destroy`
//!   after the key was retired or revoked. So retiring and destroying take a census each.
//! - Since then [`evidence_wait`](crate::ring::Settings::evidence_wait) had passed. Until then a process may still seal under the key:
//!   one that has not read the ring since (`max_stale`), with data keys that it holds (`lease_age`) and streams
//!   that it has begun (`stream_age`); and what was sealed may not be visible yet (`store_delay`). A tenth of `max_stale`, but at least 2 seconds, comes
//!   on top for the change itself. With the defaults that is 1 hour, 6 minutes and 6 seconds, and the refusal of a receipt names each part. If you lower
//!   one of these settings, evidence waits for what the former ones allowed as well. The end of an overlap (`retire = "overlap-end"`) waits for as long.
//!
//! A ring that you make to try all this is quick with `waxseal ring init --max-stale PT1S --lease-age PT1S --stream-age PT0S --overlap PT0S`: its evidence
//! waits for 4 seconds. Without `--stream-age`, a new ring lets a stream go on for 12 times its `--lease-age`, and at most for an hour.
//!
//! `clock_tolerance` is no part of the wait. A key stopped at the later of the times that the inventory and the machine said, and a census began at the
//! earlier one, so a database that lies, or one machine whose clock is wrong, gains nothing. If both are wrong at once in the same direction, which
//! takes both, evidence counts up to `clock_tolerance` too early for each of the two times. With SQLite both are one clock: see [the threat
//! model](crate::manual::threat_model).
//!
//! A census covers what it was given, and says so: `covers` and `not_covered` in the receipt. Say what it must have been given, so that nobody
//! forgets a store: `waxseal ring set --must-cover files:/srv/data --must-cover store:users.key`. A receipt that lacks one of these retires and
//! destroys nothing. Nor does one that saw not one envelope in one of these, or none at all (a disk that is not mounted looks like that), unless somebody
//! says `--allow-empty`. Each place has a count of its own in the receipt.
//!
//! If no machine sees all places, each counts its own: `waxseal keys retire ID --receipt one.json --receipt other.json`. Each receipt has to count by
//! itself, and together they have to cover what the settings demand. Two censuses run at different times, so an envelope that a job moves meanwhile from
//! a place of the later one to a place of the earlier one is seen by neither: count such places in one census.
//!
//! Files in which an envelope begins within the first 4 KiB, but not at the first byte, or in base64, hexadecimal digits, a list of numbers or with
//! escapes, cannot be counted: they make the receipt not whole. What is compressed, in an archive or in the rows of a database is not seen: take it
//! out, and add it by [`Census`](crate::ring::evidence::Census).
//!
//! The machine that counts needs no authority: `waxseal ring census-key census.key` makes a key that signs receipts and nothing else, `waxseal ring set
//! --census-key PUBLIC-KEY` lists it in the settings, and `waxseal census ... --key census.key` signs with it. After `--remove-census-key` nothing that it has
//! signed counts anymore, not even in a process that has verified it before.
//!
//! After you restore the inventory from an export, throw away all receipts from before: they may speak of a history that was lost. The ring notices
//! that only for a receipt of the very revision that it has.
//!
//! A census never covers backups. Keep a retired key as long as a backup may hold envelopes under it.
//!
//! A key that was retired by force, or by the end of its overlap, may have left wraps behind beside good ones (*shared*). A re-wrap keeps them: it
//! drops a wrap only if it can tell that the wrap is under that key, and a retired key unwraps nothing. So reinstate it, re-wrap, and retire it again.
//!
//! # Destroying
//!
//! `waxseal keys destroy ID --receipt FILE` is for later. It begins the cooling-off (7 days), and nobody can register that KEK from then on. After the
//! cooling-off, a tick tells the backend; when the backend says that the KEK is destroyed, so is the key. The receipt has to find nothing under the
//! whole KEK, by a census that began after the key was retired or revoked, or its destruction
//! called off. If the KEK is a key of several scopes, destroy each of them with a receipt: the backend is told when the last has cooled
//! off, and all end together. At most 2,000 keys are destroyed at once. Beginning to destroy, and telling the backend, read the whole ring.
//!
//! `waxseal keys destroy ID --cancel --reason TEXT` saves the key until the backend has destroyed it. It is recorded first, so that nobody tells the
//! backend anew; a backend that was told calls it off (AWS, Google, Azure), and the KEK is enabled if it was before. If somebody calls
//! the destruction off at the backend by its own means, the ring does not tell the backend again, and says so: cancel it in the ring, too.
//!
//! Key files, tokens and Transit servers destroy at once, so the ring does not tell them: destroy the KEK there, and record it with
//! `--attest`. While the backend says that the KEK is there, that is refused. Take care to destroy no more than this key:
//!
//! | backend | to destroy one key of the ring |
//! |---|---|
//! | a key file | remove the file, and every copy of it |
//! | Vault, OpenBao | deleting the key destroys *every* version. For version N and all before it: set `min_decryption_version` and `min_encryption_version` to N + 1, then `trim` with `min_available_version` N + 1 |
//! | Azure Key Vault | deleting the key deletes *every* version. One version can only be disabled |
//! | PKCS#11 | remove the object with this label and this `CKA_ID`, and no other one with this label. A key without `CKA_ID` is the object that has none |
//!
//! Script: `docs/runbooks/ring-retire`.
//!
//! To make everything of a scope unreadable, whatever is under its keys, see [the page about shredding](crate::manual::shredding).
//!
//! `waxseal ring simulate` tells what `keys rotate`, `retire`, `revoke`, `destroy` or `shred` would do: which scopes it affects, how many envelopes by census receipts, which
//! readers lag, what would refuse it, and when it would be due. It changes nothing and asks no key manager, so it needs neither the authority nor credentials.
//!
//! # Backup and restore
//!
//! `waxseal ring export FILE` writes the whole ring, from one moment, after it was verified. The export holds no secret: the KEKs stay in
//! their backends. Back up three things, in different places: the export, `ring.authority` (or the KEK that seals it), and local key files.
//!
//! To restore, move away what is left of the inventory, and fill an empty one: `waxseal ring import FILE`. An export that is older than the mark
//! file is refused: keys may have moved since. A machine that has no mark file cannot notice that, and `waxseal ring check` says so: give it the mark of another machine
//! or of the last export, `waxseal ring check --mark REVISION:HEX`. If there is nothing newer, delete the mark file of each process in full knowledge of that: a
//! key that was rotated after the export is unknown to the ring, and what was sealed under it does not open until the key is adopted again
//! (`waxseal keys adopt`). The KEK itself still exists in its backend.
//!
//! Script: `docs/runbooks/ring-backup`.
//!
//! # The database is away
//!
//! Applications go on with what they have read: they seal for `max_stale` (60 seconds by default) and open for `max_stale_open`. Then they return
//! `InventoryStale`, which is retryable. Nothing needs a restart when the database is back. A process that starts without
//! the database gets an error, and no guess. No key is moved meanwhile.
//!
//! To give yourself more time for reading, set it before the night comes: `waxseal ring set --max-stale-open PT24H`. What a key that was
//! retired or compromised meanwhile opens is then opened for that long by processes that did not hear of it, and a census counts that
//! much later.
//!
//! If the database is lost, restore the export into a new one, and put its place into each `ring.toml`.
//!
//! Script: `docs/runbooks/ring-away`.
//!
//! # Clocks
//!
//! Dates of keys, overlaps, cooling-offs and evidence go by the inventory's clock, which all processes have in common and nobody signs. So whoever signs
//! something (an administrator, a tick, a census) compares it with the clock of the own machine, and signs nothing if they are further apart than
//! `clock_tolerance` (5 minutes): `ClocksDisagree`, exit code 10, with both times. Set the one that is wrong. If they have to be further apart, say so:
//! `waxseal ring set --clock-tolerance PT15M`; evidence then waits that much longer. With SQLite both are the same clock, that of the machine.
//!
//! Each change of a ring bears a time, and never an earlier one than the change before: a clock that is set back undoes nothing. If a change was
//! signed by a clock that was ahead (with SQLite, one machine is enough), the time of the ring stands still until the right time has come there. Nothing is lost
//! and nothing is over too early meanwhile, but no census counts for what was moved then. `waxseal ring check` says so, and
//! `waxseal ring clock --correct --reason TEXT` sets the time back. That is an act of the authority, and the settings keep who did it and why. Keys whose dates
//! lie in the future have them counted anew from now: the next rotation by the cadence, the retirement by the overlap, the destruction by the cooling-off.
//! Look through them afterwards (`waxseal keys list`). A key that stopped wrapping before the correction counts as stopped at the time of the correction:
//! be sure that the clocks are right then, since one that is behind lets evidence count too early.
//!
//! # The authority
//!
//! `waxseal ring authority rotate` makes another authority and signs every record anew. Readers follow from the public key that they have;
//! put the new one into each `ring.toml` soon. A succession does not help against a *stolen* private half: the thief can sign, too. Then
//! make a new ring, adopt the KEKs there, and replace `ring.toml` everywhere.
