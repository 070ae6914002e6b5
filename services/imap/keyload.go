package imap

import (
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/message"
	"github.com/mailfarm/mailfarm/services/imap/internal/keys"
	"github.com/mailfarm/mailfarm/services/imap/internal/view"
)

// keysOf gives the keys of those of a run of messages that are wanted: as the process holds them, and of the others by one
// call for emails, after which it holds them too. A message whose email is gone, or that spare tells of, has none.
func (m *mails) keysOf(snap *view.Snapshot, cols *view.Columns, want func(i int) bool, spare func(mailbox.UID) bool) ([]keys.Record, error) {
	records := make([]keys.Record, len(cols.UIDs))
	run := keys.Run{Account: snap.Account, Mailbox: snap.ID, UIDValidity: snap.UIDValidity}
	var missing []int
	var block *keys.Block
	for i, uid := range cols.UIDs {
		if !want(i) {
			continue
		}
		if n := keys.NumberOf(uid); block == nil || n != run.Number {
			run.Number = n
			block = m.s.svc.keys.Get(run)
		}
		var ok bool
		if records[i], ok = block.Find(uid); !ok {
			records[i] = keys.Record{}
			if spare == nil || !spare(uid) {
				missing = append(missing, i)
			}
		}
	}
	if len(missing) == 0 {
		return records, nil
	}
	return records, m.addKeys(run, cols, missing, records)
}

// addKeys makes missing keys.
func (m *mails) addKeys(run keys.Run, cols *view.Columns, missing []int, records []keys.Record) error {
	ids := make([]uint64, len(missing))
	for k, i := range missing {
		ids[k] = uint64(cols.Emails[i])
	}
	found, err := m.load(ids, true, 0)
	if err != nil {
		return err
	}
	for len(missing) > 0 {
		run.Number = keys.NumberOf(cols.UIDs[missing[0]])
		n := 0
		var sources []keys.Source
		for ; n < len(missing) && keys.NumberOf(cols.UIDs[missing[n]]) == run.Number; n++ {
			i := missing[n]
			mail := found[n]
			if mail == nil {
				continue
			}
			s, err := m.keySource(cols.UIDs[i], mail)
			if err != nil {
				return err
			}
			sources = append(sources, s)
		}
		if len(sources) > 0 {
			block := m.s.svc.keys.Get(run).With(sources)
			m.s.svc.keys.Put(run, block)
			for _, i := range missing[:n] {
				if r, ok := block.Find(cols.UIDs[i]); ok {
					records[i] = r
				}
			}
		}
		missing, found = missing[n:], found[n:]
	}
	return nil
}

// keySource is what the keys of a message are taken from: its part index as it is stored, unless the overlay shows or hides
// what they tell of.
func (m *mails) keySource(uid mailbox.UID, mail *mail) (keys.Source, error) {
	s := keys.Source{UID: uid}
	encoded := mail.email.GetPartIndex()
	if len(mail.overlay.Cuts) == 0 && !touchesEnvelope(mail.overlay.Prefix) {
		if s.Envelope = message.EnvelopeOf(encoded); s.Envelope != nil {
			s.Sent, s.HasSent = message.SentDateOf(encoded)
			s.References = message.ReferencesOf(encoded)
			s.Cut, s.OneSubject = message.ShownOf(encoded)
			return s, nil
		}
	}
	ix, err := m.indexOf(mail)
	if isReply(err) {
		// It cannot be read: it has neither addresses nor a subject.
		return s, nil
	}
	if err != nil {
		return s, err
	}
	if s.Envelope, err = m.envelope(mail); isReply(err) {
		s.Envelope, err = ix.Envelope(), nil
	}
	v := ix.WithOverlay(mail.overlay)
	s.Sent, s.HasSent = v.SentDate()
	s.Cut = v.Cut(s.Envelope)
	s.References = ix.References()
	return s, err
}
