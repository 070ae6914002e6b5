// Package compose tries the farm of deploy/compose on the Docker engine, as `make farm-test` has started it.
package compose
