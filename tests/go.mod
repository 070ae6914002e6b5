module github.com/mailfarm/mailfarm/tests

go 1.26.0

require github.com/mailfarm/mailfarm/proto v0.0.0

replace (
	github.com/mailfarm/mailfarm/proto => ../proto
)
