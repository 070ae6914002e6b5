// Package rpc is how the roles call each other: gRPC with the same limits, interceptors and error mapping everywhere.
package rpc

import (
	"context"
	"errors"
	"strconv"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mailfarm/mailfarm/internal/reply"
)

// replyReason marks a status detail that carries a reply.Error.
const replyReason = "SMTP_REPLY"

// toStatus is what a handler's error looks like on the wire: a status keeps its code, a verdict becomes a detail, and
// anything else is Internal with its text, for our logs only.
func toStatus(err error) error {
	if err == nil {
		return nil
	}
	if s, ok := status.FromError(err); ok && s.Code() != codes.Unknown {
		return s.Err()
	}
	var verdict *reply.Error
	if errors.As(err, &verdict) {
		code := codes.Unavailable
		if verdict.IsPermanent() {
			code = codes.FailedPrecondition
		}
		s, detailErr := status.New(code, err.Error()).WithDetails(&errdetails.ErrorInfo{
			Reason: replyReason,
			Domain: "mailfarm",
			Metadata: map[string]string{
				"code": strconv.Itoa(verdict.Code), "enhanced": verdict.Enhanced, "text": verdict.Text,
			},
		})
		if detailErr == nil {
			return s.Err()
		}
	}
	switch {
	case errors.Is(err, context.Canceled):
		return status.Error(codes.Canceled, err.Error())
	case errors.Is(err, context.DeadlineExceeded):
		return status.Error(codes.DeadlineExceeded, err.Error())
	}
	return status.Error(codes.Internal, err.Error())
}

// callError is a call's error as the caller sees it: status.Code works on it, and reply.Of finds the verdict.
type callError struct {
	error
	verdict *reply.Error
}

func (e *callError) Unwrap() []error { return []error{e.error, e.verdict} }

// fromStatus gives a verdict that crossed the wire its type back.
func fromStatus(err error) error {
	s, ok := status.FromError(err)
	if !ok || err == nil {
		return err
	}
	for _, d := range s.Details() {
		info, ok := d.(*errdetails.ErrorInfo)
		if !ok || info.Reason != replyReason {
			continue
		}
		code, convErr := strconv.Atoi(info.Metadata["code"])
		if convErr != nil {
			continue
		}
		return &callError{err, reply.Transient(code, info.Metadata["enhanced"], info.Metadata["text"])}
	}
	return err
}
