// Package front is where clients connect to a role: its listeners, who the clients are, how many connections there may be in
// all and from one address, and their end. What is said on a connection is the role's: a Session.
//
//	Listener ─Open▶ Socket ─accept▶ PROXY header ▶ Gate, limits ─┬▶ Begin: Session.Serve until the client or the role ends it
//	                                (of trusted peers)           └▶ Refuse: a line, and the connection is closed
//	context ends ▶ Session.Wake each ▶ sockets close ▶ all have ended, or Session.Cut each
package front
