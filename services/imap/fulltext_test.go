package imap_test

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"io"
	"math/rand/v2"
	"mime/quotedprintable"
	"strings"
	"testing"
	"time"

	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/japanese"

	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
	imapsvc "github.com/mailfarm/mailfarm/services/imap"
)

// phrases are what random mail is made of; those of another script come in charsets that have it.
var phrases = []string{
	"quarterly report", "meetings were held", "a meeting", "Straße nach Köln", "GRÜSSE an alle", "naïve café", "invoice 4711", "x",
	"подготовить отчёт", "日本語のメール", "100% < 200% & more", "Tschüß", "re-\r\nsults", "joe@example.net", "“quoted”", "ﬁne ligature",
}

// randomMail is a letter with whatever charsets, encodings and parts there are.
func randomMail(r *rand.Rand) string {
	pick := func() string { return phrases[r.IntN(len(phrases))] }
	word := func() string {
		s := strings.ReplaceAll(pick(), "\r\n", "")
		switch r.IntN(4) {
		case 0:
			return "=?utf-8?b?" + base64.StdEncoding.EncodeToString([]byte(s)) + "?="
		case 1:
			return "=?utf-8?q?" + strings.NewReplacer("=", "=3D", "?", "=3F", " ", "_", "_", "=5F").Replace(s) + "?="
		case 2:
			return s[:len(s)/2] + "\r\n " + s[len(s)/2:]
		}
		return s
	}
	addresses := []string{`"J. \"Jo\" Doe" <joe@example.net>`, "ann@example.org (Ann Onymous)", word() + " <x@y.example>", `friends: bob@b.example, "c d"@c.example;`,
		"sender (a comment) @ sub . example", "<@relay:via@route.example>"}
	head := fmt.Sprintf("From: %s\r\nTo: %s\r\nSubject: %s\r\nX-Note: %s %s\r\nMessage-ID: <%x@%s.example>\r\n", addresses[r.IntN(len(addresses))],
		addresses[r.IntN(len(addresses))], word(), word(), word(), r.Uint32(), []string{"one", "two"}[r.IntN(2)])
	if r.IntN(4) == 0 {
		head += "Subject: " + word() + "\r\n"
	}
	part := randomPart(r, 3)
	if r.IntN(10) == 0 {
		part = nestedPart(part, 45+r.IntN(70))
	}
	return head + "MIME-Version: 1.0\r\n" + part
}

// nestedPart puts a part into so many multiparts.
func nestedPart(part string, levels int) string {
	for i := range levels {
		part = fmt.Sprintf("Content-Type: multipart/mixed; boundary=\"level%d.\"\r\n\r\n--level%[1]d.\r\n%s\r\n--level%[1]d.--\r\n", i, part)
	}
	return part
}

// randomPart is a header of MIME with what it tells of.
func randomPart(r *rand.Rand, depth int) string {
	text := func() string {
		var parts []string
		for range 1 + r.IntN(4) {
			parts = append(parts, phrases[r.IntN(len(phrases))])
		}
		return strings.Join(parts, []string{" ", "\r\n", ", "}[r.IntN(3)])
	}
	if depth > 0 {
		switch r.IntN(5) {
		case 0:
			return "Content-Type: multipart/mixed; boundary=b" + fmt.Sprint(depth) + "\r\n\r\npreamble\r\n--b" + fmt.Sprint(depth) + "\r\n" + randomPart(r, depth-1) +
				"\r\n--b" + fmt.Sprint(depth) + "\r\n" + randomPart(r, depth-1) + "\r\n--b" + fmt.Sprint(depth) + "--\r\n"
		case 1:
			return "Content-Type: message/rfc822\r\n\r\n" + randomMail(r)
		}
	}
	if r.IntN(6) == 0 {
		return attached(text())
	}
	charset, body := "utf-8", text()
	switch r.IntN(4) {
	case 0:
		if s, err := charmap.ISO8859_1.NewEncoder().String(body); err == nil {
			charset, body = "iso-8859-1", s
		}
	case 1:
		if s, err := charmap.KOI8R.NewEncoder().String(body); err == nil {
			charset, body = "koi8-r", s
		}
	case 2:
		if s, err := japanese.ISO2022JP.NewEncoder().String(body); err == nil {
			charset, body = "iso-2022-jp", s
		}
	}
	kind := "text/plain"
	switch r.IntN(6) {
	case 0, 1:
		kind = "text/html"
		body = "<html><style>p { color: red }</style><p>" + strings.NewReplacer("é", "&eacute;", "ü", "&#252;", "eet", "<b>eet</b>", "&", "&amp;").Replace(body) + "</p></html>"
	case 2:
		kind = "application/octet-stream; name=data.bin"
	case 3:
		kind = "text/calendar"
	}
	out := "Content-Type: " + kind + "; charset=" + charset + "\r\n"
	switch r.IntN(3) {
	case 0:
		enc := base64.StdEncoding.EncodeToString([]byte(body))
		var lines []string
		for len(enc) > 40 {
			lines, enc = append(lines, enc[:40]), enc[40:]
		}
		return out + "Content-Transfer-Encoding: base64\r\n\r\n" + strings.Join(append(lines, enc), "\r\n") + "\r\n"
	case 1:
		var b strings.Builder
		w := quotedprintable.NewWriter(&b)
		w.Write([]byte(body))
		w.Close()
		return out + "Content-Transfer-Encoding: quoted-printable\r\n\r\n" + b.String() + "\r\n"
	}
	return out + "Content-Transfer-Encoding: 8bit\r\n\r\n" + body + "\r\n"
}

