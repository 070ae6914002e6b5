// Package certs keeps certificates, and the authorities that peers are held against, as their files say, without a restart:
//
//	files change ─two looks alike, or SIGHUP▶ load, match, in time? ─┬▶ what handshakes use from here on
//	                                                                 └▶ one warning; what was used before stays in use
package certs
