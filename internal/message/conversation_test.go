package message

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
)

func TestConversation(t *testing.T) {
	var many []string
	for i := range 40 {
		many = append(many, fmt.Sprintf("<r%d@x>", i))
	}
	for name, tt := range map[string]struct {
		header  string
		own     string
		answers []string
	}{
		"nothing":          {"Subject: x\r\n", "", nil},
		"own":              {"Message-ID: <a@x>\r\n", "a@x", nil},
		"without brackets": {"Message-ID: a@x\r\n", "a@x", nil},
		"answer":           {"Message-ID: <a@x>\r\nIn-Reply-To: <b@x> (of Monday)\r\n", "a@x", []string{"b@x"}},
		"references":       {"Message-ID: <a@x>\r\nIn-Reply-To: <c@x>\r\nReferences: <b@x>\r\n <c@x> <a@x>\r\n", "a@x", []string{"c@x", "b@x"}},
		"text in between":  {"In-Reply-To: Your letter <q@x> of <>, <\r\n", "", []string{"q@x"}},
		"many":             {"References: " + strings.Join(many, "\r\n ") + "\r\n", "", []string{"r39@x", "r38@x", "r37@x", "r0@x"}},
	} {
		var x Indexer
		x.Write([]byte(tt.header + "\r\nx\r\n"))
		ix, err := x.Finish()
		if err != nil {
			t.Fatal(err)
		}
		own, answers := Conversation(ix.Encode(nil), 4)
		if own != tt.own || !reflect.DeepEqual(answers, tt.answers) {
			t.Errorf("%s: got %q %q, want %q %q", name, own, answers, tt.own, tt.answers)
		}
	}
	if own, answers := Conversation([]byte{1, 2, 3}, 4); own != "" || answers != nil {
		t.Errorf("of another version: %q %q", own, answers)
	}
}
