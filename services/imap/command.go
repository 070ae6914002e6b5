package imap

import (
	"time"

	"github.com/mailfarm/mailfarm/services/imap/internal/wire"
)

// states in which a verb is allowed (RFC 9051 §3), as bits.
type states uint8

const (
	notLoggedIn states = 1 << iota
	loggedIn
	selectedState

	anyState  = notLoggedIn | loggedIn | selectedState
	afterward = loggedIn | selectedState
)

// told says what of others' changes is told before the tagged response; zero is all, EXPUNGE among it.
type told uint8

const (
	// toldNumbered keeps sequence numbers as they are (RFC 9051 §7.5.1): FETCH, STORE and SEARCH without UID.
	toldNumbered told = iota + 1
	// toldNone is for verbs that tell all there is to tell themselves.
	toldNone
)

// verb is a row of the command table.
type verb struct {
	states states
	run    func(s *session, l *wire.Lexer) (reply, error)
	told   told
	// literals tells that an argument may be a literal.
	literals bool
	// binary tells that it may be a literal8.
	binary bool
	// streams tells that a literal behind the first argument is read by run.
	streams bool
}

// commands is the command table: a line per verb, a file per verb.
var commands = map[string]verb{
	"CAPABILITY":   {states: anyState, run: (*session).capability},
	"ID":           {states: anyState, run: (*session).identify, literals: true},
	"NOOP":         {states: anyState, run: (*session).noop, told: toldNone},
	"LOGOUT":       {states: anyState, run: (*session).logout, told: toldNone},
	"LANGUAGE":     {states: anyState, run: (*session).language, literals: true},
	"STARTTLS":     {states: notLoggedIn, run: (*session).startTLS},
	"LOGIN":        {states: notLoggedIn, run: (*session).login, literals: true},
	"AUTHENTICATE": {states: notLoggedIn, run: (*session).authenticate},

	"UNAUTHENTICATE": {states: afterward, run: (*session).unauthenticate, told: toldNone},
	"COMPRESS":       {states: afterward, run: (*session).compress},
	"ENABLE":         {states: afterward, run: (*session).enable},
	"NOTIFY":         {states: afterward, run: (*session).notifyCommand, literals: true},
	"NAMESPACE":      {states: afterward, run: (*session).namespace},
	"LIST":           {states: afterward, run: (*session).list, literals: true},
	"LSUB":           {states: afterward, run: (*session).lsub, literals: true},
	"CREATE":         {states: afterward, run: (*session).create, literals: true},
	"DELETE":         {states: afterward, run: (*session).delete, literals: true},
	"RENAME":         {states: afterward, run: (*session).rename, literals: true},
	"SUBSCRIBE":      {states: afterward, run: (*session).subscribe, literals: true},
	"UNSUBSCRIBE":    {states: afterward, run: (*session).unsubscribe, literals: true},
	"STATUS":         {states: afterward, run: (*session).status, literals: true},
	"APPEND":         {states: afterward, run: (*session).append, literals: true, streams: true},
	"IDLE":           {states: afterward, run: (*session).idleCommand},
	"SELECT":         {states: afterward, run: (*session).selectCommand, told: toldNone, literals: true},
	"EXAMINE":        {states: afterward, run: (*session).examine, told: toldNone, literals: true},

	"GETQUOTA":     {states: afterward, run: (*session).getQuota, literals: true},
	"GETQUOTAROOT": {states: afterward, run: (*session).getQuotaRoot, literals: true},
	"SETQUOTA":     {states: afterward, run: (*session).setQuota, literals: true},

	"GETMETADATA": {states: afterward, run: (*session).getMetadata, literals: true},
	"SETMETADATA": {states: afterward, run: (*session).setMetadata, literals: true, binary: true},

	"GENURLAUTH": {states: afterward, run: (*session).genURLAuth, literals: true},
	"RESETKEY":   {states: afterward, run: (*session).resetKey, literals: true},
	"URLFETCH":   {states: afterward, run: (*session).urlFetch, literals: true},

	"GETACL":     {states: afterward, run: (*session).getACL, literals: true},
	"SETACL":     {states: afterward, run: (*session).setACL, literals: true},
	"DELETEACL":  {states: afterward, run: (*session).deleteACL, literals: true},
	"LISTRIGHTS": {states: afterward, run: (*session).listRights, literals: true},
	"MYRIGHTS":   {states: afterward, run: (*session).myRights, literals: true},

	"REPLACE":     {states: selectedState, run: (*session).replace, told: toldNone, literals: true, streams: true},
	"UID REPLACE": {states: selectedState, run: (*session).uidReplace, told: toldNone, literals: true, streams: true},

	"CHECK":        {states: selectedState, run: (*session).noop, told: toldNone},
	"CLOSE":        {states: selectedState, run: (*session).closeCommand, told: toldNone},
	"UNSELECT":     {states: selectedState, run: (*session).unselectCommand, told: toldNone},
	"EXPUNGE":      {states: selectedState, run: (*session).expunge, told: toldNone},
	"UID EXPUNGE":  {states: selectedState, run: (*session).uidExpunge, told: toldNone},
	"FETCH":        {states: selectedState, run: (*session).fetch, told: toldNumbered, literals: true},
	"UID FETCH":    {states: selectedState, run: (*session).uidFetch, literals: true},
	"STORE":        {states: selectedState, run: (*session).store, told: toldNumbered},
	"UID STORE":    {states: selectedState, run: (*session).uidStore},
	"SEARCH":       {states: selectedState, run: (*session).search, told: toldNumbered, literals: true},
	"UID SEARCH":   {states: selectedState, run: (*session).uidSearch, literals: true},
	"SORT":         {states: selectedState, run: (*session).sort, told: toldNumbered, literals: true},
	"UID SORT":     {states: selectedState, run: (*session).uidSort, literals: true},
	"THREAD":       {states: selectedState, run: (*session).thread, told: toldNumbered, literals: true},
	"UID THREAD":   {states: selectedState, run: (*session).uidThread, literals: true},
	"COPY":         {states: selectedState, run: (*session).copy, literals: true},
	"UID COPY":     {states: selectedState, run: (*session).uidCopy, literals: true},
	"MOVE":         {states: selectedState, run: (*session).move, told: toldNone, literals: true},
	"UID MOVE":     {states: selectedState, run: (*session).uidMove, told: toldNone, literals: true},
	"CANCELUPDATE": {states: selectedState, run: (*session).cancelUpdate, literals: true},
	"ESEARCH":      {states: afterward, run: (*session).multiSearch, literals: true},
	"UIDBATCHES":   {states: selectedState, run: (*session).uidBatches},
}

