//go:build race

package reclaimtest

const raced = true
