package kept

import "strings"

// Dropped are the tables that Drop takes an account's rows out of.
func Dropped() (tables []string) {
	queries := append([]string(nil), dropLast...)
	for _, s := range dropSteps {
		queries = append(queries, s.query)
	}
	for _, q := range queries {
		tables = append(tables, strings.Fields(q)[2])
	}
	return tables
}

// Queries whose plans are looked at.
const (
	PurgeLook, PurgeNames, PurgeRow, PurgeEmail = purgeLook, purgeNames, purgeRow, purgeEmail
	NamedByEntries, NamedByTombstones           = namedByEntries, namedByTombstones
	RemovedRows, DropState                      = removedRows, dropState
	StrayChunks, SeenEmails                     = strayChunks, seenEmails
)
