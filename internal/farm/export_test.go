package farm

// ReplaceRegistry makes farms register with what make returns, until restore.
func ReplaceRegistry(make func() Metrics) (restore func()) {
	before := newRegistry
	newRegistry = make
	return func() { newRegistry = before }
}

// BeginTimeline is what `mailfarm setup --restored` does to the database.
var BeginTimeline = beginTimeline
