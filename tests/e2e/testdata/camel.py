# Drives IMAPX, the IMAP part of Evolution's mail library, as Evolution does: PORT-TLS CA USER PASSWORD HOME.
# INBOX has five messages, seeded-0000 to seeded-0004. Lines on standard output ask for something that another client is to do;
# a line on standard input tells that it is done.
import os, ssl, sys

port, ca, user, password, home = sys.argv[1:]
os.environ['GSETTINGS_BACKEND'] = 'memory'

import gi

gi.require_version('Camel', '1.2')
from gi.repository import Camel, Gio, GLib

Camel.init(home, False)
Camel.provider_init()


class Session(Camel.Session):
    """Trusts the authority of the test and nobody else."""
    prompts = 0

    def do_trust_prompt(self, service, certificate, errors):
        Session.prompts += 1
        trusted = certificate.verify(Gio.NetworkAddress.new('localhost', int(port)), Gio.TlsCertificate.new_from_file(ca))
        return Camel.CertTrust.TEMPORARY if trusted == 0 else Camel.CertTrust.NEVER

    def do_get_password(self, service, prompt, item, flags):
        return password


def another(wish):
    print(wish, flush=True)
    assert sys.stdin.readline().strip() == 'done', wish


session = Session(user_data_dir=home + '/data', user_cache_dir=home + '/cache')
session.set_online(True)
store = session.add_service('account', 'imapx', Camel.ProviderType.STORE)
settings = store.ref_settings()
settings.set_property('host', 'localhost')
settings.set_property('port', int(port))
settings.set_property('user', user)
settings.set_property('security-method', Camel.NetworkSecurityMethod.SSL_ON_ALTERNATE_PORT)
settings.set_property('auth-mechanism', 'PLAIN')
settings.set_property('use-qresync', True)
settings.set_property('use-idle', True)
settings.set_property('check-all', True)
store.set_password(password)
store.set_online_sync(True, None)
assert store.connect_sync(None)
assert Session.prompts > 0, 'the certificate was not asked about'


def is_there(name):
    store.get_folder_info_sync(None, Camel.StoreGetFolderInfoFlags.RECURSIVE | Camel.StoreGetFolderInfoFlags.REFRESH, None)
    try:
        return store.get_folder_sync(name, Camel.StoreGetFolderFlags.NONE, None) is not None
    except GLib.GError:
        return False


def subjects(folder):
    """UIDs by subject. They are tried one by one: of a list that the library gives, Python would free what the library keeps."""
    folder.refresh_info_sync(None)
    found = {}
    for uid in map(str, range(1, 100)):
        info = folder.get_message_info(uid)
        if info:
            assert info.get_subject() not in found, info.get_subject()
            found[info.get_subject()] = uid
    return found


def flags(folder, subject):
    return folder.get_message_info(subjects(folder)[subject]).get_flags()


# Folders: made, listed, given another name, removed.
for name in 'INBOX', 'Sent', 'Drafts', 'Trash', 'Archive':
    assert is_there(name), name
store.create_folder_sync('', 'Evolution', None)
store.create_folder_sync('Evolution', 'Grüße', None)
store.rename_folder_sync('Evolution/Grüße', 'Evolution/Gelesen', None)
store.create_folder_sync('Evolution', 'Gone', None)
store.delete_folder_sync('Evolution/Gone', None)
for name, there in {'Evolution': True, 'Evolution/Gelesen': True, 'Evolution/Gone': False}.items():
    assert is_there(name) == there, name

# What is there, its text, and a search in it.
inbox = store.get_folder_sync('INBOX', Camel.StoreGetFolderFlags.NONE, None)
there = subjects(inbox)
assert sorted(there) == ['seeded-%04d' % i for i in range(5)], there
message = inbox.get_message_sync(there['seeded-0002'], None)
assert message.get_subject() == 'seeded-0002'
stream = Camel.StreamMem.new()
message.decode_to_stream_sync(stream, None)
assert b'The body of seeded-0002.' in bytes(stream.get_byte_array())
found = inbox.count_by_expression('(match-all (body-contains "body of seeded-0003"))', None)
assert found == 1, found

# Flags that it gives, a copy, a move, a removal.
SEEN, FLAGGED, ANSWERED, DELETED = (getattr(Camel.MessageFlags, name) for name in ('SEEN', 'FLAGGED', 'ANSWERED', 'DELETED'))
inbox.set_message_flags(there['seeded-0000'], FLAGGED | SEEN, FLAGGED | SEEN)
inbox.get_message_info(there['seeded-0001']).set_user_flag('$Labelimportant', True)
assert inbox.synchronize_sync(False, None)
gelesen = store.get_folder_sync('Evolution/Gelesen', Camel.StoreGetFolderFlags.NONE, None)
assert inbox.transfer_messages_to_sync([there['seeded-0000']], gelesen, False, None)[0]
assert inbox.transfer_messages_to_sync([there['seeded-0004']], gelesen, True, None)[0]
inbox.set_message_flags(there['seeded-0003'], DELETED, DELETED)
assert inbox.synchronize_sync(True, None)
assert sorted(subjects(inbox)) == ['seeded-0000', 'seeded-0001', 'seeded-0002'], subjects(inbox)
assert sorted(subjects(gelesen)) == ['seeded-0000', 'seeded-0004'], subjects(gelesen)
assert flags(gelesen, 'seeded-0000') & FLAGGED

# A message that it writes.
written = Camel.MimeMessage.new()
written.set_subject('written')
author = Camel.InternetAddress.new()
author.add('Alice', user)
written.set_from(author)
text = b'Written in Evolution.\r\n'
written.set_content(text, 'text/plain')
info = Camel.MessageInfo.new(None)
info.set_flags(SEEN, SEEN)
assert inbox.append_message_sync(written, info, None)[0]
assert 'written' in subjects(inbox), subjects(inbox)

# What another client changes: a message that comes, flags, a removal.
another('change')
after = subjects(inbox)
assert sorted(after) == ['new', 'seeded-0000', 'seeded-0001', 'written'], after
assert flags(inbox, 'seeded-0001') & ANSWERED and not flags(inbox, 'seeded-0000') & FLAGGED
assert inbox.get_message_info(after['seeded-0001']).get_user_flag('$Labelimportant')

# Offline and back: the summary that it kept is brought up to date.
assert store.disconnect_sync(True, None)
another('offline')
assert store.connect_sync(None)
after = subjects(inbox)
assert sorted(after) == ['new', 'offline', 'seeded-0000', 'seeded-0001'], after
assert flags(inbox, 'new') & SEEN
assert store.disconnect_sync(True, None)
print('end', flush=True)