// attached is a document of OpenDocument as a part.
func attached(text string) string {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	f, err := w.Create("content.xml")
	if err == nil {
		err = xml.EscapeText(f, []byte(text))
	}
	if err != nil || w.Close() != nil {
		panic(err)
	}
	return "Content-Type: application/vnd.oasis.opendocument.text; name=a.odt\r\nContent-Transfer-Encoding: base64\r\n\r\n" + base64.StdEncoding.EncodeToString(b.Bytes()) + "\r\n"
}

// randomKey is a search key, its strings as literals.
func randomKey(r *rand.Rand, depth int) string {
	text := func() string {
		s := strings.ReplaceAll(phrases[r.IntN(len(phrases))], "\r\n", "")
		switch r.IntN(4) {
		case 0:
			runes := []rune(s)
			i := r.IntN(len(runes))
			s = string(runes[i : i+1+r.IntN(len(runes)-i)])
		case 1:
			s = strings.ToUpper(s)
		case 2:
			s = []string{"doe\" <joe", "onymous", "route.example>", "sub.example", "one.example", "meet", "held meeting", "cafe", "report meetings", "color: red", "<p>"}[r.IntN(11)]
		}
		return fmt.Sprintf("{%d+}\r\n%s", len(s), s)
	}
	if depth > 0 {
		switch r.IntN(8) {
		case 0:
			return "NOT " + randomKey(r, depth-1)
		case 1:
			return "OR " + randomKey(r, depth-1) + " " + randomKey(r, depth-1)
		case 2:
			return "(" + randomKey(r, depth-1) + " " + randomKey(r, depth-1) + ")"
		case 3:
			return "FUZZY " + randomKey(r, depth-1)
		}
	}
	switch r.IntN(9) {
	case 0:
		return "SUBJECT " + text()
	case 1:
		return "FROM " + text()
	case 2:
		return "HEADER X-Note " + text()
	case 3:
		return []string{"HEADER Message-ID ", "HEADER Subject "}[r.IntN(2)] + text()
	case 4, 5:
		return "BODY " + text()
	case 6:
		return []string{"SEEN", "UID 1:50", "LARGER 600"}[r.IntN(3)]
	}
	return "TEXT " + text()
}

// answer sends a command and gives the untagged SEARCH line.
func (c *lineConn) answer(t testing.TB, command string) string {
	t.Helper()
	_, err := io.WriteString(c, "z "+command+"\r\n")
	check(t, err)
	answer := ""
	for {
		line, err := c.readLine()
		check(t, err)
		if strings.HasPrefix(line, "z ") {
			if !strings.HasPrefix(line, "z OK") {
				t.Fatalf("%q: %s", command, line)
			}
			return answer
		}
		if strings.HasPrefix(line, "* SEARCH") {
			answer = line
		}
	}
}

