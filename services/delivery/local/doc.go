// Package local is the role delivery-local, the MDA: it decides where in the owner's account a message goes, and has the
// store file it, exactly once per recipient.
//
// Work comes from mail.local.<p> in batches and leaves as one Deliver call per batch. What delivery adds to a message —
// Return-Path (RFC 5321 §4.4), Delivered-To, the filter's fields — is an overlay; the body is neither read nor written.
// A recipient that cannot be served now goes back to the ledger with a due time.
package local
