package message

// name is the number of a known field name; 0 is any other. The numbers stand in encoded indexes: names are added at the
// end, and every change of the list is a new Version.
type name uint8

const (
	nameOther name = iota
	nameFrom
	nameSender
	nameReplyTo
	nameTo
	nameCc
	nameBcc
	nameDate
	nameSubject
	nameMessageID
	nameInReplyTo
	nameReceived
	nameReturnPath
	nameDeliveredTo
	nameContentType
	nameContentTransferEncoding
	nameContentDisposition
	nameContentID
	nameContentDescription
	nameContentMD5
	nameContentLanguage
	nameContentLocation
)

var names = [...]string{
	nameOther: "", nameFrom: "from", nameSender: "sender", nameReplyTo: "reply-to", nameTo: "to", nameCc: "cc", nameBcc: "bcc",
	nameDate: "date", nameSubject: "subject", nameMessageID: "message-id", nameInReplyTo: "in-reply-to",
	nameReceived: "received", nameReturnPath: "return-path", nameDeliveredTo: "delivered-to",
	nameContentType: "content-type", nameContentTransferEncoding: "content-transfer-encoding",
	nameContentDisposition: "content-disposition", nameContentID: "content-id",
	nameContentDescription: "content-description", nameContentMD5: "content-md5",
	nameContentLanguage: "content-language", nameContentLocation: "content-location",
	// These are only known to make encoded indexes smaller.
	"references", "mime-version", "dkim-signature", "authentication-results", "received-spf", "user-agent", "x-mailer",
	"x-received", "x-google-dkim-signature", "x-google-smtp-source", "x-gm-message-state", "x-gm-gg", "arc-seal",
	"arc-message-signature", "arc-authentication-results", "x-originating-ip", "x-priority", "importance", "priority",
	"precedence", "list-id", "list-unsubscribe", "list-unsubscribe-post", "list-post", "list-help", "list-archive",
	"list-subscribe", "list-owner", "feedback-id", "auto-submitted", "x-auto-response-suppress", "thread-topic",
	"thread-index", "accept-language", "x-ms-has-attach", "x-ms-exchange-organization-scl", "x-ms-tnef-correlator",
	"x-spam-status", "x-spam-score", "x-spam-level", "x-spam-flag", "x-spam-checker-version", "x-virus-scanned",
	"x-original-to", "x-forwarded-to", "x-forwarded-for", "x-sender", "x-mailman-version", "x-beenthere", "errors-to",
	"x-report-abuse", "x-mimeole", "x-msmail-priority", "organization", "keywords", "comments", "autocrypt", "bimi-selector",
	"x-bench-sent", "disposition-notification-to", "return-receipt-to", "x-feedback-id", "x-entity-id", "x-ses-outgoing",
	"x-sg-eid", "x-mailgun-sid", "x-campaign-id", "resent-from", "resent-to", "resent-date", "resent-message-id",
	"tls-required", "x-github-sender", "x-github-reason", "x-loop", "envelope-to", "delivery-date",
}

var numbers = func() map[string]name {
	m := make(map[string]name, len(names))
	for i, s := range names[1:] {
		m[s] = name(i + 1)
	}
	return m
}()

// common are strings that most messages have, so that they need no memory of their own.
var common = func() map[string]string {
	m := make(map[string]string)
	for _, s := range []string{
		"text", "plain", "html", "calendar", "enriched", "csv", "multipart", "mixed", "alternative", "related", "signed", "report",
		"digest", "application", "octet-stream", "pdf", "zip", "pgp-signature", "pkcs7-signature", "image", "jpeg", "png", "gif",
		"message", "rfc822", "global", "delivery-status", "rfc822-headers", "charset", "utf-8", "UTF-8", "us-ascii", "US-ASCII",
		"iso-8859-1", "ISO-8859-1", "windows-1252", "boundary", "name", "filename", "filename*", "type", "format", "flowed",
		"delsp", "yes", "no", "attachment", "inline", "7bit", "8bit", "binary", "quoted-printable", "base64", "size", "micalg",
		"protocol", "method", "en", "en-US", "de",
	} {
		m[s] = s
	}
	return m
}()

// intern makes a string of b, at no cost for a common one.
func intern(b []byte) string {
	if s, ok := common[string(b)]; ok {
		return s
	}
	return string(b)
}

// fieldName tells the length of the field name that a line begins with, and where behind the colon the value begins.
// Blanks before the colon are tolerated (RFC 5322 §4.5). ok is false where the line is no field.
func fieldName(line []byte) (length, value int, ok bool) {
	i := 0
	for i < len(line) && line[i] > ' ' && line[i] < 0x7f && line[i] != ':' {
		i++
	}
	n := i
	for i < len(line) && (line[i] == ' ' || line[i] == '\t') {
		i++
	}
	if n == 0 || i == len(line) || line[i] != ':' {
		return 0, 0, false
	}
	return n, i + 1, true
}

// lower appends b in lower case.
func lower(dst, b []byte) []byte {
	for _, c := range b {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		dst = append(dst, c)
	}
	return dst
}
