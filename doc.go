// Package mailfarm holds nothing but the rules of the tree: see imports_test.go. The program is cmd/mailfarm.
package mailfarm