// head is the beginning of a command, found without a Lexer: a command that is cut short has one too.
func (s *session) head(command []byte) (tag []byte, v *boundVerb, arguments int) {
	i := wordEnd(command, 0)
	tag = command[:i]
	if i == len(command) || i == 0 || i > tagMax || !isTag(tag) {
		return nil, nil, 0
	}
	// The longest names have two words of 3 and 7 letters, or one of 12.
	var name [16]byte
	begin := i + 1
	end := wordEnd(command, begin)
	n := copyUpper(name[:], command[begin:end])
	if string(name[:n]) == "UID" && end-begin == 3 && end < len(command) {
		begin = end + 1
		end = wordEnd(command, begin)
		name[n] = ' '
		n += 1 + copyUpper(name[n+1:], command[begin:end])
	}
	if n == len(name) {
		return tag, nil, end
	}
	return tag, s.svc.verbs[string(name[:n])], end
}

func isTag(tag []byte) bool {
	var l wire.Lexer
	l.Reset(tag)
	l.Tag()
	l.End()
	return l.Err() == nil
}

func wordEnd(b []byte, i int) int {
	for i < len(b) && b[i] != ' ' && b[i] != '\r' && b[i] != '\n' {
		i++
	}
	return i
}

func copyUpper(dst, src []byte) int {
	n := copy(dst, src)
	for i, c := range dst[:n] {
		if c >= 'a' && c <= 'z' {
			dst[i] = c - 'a' + 'A'
		}
	}
	return n
}

