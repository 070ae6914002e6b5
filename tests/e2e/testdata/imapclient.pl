# Goes through what Mail::IMAPClient can do: PORT-TLS PORT CA USER PASSWORD OTHER.
use strict;
use warnings;
use Mail::IMAPClient;

my ($tls_port, $port, $ca, $user, $password, $other) = @ARGV;
my %tls = (SSL_ca_file => $ca, SSL_verify_mode => 1, SSL_verifycn_name => 'localhost');

sub must {
	my ($what, $true) = @_;
	die "$what: " . ($@ || 'not so') . "\n" unless $true;
}

my $m = Mail::IMAPClient->new(Server => 'localhost', Port => $port, Starttls => [%tls], User => $user, Password => $password, Uid => 1)
	or die "STARTTLS: $@\n";
must('authenticated', $m->IsAuthenticated);
must('logout', $m->logout);

$m = Mail::IMAPClient->new(Server => 'localhost', Port => $tls_port, Ssl => [%tls], User => $user, Password => $password, Uid => 1, Peek => 1)
	or die "TLS: $@\n";
must('capability', $m->has_capability('UIDPLUS'));
must('id', $m->tag_and_run('ID ("name" "Mail::IMAPClient")'));
must('namespace', $m->namespace);
must('separator', $m->separator eq '/');
must('create', $m->create('Scripts/Made'));
must('exists', $m->exists('Scripts/Made'));
must('rename', $m->rename('Scripts/Made', 'Scripts/Renamed'));
must('subscribe', $m->subscribe('Scripts/Renamed'));
must('subscribed', grep { $_ eq 'Scripts/Renamed' } $m->subscribed);
must('folders', grep { $_ eq 'Scripts/Renamed' } $m->folders);
must('delete', $m->create('Scripts/Gone') && $m->delete('Scripts/Gone') && !$m->exists('Scripts/Gone'));

must('select', $m->select('INBOX'));
must('count', $m->message_count == 5);
must('unseen', $m->unseen_count == 5);
must('uidvalidity', $m->uidvalidity('INBOX') > 0);
must('uidnext', $m->uidnext('INBOX') == 6);
must('messages', join(' ', $m->messages) eq '1 2 3 4 5');
must('search', join(' ', $m->search('SUBJECT', $m->Quote('seeded-0002'))) eq '3');
must('since', (() = $m->since(time() - 86400)) == 5);
must('sort', join(' ', $m->sort('(REVERSE SUBJECT)', 'UTF-8', 'ALL')) eq '5 4 3 2 1');
must('subject', $m->subject(1) eq 'seeded-0000');
must('headers', $m->parse_headers(2, 'Subject')->{Subject}[0] eq 'seeded-0001');
must('body', $m->body_string(2) =~ /The body of seeded-0001\./);
must('message', $m->message_string(2) =~ /Subject: seeded-0001/);
must('size', $m->size(2) == length($m->message_string(2)));
must('date', $m->internaldate(2));
must('structure', $m->get_bodystructure(2)->bodytype =~ /TEXT/i) if eval { require Parse::RecDescent; 1 };
must('envelope', $m->get_envelope(2)->subject eq 'seeded-0001') if eval { require Parse::RecDescent; 1 };
must('fetch', keys %{ $m->fetch_hash('FLAGS') } == 5);
must('flag', $m->set_flag('Flagged', 1) && grep { $_ eq '\\Flagged' } $m->flags(1));
must('see', $m->see(2) && $m->seen && $m->deny_seeing(2));
must('delete', $m->delete_message(3));
must('expunge', $m->expunge);
must('move', $m->move('Scripts/Renamed', 5));
must('expunge moved', $m->expunge);
must('append', $m->append_string('INBOX', "From: <a\@b.example>\r\nSubject: appended\r\n\r\nThe body of appended.\r\n", '\\Seen'));
must('reselect', $m->select('INBOX') && $m->message_count == 4);
must('idle', $m->idle);
my $second = Mail::IMAPClient->new(Server => 'localhost', Port => $tls_port, Ssl => [%tls], User => $user, Password => $password, Uid => 1)
	or die "second: $@\n";
must('second appends', my $uid = $second->append_string('INBOX', "From: <a\@b.example>\r\nSubject: while idle\r\n\r\nHere.\r\n"));
my $told = '';
for (1 .. 30) {
	$told .= join('', @{ $m->idle_data(1) || [] });
	last if $told =~ /^\* 5 EXISTS/m;
}
must("told of a message: $told", $told =~ /^\* 5 EXISTS/m);
must('done', $m->done);
must('second removes', $second->select('INBOX') && $second->delete_message($uid) && $second->expunge && $second->logout);
must('noop', $m->noop && $m->message_count == 4);
must('examine', $m->examine('INBOX'));
must('read only', !$m->store(1, '+FLAGS (\\Answered)'));
must('close', $m->close);
must('acl', $m->setacl('Scripts/Renamed', $other, 'lrs') && $m->getacl('Scripts/Renamed')->{$other} eq 'lrs' && $m->deleteacl('Scripts/Renamed', $other));
must('quota', $m->quota('INBOX') || 1);
must('unconnected', $m->logout);
