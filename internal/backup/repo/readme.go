package repo

// readme is put into every repository.
const readme = `This is a backup repository of mailfarm, format 1. mailfarm reads it by "mailfarm backup" and
"mailfarm restore"; sha256sum, tar, zstd and jq read it as well.

  snapshots/<time>-<first 16 digits of its SHA-256>.json
      One backup, whole by itself. "accounts", "directory", "queue" and "farm" name objects.
  packs/<SHA-256>.tar.zst
      A tar archive, compressed member by member. Unpack all of them into one folder:
          for p in packs/*.tar.zst; do zstd -dc "$p" | tar -xf - -C out; done
      and each object is a file that is named by the SHA-256 of what is in it:
          out/body/<SHA-256>.eml      a message, octet by octet as it was stored
          out/rows/<SHA-256>.jsonl    lines of JSON
  packs/<SHA-256>.jsonl
      Where each member begins in its pack ("at"), and how long it is there ("stored").

Files that end in ".age" are encrypted, each by itself (age-encryption.org/v1); with the secret key age decrypts them:
          for f in packs/*.age snapshots/*.age; do age -d -i KEYFILE -o "${f%.age}" "$f"; done

From a snapshot to a message:

  1. Each object in "accounts" has a line per account: its id, its address, and "rows": an object.
         jq -c 'select(.address == "alice@example.org")' out/rows/<accounts>.jsonl
  2. That object has lines with a "table" each, as "mailbox", "subscription" and "acl". A line with "piece" stands for
     the lines of another object.
  3. Lines of the table "chunk" have the messages of a mailbox: UID, flags, MODSEQ, times, and "email".
         jq -c 'select(.table == "chunk") | .messages[]' out/rows/<rows>.jsonl out/rows/<pieces>.jsonl
  4. The line of the table "email" with that id has "body": the object with the message. What readers are shown is
     "overlay.prefix" and then the body without the ranges in "overlay.cuts" ([offset, length]).

Lines of "removed" and "removed_mailbox" are what was deleted and is kept for a time; lines of "directory" have domains,
accounts with the hashes of their passwords, aliases and groups; lines of "farm" are limits and rules that are of a domain
or of all, and of no account; lines of "queue" have mail that was accepted and not yet
delivered, with its envelope ("entry") and the frame's own record ("tail", mailfarm.mail.v1.FrameTail in base64).
Ids and numbers that may be above 2^53 are strings. Times are UTC; "keep_ns" and "older_ns" are durations in nanoseconds.

Whoever reads this repository, or has the secret key of one that is encrypted, reads everybody's mail.
`