// state is the session's, as a bit.
func (s *session) state() states {
	switch {
	case s.account == 0:
		return notLoggedIn
	case s.sel == nil:
		return loggedIn
	}
	return selectedState
}

// permitted tells why a verb cannot be run now; the zero reply says that it can.
func (s *session) permitted(tag []byte, v *boundVerb) reply {
	switch {
	case tag == nil:
		return bad("missing or bad tag")
	case v == nil:
		return bad("unknown command")
	case s.enabled.uidonly && numberedVerbs[v.name]:
		return errUIDRequired
	case v.states&s.state() == 0:
		switch s.state() {
		case notLoggedIn:
			return bad("log in first")
		case loggedIn:
			if v.states&notLoggedIn != 0 {
				return bad("logged in already")
			}
			return bad("no mailbox selected")
		}
		return bad("logged in already")
	}
	return reply{}
}

// decide is asked by the reader at each literal. What is refused here is never asked for, or dropped.
func (s *session) decide(sofar []byte, lit wire.Literal) wire.Action {
	tag, v, arguments := s.head(sofar)
	if s.refused = s.permitted(tag, v); s.refused.status != "" {
		return wire.Refuse
	}
	limit := s.svc.cfg.MaxLiteral
	if s.account == 0 {
		limit = literalBeforeLogin
	}
	name := len(sofar)
	if v.streams {
		name = mailboxAt(v, sofar, arguments)
	}
	switch {
	case v.streams && name < len(sofar) && sofar[name] != '{' || v.streams && bytesCount(sofar, '\n') > 1:
		return wire.Stream
	case !v.literals:
		s.refused = bad("no literal expected")
	case lit.Binary && !v.binary:
		s.refused = bad("no literal8 expected")
	case lit.Size > int64(limit):
		s.refused = bad("literal too large").withCode("TOOBIG")
	default:
		return wire.Inline
	}
	return wire.Refuse
}

func bytesCount(b []byte, c byte) (n int) {
	for _, x := range b {
		if x == c {
			n++
		}
	}
	return n
}

// execute runs one command.
func (s *session) execute(command []byte) {
	tag, v, arguments := s.head(command)
	s.setTag(tag)
	s.verb = v
	if r := s.permitted(tag, v); r.status != "" {
		s.bad++
		s.answer(r)
		return
	}
	began, told := time.Now(), s.out.Written()
	s.card.Command(v.name, began)
	s.lex.Reset(command[arguments:])
	s.numbered = false
	r, err := v.run(s, &s.lex)
	if s.readErr != nil {
		return
	}
	if err != nil {
		r = s.replyFor(err)
	}
	if r.status == statusBad {
		s.bad++
	} else {
		s.bad = 0
	}
	if s.sel != nil && v.told != toldNone && !s.over && s.wantsSelected() {
		if err := s.tell(v.told == toldNumbered || s.numbered); err != nil {
			r = s.replyFor(err)
		}
	}
	if s.sel != nil && !s.over {
		s.tellHeard()
	}
	s.answer(r)
	if r.status == "" {
		r.status = statusOK
	}
	took := time.Since(began)
	if v.name == "IDLE" {
		took = 0
	}
	v.metrics.count(r.status, took)
	v.metrics.octets(s.commandOctets(), s.out.Written()-told)
}

// commandOctets is how much came since the last command ended, but for compression.
func (s *session) commandOctets() int64 {
	all := s.in.Consumed()
	n := all - s.taken
	s.taken = all
	return n
}

// dropped answers a command that was not taken in whole.
func (s *session) dropped(command []byte, r reply) {
	tag, v, _ := s.head(command)
	s.setTag(tag)
	s.verb = v
	s.bad++
	if v != nil {
		v.metrics.count(r.status, 0)
		v.metrics.octets(s.commandOctets(), 0)
	}
	s.answer(r)
}

// setTag copies the tag, which lies in memory that run may read over; a command without one is answered untagged.
func (s *session) setTag(tag []byte) {
	if tag == nil {
		s.tag = append(s.tag[:0], '*')
		return
	}
	s.tag = append(s.tag[:0], tag...)
}
