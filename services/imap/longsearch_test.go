package imap_test

import (
	"encoding/base64"
	"fmt"
	"mime/quotedprintable"
	"regexp"
	"strings"
	"testing"
)

// literals are texts in braces.
var literals = regexp.MustCompile(`\{[^}]*\}`)

// TestSearchLongHeaders: SEARCH looks at all of the fields that ENVELOPE shows no more than the beginning of, or nothing, with
// the full-text index and without it.
func TestSearchLongHeaders(t *testing.T) {
	f := startFarm(t, nil)
	user, account := f.account(t)
	f.fill(t, account, "INBOX", numbered(0, 20)...)
	var many strings.Builder
	for i := range 4000 {
		fmt.Fprintf(&many, "\"User %d\" <u%[1]d@example.org>,\r\n ", i)
	}
	to := strings.TrimSuffix(many.String(), ",\r\n ") + "\r\n"
	const behind = "Date: Sat, 2 Jan 1999 23:30:00 -0800\r\nFrom: Behind <from@example.net>\r\nTo: u3999@example.org\r\nCc: <cc@example.net>\r\nSubject: endword\r\n"
	f.fill(t, account, "INBOX",
		"Subject: "+strings.Repeat("words and\r\n ", 2000)+"=?utf-8?q?end=77ord?=\r\nSubject: second\r\n\r\nx\r\n", // 21
		"Subject: x\r\nTo: "+to+"\r\nx\r\n",                                                           // 22
		strings.Repeat("X-Many: x\r\n", 2001)+behind+"\r\nx\r\n",                                      // 23
		"X-Long: "+strings.Repeat("words\r\n ", 132<<10)+"\r\n"+behind+"Subject: second\r\n\r\nx\r\n", // 24
		"X-Huge: "+strings.Repeat("words\r\n ", 530<<10)+"\r\n"+behind+"Subject: second\r\n\r\nx\r\n", // 25
		"Subject: second\r\nTo: a@example.net\r\nBcc: "+to+"\r\nx\r\n")                                // 26
	c := dial(t, f.addr, false)
	c.readLine()
	c.answer(t, "LOGIN "+user+" "+quote(password))
	c.answer(t, "SELECT INBOX")
	var chain strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&chain, "OR SUBJECT nothing%d ", i)
	}
	look := func(when string) {
		t.Helper()
		for key, want := range map[string]string{
			"SUBJECT endword":                        "* SEARCH 21 23 24 25",
			"SUBJECT second":                         "* SEARCH 26",
			"NOT SUBJECT words NOT SUBJECT x 21:26":  "* SEARCH 23 24 25 26",
			"TO u3999@example.org":                   "* SEARCH 22 23 24 25",
			"TO \"ser 3998 <u3998@\"":                "* SEARCH 22",
			"BCC u3999@":                             "* SEARCH 26",
			"NOT TO u3999@ 21:26":                    "* SEARCH 21 26",
			"OR CC cc@ FROM behind":                  "* SEARCH 23 24 25",
			"FUZZY FROM behind":                      "* SEARCH 23 24 25",
			"SENTON 2-Jan-1999":                      "* SEARCH 23 24 25",
			"SENTBEFORE 1-Jan-2000 UNSEEN":           "* SEARCH 23 24 25",
			"SENTSINCE 2-Jan-1999 TEXT endword 22:*": "* SEARCH 23 24 25",
			"OR OR SUBJECT none BCC u3999@ OR CC cc@example.net SUBJECT never": "* SEARCH 23 24 25 26",
			chain.String() + "SUBJECT endword":                                 "* SEARCH 21 23 24 25",
		} {
			if got := c.answer(t, "SEARCH "+key); got != want {
				t.Errorf("%s: %.80s: got %q, want %q", when, key, got, want)
			}
		}
	}
	look("without the index")
	look("with keys")
	f.work(t)
	f.indexed(t, account)
	look("indexed")
}

// TestSearchForMany: one command looks for many texts, in a chain of OR to either side, and the full-text index spares messages.
func TestSearchForMany(t *testing.T) {
	f := startFarm(t, nil)
	user, account := f.account(t)
	f.fill(t, account, "INBOX", numbered(0, 40)...)
	f.fill(t, account, "INBOX", "Subject: x\r\nMessage-ID: <30ad68c5.number.77@somewhere.example.net>\r\n\r\nx\r\n")
	f.work(t)
	f.indexed(t, account)
	c := dial(t, f.addr, false)
	c.readLine()
	c.answer(t, "LOGIN "+user+" "+quote(password))
	c.answer(t, "SELECT INBOX")
	var right, left strings.Builder
	for i := range 99 {
		key := fmt.Sprintf("HEADER Message-ID <%08x.number.%d@somewhere.example.net>", uint32(i)*2654435761, i)
		fmt.Fprintf(&right, "OR %s ", key)
		fmt.Fprintf(&left, " %s", key)
	}
	const last = "HEADER Message-ID <30ad68c5.number.77@somewhere.example.net>"
	for name, keys := range map[string]string{"right": right.String() + last, "left": strings.Repeat("OR ", 99) + last + left.String()} {
		before := f.asked(t)
		if got := c.answer(t, "SEARCH "+keys); got != "* SEARCH 41" {
			t.Errorf("chain to the %s: got %q", name, got)
		}
		if f.asked(t) == before {
			t.Errorf("chain to the %s: the index spared no message", name)
		}
	}
}

