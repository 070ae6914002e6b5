package main

import "testing"

func TestParseAccount(t *testing.T) {
	for _, tt := range []struct{ name, line, address, secret, problem string }{
		{"plain", "a@example.org,secret", "a@example.org", "secret", ""},
		{"spaces around the address", " a@example.org ,secret", "a@example.org", "secret", ""},
		{"comma in the password", "a@example.org,se,cret", "a@example.org", "se,cret", ""},
		{"hash with commas", "a@example.org,{ARGON2ID}$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA", "a@example.org", "{ARGON2ID}$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA", ""},
		{"quoted by a spreadsheet", `"a@example.org","se""c,ret"`, "a@example.org", `se"c,ret`, ""},
		{"quote in the password", `a@example.org,se"cret`, "a@example.org", `se"cret`, ""},
		{"byte order mark and CR", "\ufeffa@example.org,secret\r", "a@example.org", "secret", ""},
		{"empty", "", "", "", ""},
		{"comment", "# people", "", "", ""},
		{"no comma", "a@example.org", "a@example.org", "", "no password or hash behind a comma"},
		{"no password", "a@example.org,", "a@example.org", "", "no password or hash behind a comma"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			address, secret, problem := parseAccount(tt.line)
			if address != tt.address || secret != tt.secret || problem != tt.problem {
				t.Errorf("%q: got %q, %q, %q", tt.line, address, secret, problem)
			}
		})
	}
}
