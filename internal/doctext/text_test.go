package doctext_test

import (
	"archive/zip"
	"bytes"
	"compress/zlib"
	"fmt"
	"strings"
	"testing"

	"github.com/mailfarm/mailfarm/internal/doctext"
)

// archive makes a zip file of names and contents.
func archive(t testing.TB, files ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for i := 0; i < len(files); i += 2 {
		f, err := w.Create(files[i])
		if err != nil {
			t.Fatal(err)
		}
		f.Write([]byte(files[i+1]))
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func deflate(text string) string {
	var b bytes.Buffer
	w := zlib.NewWriter(&b)
	w.Write([]byte(text))
	w.Close()
	return b.String()
}

// packed is a stream of PDF.
func packed(dict, text string) string {
	z := deflate(text)
	return fmt.Sprintf("<< %s /Filter /FlateDecode /Length %d >>\nstream\n%s\nendstream", dict, len(z), z)
}

const cmap = `/CIDInit /ProcSet findresource begin 1 begincodespacerange <0000> <FFFF> endcodespacerange
2 beginbfchar <0001> <0047> <0002> <00FC> endbfchar
2 beginbfrange <0003> <0004> <0061> <0005> <0006> [<00DF> <D83DDE00>] endbfrange endcmap`

// letter is a PDF of two pages: one in the encoding of Windows, whose resources are above it and whose objects lie in a
// stream; one with two octets a character, and a form.
func letter() []byte {
	var b strings.Builder
	b.WriteString("%PDF-1.5\n")
	object := func(n int, body string) { fmt.Fprintf(&b, "%d 0 obj\n%s\nendobj\n", n, body) }
	inside := []string{
		"<< /Type /Pages /Kids [2 0 R 3 0 R] /Resources << /Font << /F1 4 0 R /F2 5 0 R >> /XObject << /X1 8 0 R >> >> >>",
		"<< /Type /Page /Parent 1 0 R /Contents [6 0 R 9 0 R] >>", "<< /Type /Page /Parent 1 0 R /Contents 7 0 R >>",
		"<< /Type /Font /Subtype /Type1 >>", "<< /Type /Font /Subtype /Type0 /ToUnicode 10 0 R >>",
	}
	var head, body strings.Builder
	for i, o := range inside {
		fmt.Fprintf(&head, "%d %d ", i+1, body.Len())
		body.WriteString(o + " ")
	}
	object(11, packed(fmt.Sprintf("/Type /ObjStm /N %d /First %d", len(inside), head.Len()), head.String()+body.String()))
	object(6, packed("", "BT /F1 12 Tf 72 700 Td (Quarterly \\(re) Tj (port\\)) Tj T* [(Str) -20 (a\\337e) -400 (nach)] TJ"))
	object(9, "<< /Length 18 >>\nstream\nT* (K\\366ln) Tj ET\nendstream")
	object(7, packed("", "BT /F2 9 Tf <000100020003> Tj <00040005> ' ET /X1 Do"))
	object(8, packed("/Type /XObject /Subtype /Form", "BT /F1 1 Tf (formed) Tj ET"))
	object(10, packed("", cmap))
	b.WriteString("trailer << /Root 1 0 R >>\n%%EOF\n")
	return []byte(b.String())
}

func TestText(t *testing.T) {
	const word = `<?xml version="1.0"?><w:document xmlns:w="x"><w:body><w:p><w:r><w:t>Quar</w:t></w:r><w:r><w:t>terly</w:t></w:r><w:tab/><w:t>R&amp;D</w:t></w:p>` +
		`<w:p><w:t>Köln</w:t></w:p></w:body></w:document>`
	for _, tt := range []struct {
		name, typ, file string
		data            []byte
		want            string
	}{
		{"docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document", "", archive(t, "[Content_Types].xml", "<x>not this</x>", "word/document.xml", word), "Quarterly R&D Köln "},
		{"docx by name", "application/octet-stream", "Report.DOCX", archive(t, "word/document.xml", word), "Quarterly R&D Köln "},
		{"xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", "", archive(t, "xl/sharedStrings.xml", "<sst><si><t>one</t></si><si><t>two</t></si></sst>",
			"xl/worksheets/sheet1.xml", `<sheet><row><c><v>0</v></c><c t="inlineStr"><is><t>three</t></is></c></row></sheet>`), "one two three "},
		{"pptx", "application/vnd.openxmlformats-officedocument.presentationml.presentation", "", archive(t, "ppt/slides/slide1.xml", "<a:p><a:r><a:t>slide</a:t></a:r></a:p>"), "slide "},
		{"odt", "application/vnd.oasis.opendocument.text", "", archive(t, "content.xml", "<o><text:p>an<text:span>other</text:span></text:p><text:p>line</text:p></o>", "styles.xml", "<x>no</x>"), "another line "},
		{"pdf", "application/pdf", "", letter(), "Quarterly (report) Straße nach Köln Güa bß formed "},
		{"pdf by name", "application/octet-stream", "a.pdf", letter(), "Quarterly (report) Straße nach Köln Güa bß formed "},
		{"encrypted", "application/pdf", "", append(letter(), "trailer << /Encrypt 12 0 R >>"...), ""},
		{"no archive", "application/vnd.oasis.opendocument.text", "", []byte("PK\x05\x06"), ""},
		{"image", "image/png", "a.pdf", letter(), ""},
		{"other file", "application/octet-stream", "a.exe", letter(), ""},
		{"too large", "application/pdf", "", append(letter(), make([]byte, doctext.DocumentMax)...), ""},
	} {
		if got := string(doctext.Text(tt.typ, tt.file, tt.data)); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

// TestBounds gives what would take for ever, or all memory, without limits.
func TestBounds(t *testing.T) {
	many := func(head, body string, n int) []byte { return []byte(head + strings.Repeat(body, n)) }
	bomb := deflate(strings.Repeat("(a) Tj ", 64<<20/7))
	var forms strings.Builder
	forms.WriteString("%PDF-1.4\n1 0 obj << /Type /Page /Contents 2 0 R /Resources << /XObject << /A 2 0 R >> >> >> endobj\n2 0 obj " +
		packed("/Subtype /Form", strings.Repeat("/A Do ", 100_000)) + " endobj")
	for _, tt := range []struct {
		name string
		data []byte
		long bool
	}{
		{name: "bomb", long: true, data: []byte("1 0 obj << /Type /Page /Contents 2 0 R >> endobj 2 0 obj << /Filter /FlateDecode >> stream\n" + bomb + "\nendstream")},
		{name: "forms within themselves", long: true, data: []byte(forms.String())},
		{name: "arrays within arrays", data: many("1 0 obj ", "[", 4<<20)},
		{name: "dictionaries", data: many("1 0 obj ", "<</A", 1<<20)},
		{name: "trailers", data: many("", "trailer<<", 800_000)},
		{name: "objects", data: many("", "1 0 obj [", 800_000)},
		{name: "parent of itself", data: []byte("1 0 obj << /Type /Page /Parent 1 0 R >> endobj")},
		{name: "contents again and again", data: []byte("2 0 obj << /Length 0 >> stream\n\nendstream 1 0 obj << /Type /Page /Contents [" + strings.Repeat("2 0 R ", 90_000) + "] >> endobj")},
		{name: "ranges", long: true, data: []byte("1 0 obj << /Type /Page /Contents 2 0 R /Resources << /Font << /F << /ToUnicode 3 0 R >> >> >> >> endobj 2 0 obj " + packed("", strings.Repeat("/F 1 Tf (a) Tj ", 1000)) +
			" endobj 3 0 obj " + packed("", "1 beginbfrange "+strings.Repeat("<0000> <FFFF> <0041> endbfrange ", 10_000)) + " endobj")},
		{name: "objects of one stream", long: true, data: []byte("1 0 obj " + packed("/Type /ObjStm /N 200000 /First 1200000", func() string {
			var b strings.Builder
			for i := range 100_000 {
				fmt.Fprintf(&b, "%d 0 ", i+10)
			}
			return b.String() + strings.Repeat(" ", 1_200_000-b.Len()) + "[" + strings.Repeat("1 ", 90_000) + "]"
		}()) + " endobj")},
	} {
		if tt.long && testing.Short() {
			continue
		}
		if text := doctext.Text("application/pdf", "", tt.data); len(text) > 1<<20 {
			t.Errorf("%s: %d octets of text", tt.name, len(text))
		}
	}
	if testing.Short() {
		return
	}
	huge := archive(t, "content.xml", "<p>"+strings.Repeat("word ", 40<<20/5)+"</p>")
	if text := doctext.Text("application/vnd.oasis.opendocument.text", "", huge); len(text) != 1<<20 {
		t.Errorf("%d octets of the text of an archive", len(text))
	}
}

func FuzzText(f *testing.F) {
	f.Add(letter())
	f.Add(archive(f, "content.xml", "<p>x</p>"))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, name := range []string{"a.pdf", "a.odt"} {
			if text := doctext.Text("application/octet-stream", name, data); len(text) > 1<<20 {
				t.Errorf("%d octets", len(text))
			}
		}
	})
}