// TestSearchByName: the full-text index names the messages of a thread, and those that have a field at all.
func TestSearchByName(t *testing.T) {
	f := startFarm(t, nil)
	user, account := f.account(t)
	f.fill(t, account, "INBOX", numbered(0, 40)...)
	f.fill(t, account, "INBOX", "Subject: x\r\nX-Spam: no\r\nMessage-ID: <a@example.net>\r\n\r\nx\r\n",
		"Subject: Re: x\r\nx-spam : yes\r\nIn-Reply-To: <a@example.net>\r\nMessage-ID: <b@example.net>\r\n\r\nx\r\n")
	c := dial(t, f.addr, false)
	c.readLine()
	c.answer(t, "LOGIN "+user+" "+quote(password))
	c.answer(t, "SELECT INBOX")
	id := c.fetchThreadID(t, 42)
	if id != c.fetchThreadID(t, 41) {
		t.Fatal("an answer is of another thread")
	}
	look := func(asked bool) {
		t.Helper()
		for key, want := range map[string]string{
			"THREADID " + id:             "* SEARCH 41 42",
			`HEADER X-Spam ""`:           "* SEARCH 41 42",
			`HEADER X-Spam es`:           "* SEARCH 42",
			`HEADER X-Nope ""`:           "* SEARCH",
			`41:* NOT HEADER X-Spam yes`: "* SEARCH 41",
			`THREADID Tnothing`:          "* SEARCH",
		} {
			before := f.asked(t)
			if got := c.answer(t, "SEARCH "+key); want != "" && got != want {
				t.Errorf("%s: got %q, want %q", key, got, want)
			}
			if spared := f.asked(t) > before; asked && !spared && !strings.Contains(key, "NOT") && !strings.Contains(key, "nothing") {
				t.Errorf("%s: the index spared no message", key)
			}
		}
	}
	look(false)
	f.work(t)
	f.indexed(t, account)
	look(true)
}

// fetchThreadID asks for a message's thread.
func (c *lineConn) fetchThreadID(t testing.TB, n int) string {
	t.Helper()
	_, err := fmt.Fprintf(c, "y FETCH %d (THREADID)\r\n", n)
	check(t, err)
	line, err := c.readLine()
	check(t, err)
	_, id, _ := strings.Cut(line, "THREADID (")
	id, _, _ = strings.Cut(id, ")")
	if _, err := c.readLine(); err != nil || id == "" {
		t.Fatalf("fetch %d: %q, %v", n, line, err)
	}
	return id
}

// TestSearchLongMessages: SEARCH looks at the whole of a message, whatever its size and structure (RFC 9051 §6.4.4), with the
// full-text index and without it.
func TestSearchLongMessages(t *testing.T) {
	if testing.Short() {
		t.Skip("messages of 40 MiB")
	}
	text := strings.Repeat(strings.Repeat("Straße nach Köln, naïve café. ", 36)+"\r\n", 27<<10) // 30 MiB
	const last = "подготовить отчёт am Ende"
	inBase64 := func(s string) string {
		var b strings.Builder
		b.WriteString("Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n")
		enc := base64.StdEncoding.EncodeToString([]byte(s))
		for ; len(enc) > 76; enc = enc[76:] {
			b.WriteString(enc[:76] + "\r\n")
		}
		return b.String() + enc + "\r\n"
	}
	var quoted strings.Builder
	quoted.WriteString("Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n")
	w := quotedprintable.NewWriter(&quoted)
	w.Write([]byte(text[:len(text)/2] + last))
	check(t, w.Close())

	f := startFarm(t, nil)
	user, account := f.account(t)
	f.fill(t, account, "INBOX", numbered(0, 20)...)
	const head = "Subject: one\r\nSubject: =?utf-8?q?zw=C3=B6lf?=\r\nMessage-ID: <a@example.net>\r\nMessage-ID: <b@example.net>\r\nMIME-Version: 1.0\r\n"
	f.fill(t, account, "INBOX", head+nestedPart(inBase64(text+last), 20), head+nestedPart(quoted.String(), 70), head+"\r\nsmall\r\n",
		"To: "+strings.Repeat("<somebody@example.net>,\r\n ", 2000)+"<last@example.net>\r\nSubject: "+strings.Repeat("words and\r\n ", 3000)+"the end\r\n\r\nmany\r\n")
	c := dial(t, f.addr, false)
	c.readLine()
	c.answer(t, "LOGIN "+user+" "+quote(password))
	c.answer(t, "SELECT INBOX")
	look := func(when string) {
		t.Helper()
		for key, want := range map[string]string{
			"BODY {Подготовить ОТЧЁТ}":   "* SEARCH 21 22",
			"TEXT {отчёт am}":            "* SEARCH 21 22",
			"BODY {отчётподготовить}":    "* SEARCH",
			"FUZZY BODY {ende nach отч}": "* SEARCH",
			"FUZZY BODY {ende отчёт am}": "* SEARCH 21 22",
			"HEADER Subject one":         "* SEARCH 21 22 23",
			"HEADER Subject {zwölf}":     "* SEARCH 21 22 23",
			"SUBJECT {zwölf}":            "* SEARCH",
			"HEADER Message-ID <b@":      "* SEARCH 21 22 23",
			"HEADER Subject {the end}":   "* SEARCH 24",
			"HEADER To <last@":           "* SEARCH 24",
			"TEXT <last@":                "* SEARCH 24",
			"TEXT {Subject: one}":        "* SEARCH 21 22 23",
		} {
			if got := c.answer(t, "SEARCH "+literals.ReplaceAllStringFunc(key, func(s string) string {
				return fmt.Sprintf("{%d+}\r\n%s", len(s)-2, s[1:len(s)-1])
			})); got != want {
				t.Errorf("%s: %s: got %q, want %q", when, key, got, want)
			}
		}
	}
	look("without the index")
	f.work(t)
	f.indexed(t, account)
	look("indexed")
}
