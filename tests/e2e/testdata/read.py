"""Reads a mailbox with imaplib or poplib, one file per message: read.py PROTOCOL PORT CA USER PASSWORD FOLDER"""
import imaplib, os, poplib, ssl, sys

protocol, port, ca, user, password, folder = sys.argv[1:]
os.mkdir(folder)
tls = ssl.create_default_context(cafile=ca)


def keep(number, raw):
    with open(os.path.join(folder, str(number)), "wb") as f:
        f.write(raw)


def by_imap():
    if protocol == "imaps":
        box = imaplib.IMAP4_SSL("localhost", int(port), ssl_context=tls)
    else:
        box = imaplib.IMAP4("localhost", int(port))
        box.starttls(tls)
    box.login(user, password)
    kind, (count,) = box.select("INBOX", readonly=True)
    assert kind == "OK", kind
    kind, (found,) = box.search(None, "ALL")
    assert kind == "OK" and len(found.split()) == int(count), found
    for number in found.split():
        kind, data = box.fetch(number, "(RFC822.SIZE BODY.PEEK[])")
        assert kind == "OK", kind
        head, raw = data[0]
        assert f"RFC822.SIZE {len(raw)} ".encode() in head, head
        keep(int(number), raw)
    box.close()
    box.logout()


def by_pop3():
    # The library reads a message in lines and drops their ends; a line may be longer than it likes.
    poplib._MAXLINE = 1 << 20
    if protocol == "pop3s":
        box = poplib.POP3_SSL("localhost", int(port), context=tls)
    else:
        box = poplib.POP3("localhost", int(port))
        box.stls(tls)
    box.user(user)
    box.pass_(password)
    count, size = box.stat()
    listed = [int(line.split()[1]) for line in box.list()[1]]
    assert sum(listed) == size and len(listed) == count, (listed, size)
    uids = [line.split()[1] for line in box.uidl()[1]]
    assert len(set(uids)) == count, uids
    for number in range(1, count + 1):
        raw = b"".join(line + b"\r\n" for line in box.retr(number)[1])
        assert len(raw) == listed[number - 1], (len(raw), listed[number - 1])
        keep(number, raw)
    box.quit()


by_imap() if protocol.startswith("imap") else by_pop3()
