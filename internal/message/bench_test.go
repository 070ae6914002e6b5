package message_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/mailfarm/mailfarm/internal/message"
)

// typicalHeader is what a message brings along that came over two hops.
const typicalHeader = "Received: from mx.example.net (mx.example.net [192.0.2.1])\r\n\tby mail.example.org with ESMTPS (TLS1.3) id 01ABC\r\n\tfor <bob@example.org>; Tue, 1 Jul 2025 10:52:37 +0200\r\n" +
	"Received: from [192.0.2.7] by mx.example.net with ESMTPSA id 77;\r\n\tTue, 1 Jul 2025 10:52:36 +0200\r\n" +
	"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.net; s=s1;\r\n\th=from:to:subject:date; bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=;\r\n\tb=" + "dzdVyOfAKCdLXdJOc9G2q8LoXSlEniSbav+yuU4zGeeruD00lszZVoG4ZHRNiYzR" + "\r\n" +
	"Date: Tue, 1 Jul 2025 10:52:36 +0200\r\nFrom: Alice Example <alice@example.net>\r\nTo: Bob <bob@example.org>, Carol <carol@example.org>\r\n" +
	"Subject: The minutes of yesterday's meeting\r\nMessage-ID: <20250701085236.GA1234@example.net>\r\nIn-Reply-To: <x@example.org>\r\nReferences: <w@example.org>\r\n\t<x@example.org>\r\n" +
	"User-Agent: Mutt/2.2\r\nX-Some-Thing: else\r\nMIME-Version: 1.0\r\n"

func plainMessage(size int) []byte {
	b := []byte(typicalHeader + "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n")
	for len(b) < size {
		b = append(b, "The quick brown fox jumps over the lazy dog and back again, all day long.\r\n"...)
	}
	return b[:size]
}

func multipartMessage(size int) []byte {
	b := []byte(typicalHeader + "Content-Type: multipart/mixed; boundary=\"=_outer\"\r\n\r\n--=_outer\r\nContent-Type: multipart/alternative; boundary=\"=_inner\"\r\n\r\n" +
		"--=_inner\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nHello\r\n--=_inner\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<p>Hello</p>\r\n--=_inner--\r\n" +
		"--=_outer\r\nContent-Type: application/pdf; name=\"minutes.pdf\"\r\nContent-Transfer-Encoding: base64\r\nContent-Disposition: attachment; filename=\"minutes.pdf\"\r\n\r\n")
	line := strings.Repeat("JVBE", 19) + "\r\n"
	for len(b) < size-16 {
		b = append(b, line...)
	}
	return append(b, "--=_outer--\r\n"...)
}

func BenchmarkIndexer(b *testing.B) {
	for _, m := range []struct {
		name string
		body []byte
	}{
		{"plain-4k", plainMessage(4 << 10)},
		{"multipart-4k", multipartMessage(4 << 10)},
		{"plain-1m", plainMessage(1 << 20)},
		{"multipart-1m", multipartMessage(1 << 20)},
	} {
		b.Run(m.name, func(b *testing.B) {
			var x message.Indexer
			var encoded []byte
			b.SetBytes(int64(len(m.body)))
			b.ReportAllocs()
			for b.Loop() {
				x.Reset()
				x.Write(m.body)
				ix, _ := x.Finish()
				encoded = ix.Encode(encoded[:0])
			}
			b.ReportMetric(float64(len(encoded)), "index-octets")
		})
	}
}

func BenchmarkDecode(b *testing.B) {
	for _, m := range []struct {
		name string
		body []byte
	}{{"plain", plainMessage(4 << 10)}, {"multipart", multipartMessage(4 << 10)}} {
		encoded := index(m.body).Encode(nil)
		b.Run(m.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := message.Decode(encoded); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkEnvelopeOf(b *testing.B) {
	encoded := index(plainMessage(4 << 10)).Encode(nil)
	b.ReportAllocs()
	for b.Loop() {
		if len(message.EnvelopeOf(encoded)) == 0 {
			b.Fatal("no envelope")
		}
	}
}

// A view's envelope is what a FETCH of ENVELOPE costs where ingress or delivery have put a prefix.
func BenchmarkViewEnvelope(b *testing.B) {
	v := index(plainMessage(4 << 10)).WithOverlay(message.Overlay{Prefix: []byte("Return-Path: <a@example.net>\r\nReceived: from x by y\r\n\tfor z\r\nX-Spam-Status: No\r\n")})
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := v.Envelope(); !ok {
			b.Fatal("no envelope")
		}
	}
}

func BenchmarkDecoders(b *testing.B) {
	for encoding, body := range map[string][]byte{
		"base64":           bytes.Repeat([]byte(strings.Repeat("JVBE", 19)+"\r\n"), 1000),
		"quoted-printable": bytes.Repeat([]byte("The quick brown fox jumps =C3=BCber the lazy dog=2E and back again =\r\n"), 1000),
	} {
		b.Run(encoding, func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			for b.Loop() {
				if _, err := message.DecodedSize(encoding, bytes.NewReader(body)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func ExampleFilterHeader() {
	header := []byte("From: a@example.org\r\nSubject: a long\r\n subject\r\nTo: b@example.org\r\n\r\n")
	fmt.Printf("%q\n", message.FilterHeader(nil, header, []string{"SUBJECT", "Cc"}, false))
	// Output: "Subject: a long\r\n subject\r\n\r\n"
}
