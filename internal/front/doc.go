// Package front is where clients connect to a role: its listeners, how many connections there may be in all and from one
// address, and their end. What is said on a connection is the role's: a Session.
//
//	Listener ─Open▶ Socket ─accept▶ limits ─┬▶ Begin: Session.Serve until the client or the role ends it
//	                                        └▶ Refuse: a line, and the connection is closed
//	context ends ▶ sockets close ▶ Session.Wake each ▶ all have ended;  Close ▶ Session.Cut each
package front