// indexed waits until all emails of an account are in the full-text index.
func (f *farm) indexed(t testing.TB, account uint64) {
	t.Helper()
	var deadline time.Time
	for {
		resp, err := f.fullText.GetIndexStatus(context.Background(), &storev1.GetIndexStatusRequest{Account: account})
		check(t, err)
		s := resp.GetStatus()
		if s.GetIndexed() == s.GetEmails() && s.GetIndexedModSeq() == s.GetModSeq() {
			return
		}
		if deadline.IsZero() {
			deadline = time.Now().Add(2*time.Minute + time.Duration(s.GetEmails())*20*time.Millisecond)
		}
		if time.Now().After(deadline) {
			t.Fatalf("not indexed: %v", s)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// asked is how many searches the full-text index has spared messages.
func (f *farm) asked(t testing.TB) (n float64) {
	t.Helper()
	families, err := f.metrics.Gather()
	check(t, err)
	for _, m := range families {
		if m.GetName() == "mailfarm_imap_index_asked_total" {
			n = m.GetMetric()[0].GetCounter().GetValue()
		}
	}
	return n
}

// TestIndexChangesNoAnswer searches random mail without the full-text index, while it is being filled, and with it.
func TestIndexChangesNoAnswer(t *testing.T) {
	t.Run("keys held", func(t *testing.T) { indexChangesNoAnswer(t, nil) })
	t.Run("keys loaded each time", func(t *testing.T) { indexChangesNoAnswer(t, func(c *imapsvc.Config) { c.KeysMemory = 1 }) })
}

func indexChangesNoAnswer(t *testing.T, change func(*imapsvc.Config)) {
	f := startFarm(t, change)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(7, seed))
	user, account := f.account(t)
	letters, searches := 100, 80
	if testing.Short() {
		letters, searches = 40, 20
	}
	var mail []string
	for range letters {
		mail = append(mail, randomMail(r))
	}
	f.fill(t, account, "INBOX", mail...)
	c := dial(t, f.addr, false)
	c.readLine()
	c.answer(t, "LOGIN "+user+" "+quote(password))
	c.answer(t, "SELECT INBOX")
	keys := []string{"TEXT {12+}\r\ninvoice 4711", "FUZZY TEXT {8+}\r\nmeetings", "FROM {7+}\r\nonymous", "TEXT {2+}\r\nrt"}
	for range searches {
		keys = append(keys, randomKey(r, 3))
	}
	want := map[string]string{}
	for _, k := range keys {
		want[k] = c.answer(t, "UID SEARCH "+k)
	}
	compare := func(when string) {
		t.Helper()
		for _, k := range keys {
			if got := c.answer(t, "UID SEARCH "+k); got != want[k] {
				t.Errorf("%s: %q\n got %s\nwant %s", when, k, got, want[k])
			}
		}
	}
	f.work(t)
	compare("while it is filled")
	f.indexed(t, account)
	compare("indexed")
	if f.asked(t) < float64(searches)/4 {
		t.Errorf("the index has spared messages to %v searches", f.asked(t))
	}
	_, err := f.fullText.RebuildIndex(context.Background(), &storev1.RebuildIndexRequest{Account: account})
	check(t, err)
	compare("while it is made anew")
	f.indexed(t, account)
	compare("made anew")
}

// TestFuzzyReadsDocuments: what an attached document, or HTML as people see it, has is found by FUZZY, and by it alone.
func TestFuzzyReadsDocuments(t *testing.T) {
	f := startFarm(t, nil)
	user, account := f.account(t)
	f.fill(t, account, "INBOX", numbered(0, 20)...)
	f.fill(t, account, "INBOX", "Subject: a\r\nMIME-Version: 1.0\r\n"+attached("The meetings were minuted"),
		"Subject: b\r\nMIME-Version: 1.0\r\nContent-Type: text/html\r\n\r\n<p>the <b>me</b>eting, min&#117;ted</p>\r\n")
	c := dial(t, f.addr, false)
	c.readLine()
	c.answer(t, "LOGIN "+user+" "+quote(password))
	c.answer(t, "SELECT INBOX")
	look := func(when string) {
		t.Helper()
		for key, want := range map[string]string{
			"TEXT meeting": "* SEARCH", "TEXT minuted": "* SEARCH", "FUZZY TEXT meeting": "* SEARCH 21 22", "FUZZY BODY {15+}\r\nminuted meeting": "* SEARCH 21 22",
			"FUZZY TEXT agenda": "* SEARCH", "FUZZY SUBJECT meeting": "* SEARCH",
		} {
			if got := c.answer(t, "SEARCH "+key); got != want {
				t.Errorf("%s: %s: got %q, want %q", when, key, got, want)
			}
		}
	}
	look("without the index")
	f.work(t)
	f.indexed(t, account)
	look("indexed")
}
