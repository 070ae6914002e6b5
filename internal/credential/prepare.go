package credential

import "github.com/xdg-go/stringprep"

// prepare applies SASLprep (RFC 4013), so that one password typed on two keyboards is one password.
//
// What SASLprep refuses (it knows Unicode 3.2, so it refuses every emoji) is taken as it is: clients do the same, and
// telling somebody that a good password is not allowed helps nobody.
func prepare(password string) string {
	ascii := true
	for i := 0; i < len(password); i++ {
		if password[i] < 0x20 || password[i] > 0x7e {
			ascii = false
			break
		}
	}
	if ascii {
		return password
	}
	prepared, err := stringprep.SASLprep.Prepare(password)
	if err != nil || prepared == "" {
		return password
	}
	return prepared
}
