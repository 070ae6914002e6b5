module github.com/mailfarm/mailfarm/tests

go 1.26.0

require (
	github.com/emersion/go-imap/v2 v2.0.0-beta.8
	github.com/emersion/go-sasl v0.0.0-20241020182733-b788ff22d5a6
	github.com/emersion/go-smtp v0.25.1
	github.com/mailfarm/mailfarm v0.0.0
)

require (
	github.com/emersion/go-message v0.18.2 // indirect
	github.com/miekg/dns v1.1.73 // indirect
	golang.org/x/net v0.62.0 // indirect
	golang.org/x/sys v0.49.0 // indirect
)

replace (
	github.com/mailfarm/mailfarm => ../
	github.com/mailfarm/mailfarm/proto => ../proto
)
