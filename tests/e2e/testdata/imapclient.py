# Goes through all methods of imaplib that talk to a server: PORT-TLS PORT CA USER PASSWORD OTHER.
import imaplib, ssl, sys, time

tls_port, port, ca, user, password, other = sys.argv[1:]
context = ssl.create_default_context(cafile=ca)


def ok(answer):
    typ, data = answer
    assert typ == 'OK', answer
    return data


# STARTTLS, AUTHENTICATE and what does not need a login.
m = imaplib.IMAP4('localhost', int(port))
assert 'STARTTLS' in m.capabilities
ok(m.starttls(context))
ok(m.authenticate('PLAIN', lambda challenge: ('\0%s\0%s' % (user, password)).encode()))
ok(m.noop())
m.logout()

m = imaplib.IMAP4_SSL('localhost', int(tls_port), ssl_context=context)
try:
    m.login(user, 'wrong')
    raise AssertionError('a wrong password is taken')
except imaplib.IMAP4.error:
    pass
ok(m.login(user, password))
ok(m.capability())
ok(m.namespace())
ok(m.enable('CONDSTORE'))

ok(m.create('Scripts'))
ok(m.create('Scripts/Made'))
ok(m.rename('Scripts/Made', 'Scripts/Renamed'))
ok(m.subscribe('Scripts/Renamed'))
assert any(b'Renamed' in line for line in ok(m.lsub('""', '*')))
ok(m.unsubscribe('Scripts/Renamed'))
assert any(b'Renamed' in line for line in ok(m.list('""', 'Scripts/*')))
ok(m.create('Scripts/Gone'))
ok(m.delete('Scripts/Gone'))
assert m.delete('Scripts/Gone')[0] == 'NO'

assert ok(m.select('INBOX')) == [b'5']
assert m.response('UIDVALIDITY')[1][0].isdigit()
ok(m.check())
assert ok(m.search(None, 'SUBJECT', '"seeded-0002"')) == [b'3']
assert ok(m.search('UTF-8', 'ALL')) == [b'1 2 3 4 5']
assert ok(m.uid('search', 'UID', '4:*')) == [b'4 5']
assert ok(m.sort('(REVERSE SUBJECT)', 'UTF-8', 'ALL')) == [b'5 4 3 2 1']
assert ok(m.thread('REFERENCES', 'UTF-8', 'ALL'))[0].count(b'(') == 5
data = ok(m.fetch('1', '(UID FLAGS RFC822.SIZE BODY.PEEK[HEADER])'))
assert b'seeded-0000' in data[0][1], data
assert b'The body of seeded-0001.' in ok(m.fetch('2', '(RFC822)'))[0][1]
ok(m.store('1', '+FLAGS', r'(\Flagged)'))
ok(m.uid('store', '3', '+FLAGS', r'(\Deleted)'))
assert ok(m.expunge()) == [b'3']
ok(m.copy('4', 'Scripts/Renamed'))  # seeded-0004
ok(m.uid('store', '5', '+FLAGS', r'(\Deleted)'))
raw = b'From: <a@b.example>\r\nSubject: appended\r\n\r\nThe body of appended.\r\n'
ok(m.append('INBOX', r'(\Seen)', imaplib.Time2Internaldate(time.time()), raw))
ok(m.uid('expunge', '5'))
assert b'MESSAGES 4' in ok(m.status('INBOX', '(MESSAGES UIDNEXT UIDVALIDITY UNSEEN)'))[0]
ok(m.unselect())

ok(m.select('INBOX', readonly=True))
try:
    answer = m.store('1', '+FLAGS', r'(\Seen)')
    assert answer[0] == 'NO', answer
except imaplib.IMAP4.readonly:
    pass
ok(m.close())

ok(m.getquotaroot('INBOX'))
ok(m.setacl('Scripts/Renamed', other, 'lrs'))
assert any(other.encode() in line for line in ok(m.getacl('Scripts/Renamed')))
ok(m.myrights('Scripts/Renamed'))
ok(m.deleteacl('Scripts/Renamed', other))
ok(m.xatom('ID', '("name" "imaplib")'))
m.logout()
