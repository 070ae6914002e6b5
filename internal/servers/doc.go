// Package servers starts the real servers that a farm stands on, for tests: NATS, an S3 server, PostgreSQL. Each is a
// process of its own on loopback with its files in a folder of the test, and ends with the test.
package servers
