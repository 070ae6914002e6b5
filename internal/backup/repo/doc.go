// Package repo is a repository of backups: objects named by their SHA-256, in packs that tar and zstd read, and snapshots that
// refer to them.
//
//	README.txt                          how to read all this with plain tools
//	packs/<sha256>.tar.zst              members body/<sha256>.eml and rows/<sha256>.jsonl, each compressed by itself
//	packs/<sha256>.jsonl                where in the pack each member lies
//	snapshots/<time>-<sha256>.json      one backup: what it refers to is a full picture
//
// Where it is encrypted (Seal), all but README.txt ends in ".age" as well.
//
// A pack is written whole, then its index, then the snapshot: what a run that ended early left behind is used by the next one,
// or removed by Prune. Nothing that is there is ever changed. An object that is there is not written again, by whatever run,
// and so each is there once.
package repo
