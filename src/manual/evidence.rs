//! What the audit log holds, what it proves and what not, and who keeps what.
//!
//! [`audit_log`](super::audit_log) specifies events and log. This page is for those who set them up, and for those who have to believe them.
//!
//! # What is logged
//!
//! | what | how it comes into the log | how often |
//! |---|---|---|
//! | a DEK is generated, unwrapped or wrapped anew | [`Builder::audit`](crate::Builder::audit) | each time that a KEK is asked |
//! | a cache hands a DEK out again | [`AuditorBuilder::releases`](crate::audit::AuditorBuilder::releases), off by default | each time |
//! | a parent wraps or unwraps a branch key; a process probes a pending key | the same, if the source of the sealer is a key ring; `KeyRing::audit` | each time |
//! | a key or a scope is created, promoted, rotated, retired, revoked, destroyed, shredded; settings; the authority; an approval; a receipt of a shredding | `Reader::audited_by`, with the reader that the administration has | one event for each operation, two for each change of the ring |
//! | a census, a job that re-wraps | `Auditor::begin`; `waxseal census --log` and `waxseal rewrap --log` do it | one at the beginning, one at the end |
//! | a ring is made | `RingAdmin::init_audited`; `waxseal ring init --log` does it | one, and two for its first change |
//! | an empty inventory is filled | `Auditor::begin`; `waxseal ring import --log` does it | one at the beginning, one at the end |
//! | the KEK that seals the private half of an authority | `AuthorityFile::read_audited` and `write_new_audited`; each administrative command does it | each time that the KEK is asked |
//! | somebody probes a KEK by hand | [`Auditor::probe`](crate::audit::Auditor::probe); `waxseal doctor --log` does it | each time |
//! | a cache opens past the end of a DEK, as its outage policy has it | [`Builder::audit`](crate::Builder::audit) | each time |
//!
//! Refusals and failures are events as well: a denial of the KMS, a key that is revoked, a profile that is not met, an operation that the lifecycle
//! does not allow. `--log` of the command does all of this for what the command does.
//!
//! *Not logged:* what is sealed and opened under a [`DataKey`](crate::DataKey) or an open stream after its DEK was released;
//! commands and calls that only read a ring; a key that is made and not used, by `waxseal keygen`, `ring census-key`, `ring approver-key` or `ring provisioner-key`: what such
//! a key signs counts after `ring set` has listed it, which is logged.
//!
//! *Never in an event:* a key, a plaintext, an AAD, the reason that somebody gives, and any value of a context whose key is not
//! [`loggable`](crate::audit::AuditorBuilder::loggable). A scope such as `tenant/acme` holds such a value: an event has its template and its digest then.
//! Digests are no secret: whoever knows what tenants there are finds out which one is meant.
//!
//! # Spans and metrics
//!
//! With an auditor, each operation runs in a span of [`tracing`](https://docs.rs/tracing) that has the name of its event, `waxseal.unwrap` or
//! `waxseal.ring.rotate`, at the level `INFO` under the target `waxseal::audit`. What the operation does in turn is within it: the parent that unwraps a branch
//! key, the change of a ring. The fields are bounded: the action, the purpose, the id of the request, the template and the digest of the scope,
//! the outcome, and the kind of an error. What a cache hands out again has no span.
//!
//! The feature `metrics` counts the same events, and publishes what runs out: the queue of an auditor (`metrics::of_auditor`), hits and misses of a cache
//! (`of_cache`), the age of an inventory (`of_ring`), what is due for a key (`of_view`), and how much a census has found under deprecated keys
//! (`of_receipt`). `extras/prometheus/waxseal.rules.yml` has alerts on them.
//!
//! # Required or best effort
//!
//! With a [required](crate::audit::AuditorBuilder::required) sink, nothing goes on without its event:
//!
//! - A DEK is released after its event is kept. If it cannot be kept, the operation fails with [`Audit`](crate::ErrorKind::Audit), though the KMS has answered.
//! - A change of a ring is made after the event of what is *intended* is kept. If it cannot be kept, nothing changes.
//! - The end of an operation is an event, too. If that one cannot be kept, the operation was done all the same, and the error says so.
//!
//! A full disk therefore stops work, also a revocation. If that is not what you want, keep room for the log (it grows by less than 1 kB for each
//! event), or make the sink of the administration best effort. A [best-effort](crate::audit::AuditorBuilder::best_effort) sink is never waited for; what it
//! loses is counted, and a *gap* with the number stands where the events are missing.
//!
//! # What a crash leaves
//!
//! | the process ends | the log has | what has happened |
//! |---|---|---|
//! | before the event of an access is kept | nothing | a KEK may have been asked; nothing was released |
//! | after it | the event | the DEK may have been released |
//! | between an intended change and its end | the intended change | the ring tells: it has the change if its history has that revision with that head (`waxseal.ring.head`, as in `mark` of `waxseal ring status`) |
//! | after the end of a change, before that of its operation | the change | the move was made; what was to follow it is done by a tick |
//!
//! So the KMS has at least as many calls as the log has events, and at most one more for each call that was on its way when a process was killed. Compare the
//! log with the KMS's own: an access that only the KMS knows of went past this crate.
//!
//! # What it proves, to whom
//!
//! - To whoever has a *checkpoint* from before and the log's public key: that no record of then was edited, dropped, moved or inserted.
//! - To whoever has a *proof* of one record: that it is in the log that the checkpoint signs, without the rest of the log.
//! - To nobody: that what an event says is true. An actor is a name that the application or the administrator gives. A process that was taken over
//!   can write events of things that never were, and use a DEK that it has already without any event.
//! - To nobody without a checkpoint that was kept elsewhere: that nothing is missing at the end, and that the log was not exchanged for another one by whoever
//!   has its private key.
//!
//! # Who keeps what
//!
//! | who | keeps | so that |
//! |---|---|---|
//! | the machine that writes | the log, its private key `DIR.key` | it can go on |
//! | the auditor | the public key (`DIR/vkey`), got on another way than the log | a log with another key is refused |
//! | the auditor, or a witness | checkpoints: one a day, and one after each move that matters, where no writer reaches them | nothing before them can be changed unseen |
//! | the auditor | a copy by `waxseal audit publish`, where no writer reaches it | records that were taken away or changed show the next time |
//! | the administrator | the mark of the ring, which is the revision and head of the last change | changes in the log and in the ring can be compared |
//!
//! A directory has one writer. Several processes have several logs; the instance and the number in each event tell whether one is missing.
//!
//! *One log for many processes.* Where processes come and go, they can share a log in PostgreSQL: `waxseal_sql::PostgresLog`, or
//! `--log postgres-env:VARIABLE?key=FILE` after `waxseal audit init`. All have the same key. A batch of events and the checkpoint that covers it are one
//! transaction, and each writer refuses a log that does not continue what it has seen. A process that was just started has seen nothing, so only a copy
//! shows that the database was taken back to an older state before that.
//!
//! *Copies.* `waxseal audit publish LOG --to PLACE`, or [`audit::publish`](crate::audit::publish) to any [`TileStore`](crate::audit::TileStore), (directories, and objects by the crate `waxseal-object-store`) brings a copy in the
//! layout of C2SP tlog-tiles up to the checkpoint of the log. It refuses a log that does not continue its copy. A copy that the writers cannot
//! change is therefore a kept checkpoint, and all records too; run it as the auditor, every few minutes. A record of a log in a database is proven by its copy; `audit
//! verify` and `audit show` read the log itself, too, since one that was changed has no copy.
//!
//! A daily job on the auditor's machine, with a copy of the log:
//!
//! ```sh
//! set -eu
//! today=$(date -u +%F)
//! waxseal audit verify audit-log --key "$VKEY" --checkpoint kept.note
//! waxseal audit checkpoint audit-log > "$today.note"
//! waxseal audit show audit-log --from "$(date -u -d yesterday +%F)" --to "$today" --json > "$today.json"
//! cp "$today.note" next.note
//! mv next.note kept.note
//! ```
//!
//! `kept.note` is the last checkpoint that verified. It stays as it is if anything is wrong, so that the next run finds the same. Take the first one by
//! `waxseal audit checkpoint` on the day when the log begins.
//!
//! # For people
//!
//! `waxseal page` shows the ring, these logs and the censuses in a browser, and says on each view what was verified and when; the crate `waxseal-page` is the
//! same as a router for an application. It is a window and no evidence: whoever serves it could show anything. `waxseal audit show` shows several logs as one.
//!
//! # Questions that it answers
//!
//! | question | events |
//! |---|---|
//! | Who used this key? | `audit show --key ID`: accesses, and everything that was done to the key |
//! | Who allowed that? | `waxseal.authorizations`, `waxseal.authorizations.used`, the `ticket` and `approver` of a move |
//! | Was a key retired without evidence? | `waxseal.ring.retire` with `waxseal.grounds` `force` |
//! | Was anything released under a key after its revocation? | `waxseal review`, see [after an incident](#after-an-incident) |
//! | What did a leaked key open? | accesses whose `waxseal.keks`, `waxseal.envelope.keks` or `waxseal.exposed` name it |
//! | What was released while something could not be asked? | `waxseal.outage`: `cache`, `inventory` or `failover` |
//! | Did anybody try what is forbidden? | outcomes `denied` and `refused` |
//! | Is anything missing? | `gap`, and holes in `waxseal.sequence` of one instance that no gap explains |
//!
//! # After an incident
//!
//! `waxseal review` answers the questions about one key of a ring in one report:
//!
//! ```sh
//! waxseal review --ring ring.toml --key "$ID" --from 2026-11-01 --log app-1 --log app-2 --log admin \
//!     --log-key "$VKEY_1" --log-key "$VKEY_2" --log-key "$VKEY_ADMIN" \
//!     --receipt receipt.json --proofs proofs > review.md
//! ```
//!
//! It verifies each log first. The report has who used the key and for what, what was refused, the states of the key with actors and tickets, what a census
//! still finds under it, and what is missing: gaps, holes, events under no checkpoint, changes that were begun and not ended. With `--proofs`, whoever gets the report can verify
//! the records that it stands on without the logs.
//!
//! *Released after the revocation.* Each event has the revision of the ring that its process had when it decided. A process that had the revision of the revocation, or a later one, must have
//! released nothing under the key. The command counts such events, over the whole logs, and ends with 10 if there are any. A clock cannot make one or hide one.
//! A process that had not heard of the revocation yet has an older revision: what it released is bounded by `max_stale_open`, and is no such event. The revision is what the process
//! claims: whoever shows a process an older copy of the inventory, without a mark that it compares, gets an older revision into the event. Four things
//! cannot be decided, and are listed: events without a revision, such as a branch key that its parent unwraps; events of processes without a ring, which name the KEK alone;
//! events of branch keys that were moved to another parent; and events with an older revision after a record of the same log that has the revocation. If the process itself
//! had the revocation before, that is a finding. Releases with an older revision that come later than `max_stale_open` allows, by the clocks, are listed for information.
//!
//! *What it cannot show.* It sees the logs that it is given. A process whose log is missing, or that writes none, is not in the report; the KMS has a log of its own to
//! compare with.
