package otlp

import (
	"encoding/binary"
	"math/rand/v2"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/mailfarm/mailfarm/internal/envelope"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
)

// maxText bounds each text of a span, octets. Some of it is what a peer said.
const maxText = 1024

// Field numbers of opentelemetry.proto.trace.v1.Span and what it consists of, and of an export request.
const (
	spanTraceID, spanID, spanParent, spanName, spanKind, spanStart, spanEnd, spanAttribute, spanStatus = 1, 2, 4, 5, 6, 7, 8, 9, 15

	statusMessage, statusCode       = 2, 3
	attributeKey, attributeValue    = 1, 2
	valueString                     = 1
	requestResource, resourceIs     = 1, 1
	resourceScope, scopeIs, aSpan   = 2, 1, 2
	scopeName, resourceHasAttribute = 1, 1

	kindInternal, codeError = 1, 2
)

// appendSpan appends the span of an event, encoded as a field of ScopeSpans. It is written as it is sent: a tree of objects for
// each span would cost more than all else that tracing does.
func appendSpan(b []byte, ev *mailv1.TraceEvent, id envelope.QueueID) []byte {
	b, at := open(b, aSpan)
	b = appendOctets(b, spanTraceID, id[:])
	first := firstSpan(id)
	if isFirst(ev) {
		b = appendOctets(b, spanID, first[:])
	} else {
		own := binary.BigEndian.AppendUint64(make([]byte, 0, len(first)), rand.Uint64()|1) // never zero
		b = appendOctets(b, spanID, own)
		b = appendOctets(b, spanParent, first[:])
	}
	b, name := open(b, spanName)
	b = append(append(append(b, ev.Stage...), ' '), ev.Event...)
	b = shut(b, name)
	b = protowire.AppendVarint(protowire.AppendTag(b, spanKind, protowire.VarintType), kindInternal)
	end := ev.TimeNs
	if end == 0 {
		end = time.Now().UnixNano()
	}
	b = protowire.AppendFixed64(protowire.AppendTag(b, spanStart, protowire.Fixed64Type), uint64(end-ev.DurationUs*int64(time.Microsecond)))
	b = protowire.AppendFixed64(protowire.AppendTag(b, spanEnd, protowire.Fixed64Type), uint64(end))
	// Addresses are the same as in the ledger: who may see traces may see those.
	b = appendAttribute(b, spanAttribute, "mail.role", ev.Role)
	b = appendAttribute(b, spanAttribute, "mail.from", ev.ReversePath)
	b = appendAttribute(b, spanAttribute, "mail.to", ev.ForwardPath)
	b = appendAttribute(b, spanAttribute, "mail.message_id", ev.MessageId)
	b = appendAttribute(b, spanAttribute, "mail.detail", ev.Detail)
	b = appendAttribute(b, spanAttribute, "client.address", ev.Client)
	if ev.Event == "refused" || ev.Event == "bounced" || ev.Event == "deferred" {
		var status int
		b, status = open(b, spanStatus)
		b = appendText(b, statusMessage, ev.Detail)
		b = protowire.AppendVarint(protowire.AppendTag(b, statusCode, protowire.VarintType), codeError)
		b = shut(b, status)
	}
	return shut(b, at)
}

// isFirst tells whether an event begins its message's trace.
func isFirst(ev *mailv1.TraceEvent) bool {
	return ev.Stage == "smtp" && (ev.Event == "accepted" || ev.Event == "refused")
}

// firstSpan is the id of a trace's first span: the trace id's two halves as one, never zero.
func firstSpan(id envelope.QueueID) (span [8]byte) {
	for i := range span {
		span[i] = id[i] ^ id[i+len(span)]
	}
	span[0] |= 1
	return span
}

// sampled tells whether a message is among the share that is exported.
func sampled(id envelope.QueueID, share float64) bool {
	return share >= 1 || float64(binary.BigEndian.Uint64(id[8:])>>1) < share*(1<<63)
}

// preamble is what each request begins with: who exports, encoded as fields of ResourceSpans, and the scope of its ScopeSpans.
func preamble(version, instance string) (resource, scope []byte) {
	resource, at := open(nil, resourceIs)
	resource = appendAttribute(resource, resourceHasAttribute, "service.name", "mailfarm")
	resource = appendAttribute(resource, resourceHasAttribute, "service.version", version)
	resource = appendAttribute(resource, resourceHasAttribute, "service.instance.id", instance)
	resource = shut(resource, at)
	scope, at = open(nil, scopeIs)
	scope = appendText(scope, scopeName, "mailfarm")
	return resource, shut(scope, at)
}

// request is an ExportTraceServiceRequest of spans that lie encoded one behind the other.
func request(resource, scope, spans []byte) []byte {
	inner := len(scope) + len(spans)
	outer := len(resource) + protowire.SizeTag(resourceScope) + protowire.SizeBytes(inner)
	b := make([]byte, 0, protowire.SizeTag(requestResource)+protowire.SizeBytes(outer))
	b = protowire.AppendVarint(protowire.AppendTag(b, requestResource, protowire.BytesType), uint64(outer))
	b = append(b, resource...)
	b = protowire.AppendVarint(protowire.AppendTag(b, resourceScope, protowire.BytesType), uint64(inner))
	return append(append(b, scope...), spans...)
}

func appendOctets(b []byte, field protowire.Number, octets []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, field, protowire.BytesType), octets)
}

// appendText appends a text within its bound, as UTF-8.
func appendText(b []byte, field protowire.Number, text string) []byte {
	text = strings.ToValidUTF8(text[:min(len(text), maxText)], "")
	return protowire.AppendString(protowire.AppendTag(b, field, protowire.BytesType), text)
}

// appendAttribute appends a KeyValue with a text, unless that is empty.
func appendAttribute(b []byte, field protowire.Number, key, text string) []byte {
	if text == "" {
		return b
	}
	b, at := open(b, field)
	b = protowire.AppendString(protowire.AppendTag(b, attributeKey, protowire.BytesType), key)
	b, value := open(b, attributeValue)
	b = shut(appendText(b, valueString, text), value)
	return shut(b, at)
}

// open begins a field whose length is not known yet, with room for one of one octet; shut ends it.
func open(b []byte, field protowire.Number) ([]byte, int) {
	b = append(protowire.AppendTag(b, field, protowire.BytesType), 0)
	return b, len(b)
}

// shut writes the length of what was appended since open, and moves it where one octet has no room for that.
func shut(b []byte, at int) []byte {
	n := uint64(len(b) - at)
	for more := protowire.SizeVarint(n) - 1; more > 0; more-- {
		b = append(b, 0)
		copy(b[at+1:], b[at:])
	}
	protowire.AppendVarint(b[:at-1], n)
	return b
}
