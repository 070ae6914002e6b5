package imap

import (
	"strconv"

	"github.com/mailfarm/mailfarm/services/imap/internal/wire"
)

// capability tells what the server can (RFC 9051 §6.1.1).
func (s *session) capability(l *wire.Lexer) (reply, error) {
	if l.End(); l.Err() != nil {
		return reply{}, l.Err()
	}
	s.untagged("CAPABILITY " + s.capabilities())
	return reply{}, nil
}

// capabilities differ before and after login: a mechanism is of no use afterwards, and what needs an account tells
// strangers nothing.
func (s *session) capabilities() string {
	const always = "IMAP4rev2 IMAP4rev1 SASL-IR LITERAL+ ID ENABLE LANGUAGE"
	if s.account != 0 {
		c := always
		if s.inflate == nil && !s.svc.cfg.NoCompress {
			c += " COMPRESS=DEFLATE"
		}
		return c + " UNAUTHENTICATE IDLE NOTIFY NAMESPACE CHILDREN LIST-EXTENDED LIST-STATUS SPECIAL-USE CREATE-SPECIAL-USE UIDPLUS MOVE UNSELECT" +
			" ESEARCH SEARCHRES WITHIN CONDSTORE QRESYNC UIDONLY UIDBATCHES INPROGRESS BINARY MULTIAPPEND CATENATE UTF8=ACCEPT STATUS=SIZE OBJECTID" +
			" REPLACE QUOTA QUOTA=RES-STORAGE QUOTA=RES-MESSAGE" +
			" SEARCH=FUZZY ESORT CONTEXT=SEARCH CONTEXT=SORT MULTISEARCH PARTIAL SORT SORT=DISPLAY THREAD=ORDEREDSUBJECT THREAD=REFERENCES THREAD=REFS I18NLEVEL=1 PREVIEW SAVEDATE" +
			" APPENDLIMIT=" + strconv.FormatInt(s.svc.cfg.MaxAppend, 10) + s.sharingCapabilities() + s.metadataCapabilities() + s.urlCapabilities() + s.limitCapabilities()
	}
	c := always
	if !s.secure && s.svc.deps.TLS != nil {
		c += " STARTTLS"
	}
	if !s.mayLogin() {
		return c + " LOGINDISABLED"
	}
	c += " AUTH=PLAIN AUTH=LOGIN AUTH=SCRAM-SHA-256"
	if s.channelBinding() != nil {
		c += " AUTH=SCRAM-SHA-256-PLUS"
	}
	return c
}

// sharingCapabilities are those of access control lists, where there are any.
func (s *session) sharingCapabilities() string {
	if s.svc.deps.Sharing == nil {
		return ""
	}
	return " ACL RIGHTS=texk LIST-MYRIGHTS"
}

// metadataCapabilities are those of annotations, where there are any (RFC 5464 §2, RFC 9590 §4): METADATA is of mailboxes and of
// the server.
func (s *session) metadataCapabilities() string {
	if s.svc.deps.Annotations == nil {
		return ""
	}
	return " METADATA METADATA-SERVER LIST-METADATA"
}

// urlCapabilities are those of authorized URLs, where there are any (RFC 4467, RFC 5550 §4.2).
func (s *session) urlCapabilities() string {
	if s.svc.deps.Keys == nil {
		return ""
	}
	return " URLAUTH URL-PARTIAL"
}

// greet opens the dialogue (RFC 9051 §7.1.1).
func (s *session) greet() {
	s.untagged("OK [CAPABILITY " + s.capabilities() + "] mailfarm ready")
}
