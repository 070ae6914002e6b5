package config_test

import (
	"strings"
	"testing"
	"time"

	"github.com/mailfarm/mailfarm/internal/config"
)

type inner struct {
	Retry []time.Duration `yaml:"retry"`
}

type sample struct {
	Name  string        `yaml:"name"`
	Wait  time.Duration `yaml:"wait"`
	Inner inner         `yaml:"inner"`
}

func TestReadIsStrict(t *testing.T) {
	for _, tt := range []struct{ name, text, fault string }{
		{"good", "name: a\nwait: 5s\ninner: {retry: [1m, 2m]}\n", ""},
		{"empty", "", ""},
		{"unknown key", "nmae: a\n", `line 1: there is no key "nmae" here`},
		{"unknown inner key", "name: a\ninner: {retries: [1m]}\n", `line 2: there is no key "retries" here`},
		{"wrong type", "wait: soon\n", "soon"},
		{"two documents", "name: a\n---\nname: b\n", "more than one"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var s sample
			err := config.Read(strings.NewReader(tt.text), &s)
			if (err == nil) != (tt.fault == "") || err != nil && !strings.Contains(err.Error(), tt.fault) {
				t.Errorf("%q: got %v, want a fault that names %q", tt.text, err, tt.fault)
			}
		})
	}
}

func TestPrintMarksWhatDiffers(t *testing.T) {
	var out strings.Builder
	def := sample{Name: "a", Wait: time.Minute, Inner: inner{Retry: []time.Duration{time.Minute}}}
	v := def
	v.Wait = 90 * time.Second
	v.Inner.Retry = []time.Duration{time.Hour}
	if err := config.Print(&out, v, def); err != nil {
		t.Fatal(err)
	}
	want := "name: a\nwait: 1m30s # default: 1m0s\ninner:\n  retry: # default: [1m0s]\n    - 1h0m0s\n"
	if out.String() != want {
		t.Errorf("got:\n%s\nwant:\n%s", out.String(), want)
	}
	var again sample
	if err := config.Read(strings.NewReader(out.String()), &again); err != nil || again.Wait != v.Wait {
		t.Errorf("what was printed reads back as %+v, %v", again, err)
	}
}
