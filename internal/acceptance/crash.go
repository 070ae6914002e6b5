package acceptance

import "github.com/mailfarm/mailfarm/internal/fault"

// crashPoints are the places of fault.Point, spelled out so that they can be searched for.
type crashPoints struct{ beforeCommit, afterCommit, afterPublish, afterReply string }

func pointsOf(role Role) crashPoints {
	if role == Submission {
		return crashPoints{
			"submission.before-commit", "submission.after-commit", "submission.after-publish", "submission.after-reply",
		}
	}
	return crashPoints{"ingress.before-commit", "ingress.after-commit", "ingress.after-publish", "ingress.after-reply"}
}

// AfterReply is for smtpd.Config: the last crash point; nil in ordinary builds.
func (a *Acceptor) AfterReply() func() {
	if !fault.Enabled {
		return nil
	}
	return func() { fault.Point(a.points.afterReply) }
}
