package message_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/mailfarm/mailfarm/internal/message"
)

func TestFilterHeader(t *testing.T) {
	const header = "From x@y\r\nFrom: a\r\nSubject:\r\n long\r\n\tsubject\r\nX-A : 1\r\nno field\r\n with more\r\nto: b\r\nTo: c\r\n\r\n"
	for _, tc := range []struct {
		names []string
		not   bool
		want  string
	}{
		{[]string{"to"}, false, "to: b\r\nTo: c\r\n\r\n"},
		{[]string{"SUBJECT", "x-a"}, false, "Subject:\r\n long\r\n\tsubject\r\nX-A : 1\r\n\r\n"},
		{[]string{"none"}, false, "\r\n"},
		{[]string{"from", "subject", "to"}, true, "From x@y\r\nX-A : 1\r\nno field\r\n with more\r\n\r\n"},
	} {
		if got := message.FilterHeader(nil, []byte(header), tc.names, tc.not); string(got) != tc.want {
			t.Errorf("%v, not %t: %q, want %q", tc.names, tc.not, got, tc.want)
		}
		// The same without reading.
		v := index([]byte(header + "text")).WithOverlay(message.Overlay{})
		ranges, complete := v.FieldRanges(nil, tc.names, tc.not)
		var got string
		for _, r := range ranges {
			got += header[r.Offset:r.End()]
		}
		if !complete || got != tc.want {
			t.Errorf("ranges of %v, not %t: %q, %t, want %q", tc.names, tc.not, got, complete, tc.want)
		}
	}
	if got := message.FilterHeader(nil, []byte("A: b\r\nC: d"), []string{"c"}, false); string(got) != "C: d" {
		t.Errorf("header without end: %q", got)
	}
}

func TestEachField(t *testing.T) {
	var got []string
	message.EachField([]byte("A: b\r\njunk\r\n c\r\nD : e\r\n f\r\n\r\nG: h\r\n"), func(name, value []byte) bool {
		got = append(got, string(name)+"="+string(value))
		return true
	})
	if want := []string{"A= b\r\n", "D= e\r\n f\r\n"}; fmt.Sprintf("%q", got) != fmt.Sprintf("%q", want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestDecodeValue(t *testing.T) {
	for in, want := range map[string]string{
		" plain\r\n":                          "plain",
		" =?utf-8?q?a?=\r\n =?utf-8?b?Yg==?=": "ab",
		"=?iso-8859-1?q?=FC?= x":              "ü x",
		"=?gb2312?b?suLK1A==?=":               "测试",
		"=?x-nobody?q?=41=FF?=":               "A\uFFFD",
		"=?utf-8?q?broken":                    "=?utf-8?q?broken",
		"=?utf-8?z?a?=":                       "=?utf-8?z?a?=",
		"raw \xff octet":                      "raw \uFFFD octet",
		"":                                    "",
	} {
		if got := message.DecodeValue([]byte(in)); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestAddresses(t *testing.T) {
	for _, tc := range []struct{ in, want string }{
		{"a@b", "[{ a b}]"},
		{"A B <a@b>, =?utf-8?q?=C3=BC?= <c@d>", "[{A B a b} {ü c d}]"},
		{"\"A, B\" <a@b>; c@d", "[{A, B a b} { c d}]"},
		{"group: a@b, c@d;, e@f", "[{ a b} { c d} { e f}]"},
		{"group: a@b", "[{ a b}]"},
		{"undisclosed-recipients:;", "[]"},
		{"a@b (A)", "[{A a b}]"},
		{"a@b <a@b>", "[{a@b a b}]"},
		{"A [x] <a@[192.0.2.1]>", "[{A [x] a [192.0.2.1]}]"},
		{"A. B. Cee <a.b @ c . d>", "[{A. B. Cee a.b c.d}]"},
		{"<@r1,@r2:a@b>", "[{ a b}]"},
		{"\"a b\"@c", "[{ a b c}]"},
		{"<a@b, <c@d>", "[{ a b} { c d}]"},
		{"<a@b, c@d", "[{ a b} { c d}]"},
		{"Re: <a@b>", "[{ a b}]"},
		{",, ,a@b,,", "[{ a b}]"},
		{"root", "[{ root }]"},
		{"Undisclosed recipients", "[{ Undisclosed recipients }]"},
		{"A\r\n B <a@b>", "[{A B a b}]"},
		{"<>", "[{  }]"},
		{"a@b@c", "[{ a@b c}]"},
		{"((a)b) a@b", "[{(a)b a b}]"},
		{"\"a\\\"b\" <a@b>", "[{a\"b a b}]"},
	} {
		if got := fmt.Sprint(message.Addresses([]byte(tc.in), 10)); got != tc.want {
			t.Errorf("%q: %s, want %s", tc.in, got, tc.want)
		}
	}
	if got := message.Addresses([]byte("a@b, c@d, e@f"), 2); len(got) != 2 {
		t.Errorf("limit 2: %v", got)
	}
}

func TestSentDate(t *testing.T) {
	for in, want := range map[string]string{
		"Fri, 21 Nov 1997 09:55:06 -0600":                                   "1997-11-21T09:55:06-06:00",
		"21 Nov 97 09:55 GMT":                                               "1997-11-21T09:55:00Z",
		"Fri, 21 Nov 1997 09(comment):   55  :  06 -0600":                   "1997-11-21T09:55:06-06:00",
		"Thu,\r\n      13\r\n        Feb\r\n          1969 23:32 -0330 (N)": "1969-02-13T23:32:00-03:30",
		"Mon, 1 Jan 24 1:2:3 PST":                                           "2024-01-01T01:02:03-08:00",
		"29 Feb 2024 00:00:60 +0000":                                        "2024-02-29T00:00:59Z",
		"1-Jan-1996 00:00:00 +0100":                                         "1996-01-01T00:00:00+01:00",
		"Tuesday, 1 July 2025 10:00 Z":                                      "2025-07-01T10:00:00Z",
		"1 Jul 2025":                                                        "2025-07-01T00:00:00Z",
		"31 Dec 1999 23:59:59 +1400":                                        "1999-12-31T23:59:59+14:00",
		"1 Jan 104 00:00:00 +0000":                                          "2004-01-01T00:00:00Z",
		"":                                                                  "",
		"yesterday":                                                         "",
		"32 Jan 2024 00:00 +0000":                                           "",
		"1 Foo 2024 00:00 +0000":                                            "",
		"1 Jan 2024 25:00 +0000":                                            "",
		"1 Jan 99999 00:00 +0000":                                           "",
	} {
		ix := index([]byte("Date: " + in + "\r\n\r\n"))
		got := ""
		if d, ok := ix.SentDate(); ok {
			got = d.Format(time.RFC3339)
		}
		if got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

// Every day of four centuries, against package time.
func TestSentDateCalendar(t *testing.T) {
	for d := time.Date(1900, 1, 1, 12, 0, 0, 0, time.UTC); d.Year() < 2301; d = d.AddDate(0, 0, 1) {
		ix := index([]byte("Date: " + d.Format(time.RFC1123Z) + "\r\n"))
		if got, ok := ix.SentDate(); !ok || !got.Equal(d) {
			t.Fatalf("%s: %s, %t", d, got, ok)
		}
	}
}
