// Package reclaim gives room in the blob store back, by the rules of design §4.
//
// It goes through sealed segments whose messages recovery has accounted for, and asks the database which of their frames
// something refers to: an email, a recipient that is not final, a message in the outbox, a note of recovery, or a
// frame that shares the body and is itself referred to. There is no count that could go wrong. What nobody refers to is
//
//	condemned   from then on a transaction that would newly refer to it fails (index.ErrCondemned);
//	looked at   again once every transaction and RPC that began before has ended (Config.Wait): what is referred to
//	            after all is pardoned;
//	removed     after the restore window, with one more look.
//
// A segment that is mostly dead goes as a whole: what lives in it is copied to the end of the store, its new place is
// noted by compare-and-set, and the old segment goes after the restore window, so that a database restored from a backup
// within it finds every frame that it names. Rows never change: they keep a frame's first ID, and a reader that misses
// looks the place up once (blob.Locator). Of a segment that mostly lives, dead bodies that lie apart go alone.
//
// Every step can be repeated; between any two of them the process may die. Two processes that reclaim at once cost room,
// never mail: a copy that loses the compare-and-set is dead like any other frame.
package reclaim
