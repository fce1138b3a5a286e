# Goal: joining, leaving and all that can go wrong with them; whatever fails
# leaves nothing behind anywhere.
#
# Method: lisbon and oslo are databases of one server, which peers reach by way
# of a proxy that can cut or hold the copy of a join.  More databases of that
# server, and one on a server of its own, join and leave in every way there is.
# After each failure the members' and the joiner's slots, origins and catalogs
# are compared with what they were.
use strict;
use warnings;

use Multicenter::Cluster;
use Multicenter::Proxy;
use Test::More;

my $rows   = 20000;
my $lisbon = new_center('lisbon', dbname => 'lisbon');
my $oslo   = $lisbon->add_database('oslo');
my $proxy  = Multicenter::Proxy->new($lisbon);
$lisbon->{dsn} = $proxy->dsn;

$lisbon->sql(qq{
	CREATE TABLE item (id int PRIMARY KEY, v text);
	CREATE TABLE event (who text, n int);
	INSERT INTO item SELECT id, CASE id WHEN $rows / 2 THEN 'needle' || id ELSE md5(id::text) END
		FROM generate_series(1, $rows) id;
});
is(group_create($lisbon), '1', 'group_create returns the first id');
is(group_join($oslo, $lisbon), '2', 'group_join returns the next one');
wait_ready($lisbon, $oslo);
identical($lisbon, $oslo);
my @members = ($lisbon, $oslo);

# Slots, origins and membership, as a center sees them.
sub traces
{
	my ($center) = @_;
	return $center->sql(q{
		SELECT 'slot ' || slot_name FROM pg_replication_slots WHERE database = current_database() AND slot_name !~ '_kept_'
		UNION ALL SELECT 'origin ' || roname FROM pg_replication_origin
			WHERE roname LIKE 'multicenter\_' || (SELECT oid FROM pg_database WHERE datname = current_database()) || '\_%'
		UNION ALL SELECT 'identity ' || center_id FROM multicenter.identity
		UNION ALL SELECT 'center ' || center_id || ' ' || state FROM multicenter.centers WHERE state <> 'parted'
		ORDER BY 1});
}

# One test: a database that is in no group has nothing of a group.
sub clean
{
	my ($center, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return is(traces($center), '', $name);
}

# What the members have now; unchanged() compares with it.
my %before;
sub remember { %before = map { $_->name => traces($_) } @members; return }

# What the origin of a center that was a member stays for: rows of its.
sub without_origins { my ($traces) = @_; return join("\n", grep { !/^origin/ } split(/\n/, $traces)) }

sub unchanged
{
	my ($name, %option) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	foreach my $member (@members)
	{
		my $what = $option{but_origins} ? \&without_origins : sub { return $_[0] };
		my $before = $what->($before{ $member->name });
		comes_true("$name: $member->{name} is as it was", sub {
				poll("$member->{name} to be as before", sub { my $now = $what->(traces($member)); return ($now eq $before, $now) }, 20);
			}) or diag("before:\n$before{$member->{name}}");
	}
	return;
}

# Changes travel between all of these.
my $count = 0;
sub streams
{
	my ($name, @centers) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	$count++;
	$_->sql("INSERT INTO event VALUES ('" . $_->name . "', $count)") foreach @centers;
	my $n = @centers;
	comes_true("$name: changes travel between all", sub {
			$_->wait_for_sql("SELECT count(*) FROM event WHERE n = $count", $n) foreach @centers;
		});
	return;
}

# An empty database of lisbon's server, and one that goes.
sub drop
{
	my ($center) = @_;
	$lisbon->node->safe_psql('postgres', 'DROP DATABASE "' . $center->dbname . '"');
	return;
}

#
# Ways to join and to leave
#

my $rome = $lisbon->add_database('rome');
$rome->sql('CREATE TABLE item (id int PRIMARY KEY, v text); CREATE TABLE event (who text, n int)');
is(group_join($rome, $lisbon, copy => 'none'), '3', 'a join without a copy');
is($rome->sql('SELECT count(*) FROM item'), '0', "copy => 'none' copies nothing");
streams("copy => 'none'", $lisbon, $oslo, $rome);
$rome->sql("SELECT multicenter.center_part(center_name => 'rome')");
clean($rome, 'a center that has parted by itself has nothing left');
is($rome->sql('SELECT count(*) > 0 FROM event'), 't', 'but its rows');
foreach my $member (@members)
{
	is($member->sql("SELECT state FROM multicenter.centers WHERE center_name = 'rome'"), 'parted', "$member->{name} knows that it has parted");
	$member->wait_for_sql("SELECT count(*) FROM multicenter.lag", '2');
	$member->wait_for_sql("SELECT count(*) FROM pg_replication_slots WHERE database = current_database() AND slot_name !~ '_kept_'", '1');
}
streams('after a part', @members);

$rome->fails($rome->group_join_sql($lisbon), '55000', qr/not empty/, undef, 'its tables hold rows, so it cannot copy again');
clean($rome, 'nothing is left of that join');
$rome->sql('DROP TABLE item, event');
is(group_join($rome, $oslo), '4', 'the same name joins again under a new id, by another sponsor');
identical($lisbon, $oslo, $rome);
streams('rejoin', $lisbon, $oslo, $rome);
$oslo->sql("SELECT multicenter.center_part(center_name => 'rome')");
clean($rome, 'a center that was asked to part by another one has nothing left');
drop($rome);
streams('after a part', @members);

my $nice = $lisbon->add_database('nice');
my $id = $nice->sql($nice->group_join_sql($lisbon, wait => 'false'));
is($nice->sql("SELECT multicenter.wait_until_ready(timeout => '60 s')"), 't', 'wait => false, then wait_until_ready()');
is($nice->sql("SELECT state FROM multicenter.centers WHERE is_local"), 'ready', 'it is ready then');
identical($lisbon, $oslo, $nice);
streams('wait => false', $lisbon, $oslo, $nice);

# A center of which nothing is left but its name.
my $nice_proxy = Multicenter::Proxy->new($nice);
foreach my $member (@members)
{
	$member->sql("SELECT multicenter.link_alter(peer => 'nice', options => jsonb_build_object('dsn', '" . $nice_proxy->dsn . "'))");
}
$nice_proxy->refuse;
$lisbon->fails("SELECT multicenter.center_part(center_name => 'nice')", '08001', qr/nice/, qr/force => true/,
	'an orderly part of a center that cannot be reached is refused, with the way out');
streams('after a refused part', @members);
$lisbon->sql("SELECT multicenter.center_part(center_name => 'nice', force => true)");
$_->wait_for_sql("SELECT state FROM multicenter.centers WHERE center_name = 'nice'", 'parted') foreach @members;
$_->wait_for_sql("SELECT count(*) FROM pg_replication_slots WHERE database = current_database() AND slot_name !~ '_kept_'", '1') foreach @members;
streams('after a forced part', @members);
$nice->sql('SELECT multicenter.group_remove_local(force => true)');
clean($nice, 'group_remove_local() leaves nothing');
$nice_proxy->stop;
drop($nice);

#
# Joins that fail
#

remember();
my $porto = $lisbon->add_database('porto');
$porto->sql("CREATE TABLE item (id int PRIMARY KEY, v text); INSERT INTO item VALUES (1, 'mine')");
my $error = $porto->error_of($porto->group_join_sql($lisbon));
like($error->{text}, qr/item/, 'a join into tables with rows is refused, and names them');
clean($porto, 'not empty: nothing at the joiner');
is($porto->sql('SELECT v FROM item'), 'mine', 'not empty: its rows are untouched');
unchanged('not empty');
$porto->sql('DROP TABLE item');

# In the middle of the copy the connection goes.
$proxy->truncate(after => 'needle', any => 1);
$error = $porto->error_of($porto->group_join_sql($lisbon));
ok($error, 'a connection that is lost during the copy fails the join') and note($error->{text});
$proxy->pass;
clean($porto, 'lost in mid-copy: nothing at the joiner');
unchanged('lost in mid-copy');

# The caller changes his mind.
sub join_in_background
{
	my ($center) = @_;
	my $session = $center->background_psql(on_error_stop => 0);
	$session->query_until(qr/begun/, "\\echo begun\n" . $center->group_join_sql($lisbon) . ";\n\\echo ended\n");
	$center->wait_for_sql("SELECT count(*) FROM multicenter.centers WHERE is_local AND state IN ('joining', 'copying')", '1');
	return $session;
}

$proxy->stall(after => 'needle', any => 1);
my $session = join_in_background($porto);
poll('the copy to stand still', sub { my $s = $proxy->stats; return ($s->{faults} >= 1, $s->{faults}) });
my ($rc, $out, $err) = $porto->psql("INSERT INTO item VALUES (-1, 'too early')");
isnt($rc, 0, 'a center that joins takes no writes') or diag($out);
$porto->sql("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE 'SELECT multicenter.group_join%' AND backend_type = 'client backend'");
$session->query_until(qr/ended/, '');
$session->quit;
poll('porto to be clean', sub { my $now = traces($porto); return ($now eq '', $now) });
clean($porto, 'cancelled: nothing at the joiner');
$proxy->pass;
unchanged('cancelled');
$error = $porto->error_of($porto->group_join_sql($lisbon));
ok(!$error, 'the same database joins afterwards') or diag($error->{text});
identical($lisbon, $oslo, $porto);
$porto->sql("SELECT multicenter.center_part(center_name => 'porto')");
drop($porto);
unchanged('joined and parted', but_origins => 1);
remember();

# A server of its own: its postmaster dies during the copy, and the manager
# undoes the join when it is back.
my $turin = new_center('turin');
foreach my $how ('kill9', 'immediate')
{
	$proxy->pass;
	$proxy->stall(after => 'needle', any => 1);
	my $faults = $proxy->stats->{faults};
	$session = join_in_background($turin);
	poll('the copy to stand still', sub { my $s = $proxy->stats; return ($s->{faults} > $faults, $s->{faults}) });
	if ($how eq 'kill9') { $turin->kill9 } else { $turin->stop('immediate') }
	eval { $session->quit };
	$proxy->pass;
	$turin->start;
	eval { poll('turin to be clean', sub { my $now = traces($turin); return ($now eq '', $now) }, 30) };
	clean($turin, "$how in mid-copy: nothing at the joiner");
	unchanged("$how in mid-copy");
	$turin->sql('DROP TABLE IF EXISTS item, event');
}

# The worker of the operation dies alone.
$proxy->stall(after => 'needle', any => 1);
my $faults = $proxy->stats->{faults};
$session = join_in_background($turin);
poll('the copy to stand still', sub { my $s = $proxy->stats; return ($s->{faults} > $faults, $s->{faults}) });
$turin->sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'multicenter operation'");
$session->query_until(qr/ended/, '');
$session->quit;
$proxy->pass;
eval { poll('turin to be clean', sub { my $now = traces($turin); return ($now eq '', $now) }, 30) };
clean($turin, 'its worker terminated: nothing at the joiner');
unchanged('worker terminated');
$turin->sql('DROP TABLE IF EXISTS item, event');

# A role that exists on the sponsor's server only.
$lisbon->sql('CREATE ROLE shop_owner; CREATE TABLE owned (id int PRIMARY KEY); ALTER TABLE owned OWNER TO shop_owner');
$error = $turin->error_of($turin->group_join_sql($lisbon));
like($error ? $error->{text} : '', qr/shop_owner/, 'a missing role is named before anything is done');
clean($turin, 'missing role: nothing at the joiner');
unchanged('missing role');
$turin->sql('CREATE ROLE shop_owner');

$oslo->sql('CREATE TABLE owned (id int PRIMARY KEY); ALTER TABLE owned OWNER TO shop_owner');
is(group_join($turin, $lisbon) > 4, 1, 'it joins once the role exists');
is($turin->sql("SELECT relowner::regrole FROM pg_class WHERE relname = 'owned'"), 'shop_owner', 'and owners are as at the sponsor');
identical($lisbon, $oslo, $turin);
streams('another server', $lisbon, $oslo, $turin);

#
# Pause, resume, another way to a peer
#

foreach my $direction ('in', 'out')
{
	my $pauses = $direction eq 'in' ? $turin : $lisbon;
	my $peer   = $direction eq 'in' ? 'lisbon' : 'turin';
	$pauses->sql("SELECT multicenter.link_pause(peer => '$peer', direction => '$direction')");
	$pauses->wait_for_sql("SELECT state FROM multicenter.lag WHERE peer = '$peer' AND direction = '$direction'", 'paused');
	if ($direction eq 'out')
	{
		$turin->wait_for_sql("SELECT state <> 'streaming' FROM multicenter.lag WHERE peer = 'lisbon' AND direction = 'in'");
	}
	$lisbon->sql("INSERT INTO event VALUES ('paused $direction', 0)");
	$turin->sql("INSERT INTO event VALUES ('other way $direction', 0)");
	$lisbon->wait_for_sql("SELECT count(*) FROM event WHERE who = 'other way $direction'", '1');
	$oslo->wait_for_sql("SELECT count(*) FROM event WHERE who = 'paused $direction'", '1');
	is($turin->sql("SELECT count(*) FROM event WHERE who = 'paused $direction'"), '0', "paused $direction: that direction of that link stands still, no other");
	$pauses->sql("SELECT multicenter.link_resume(peer => '$peer', direction => '$direction')");
	$turin->wait_for_sql("SELECT count(*) FROM event WHERE who = 'paused $direction'", '1',
		$Multicenter::Cluster::recovery_timeout);
	pass("resumed $direction: it flows again");
}
$lisbon->fails("SELECT multicenter.link_pause(peer => 'atlantis')", '42704', qr/atlantis/, undef, 'link_pause of an unknown peer');
$lisbon->fails("SELECT multicenter.link_pause(peer => 'oslo', direction => 'up')", '22023', qr/direction/, qr/in.*out/, 'link_pause in an unknown direction');
$lisbon->fails(q{SELECT multicenter.link_alter(peer => 'oslo', options => '{"colour": "red"}')}, '22023', qr/colour/, undef, 'link_alter with an unknown option');
$lisbon->fails(q{SELECT multicenter.link_alter(peer => 'oslo', options => '{"dsn": "host=x password=secret"}')}, '22023', qr/password/, qr/passfile/, 'link_alter with a password');

# A new dsn counts from the next connection on.
my $second = Multicenter::Proxy->new($oslo);
$turin->sql("SELECT multicenter.link_alter(peer => 'oslo', options => jsonb_build_object('dsn', '" . $second->dsn . "'))");
signal_pid('TERM', $turin->link_pid($oslo));
poll('turin to use the new way', sub { my $s = $second->stats; return ($s->{replication} >= 1, $s->{replication}) });
streams('by another dsn', $lisbon, $oslo, $turin);
$turin->sql(q{SELECT multicenter.link_alter(peer => 'oslo', options => '{"dsn": null}')});
$second->stop;
streams('by the first dsn again', $lisbon, $oslo, $turin);

#
# What must not be dropped
#

$turin->fails('DROP EXTENSION multicenter', '55006', qr/center of a group/, qr/center_part.*group_remove_local/, 'DROP EXTENSION is refused');
$turin->fails('DROP EXTENSION multicenter CASCADE', '55006', qr/center of a group/, qr/center_part.*group_remove_local/, 'DROP EXTENSION CASCADE is refused');
$error = $turin->error_of('DROP SCHEMA multicenter CASCADE');
ok($error, 'DROP SCHEMA CASCADE is refused') and note($error->{text});
foreach my $how ('', ' WITH (FORCE)')
{
	my ($status, $stdout, $stderr) = (0, '', '');
	$status = $lisbon->node->psql('postgres', "\\set VERBOSITY verbose\nDROP DATABASE oslo$how", stdout => \$stdout, stderr => \$stderr, on_error_stop => 1);
	like($stderr, qr/55006: .*is a center of a group.*HINT:.*group_remove_local/s, "DROP DATABASE$how is refused, with the way out");
}
streams('after refused drops', $lisbon, $oslo, $turin);
$turin->fails('SELECT multicenter.group_remove_local()', '55000', qr/still a center/, qr/center_part.*force/, 'group_remove_local() without force is refused in a living group');

$turin->sql("SELECT multicenter.center_part(center_name => 'turin')");
is($turin->sql('DROP EXTENSION multicenter; SELECT 1'), '1', 'after leaving the extension can be dropped');
is($turin->sql('CREATE EXTENSION multicenter; SELECT count(*) FROM multicenter.centers'), '0', 'and made again');

# The last two part from each other by force, and the servers are clean.
$lisbon->sql("SELECT multicenter.center_part(center_name => 'oslo', force => true)");
$oslo->sql('SELECT multicenter.group_remove_local(force => true)');
clean($oslo, 'the forced one is clean after group_remove_local(force => true)');
$lisbon->sql('SELECT multicenter.group_remove_local()');
clean($lisbon, 'the last one is clean after group_remove_local()');
drop($oslo);
is($lisbon->sql('SELECT count(*) FROM pg_replication_slots'), '0', 'no slot on the server');
is($lisbon->sql("SELECT count(*) FROM pg_replication_origin WHERE roname ~ '^multicenter_[0-9]'"), '0', 'no origin on the server but the stamp pool');
is(group_create($lisbon, group => 'again'), '1', 'and a new group can begin');

# A join whose sponsor goes, when there is nobody else to tell that it failed.
$turin->sql('DROP TABLE item, event, owned');
$proxy->stall(after => 'needle', any => 1);
$faults = $proxy->stats->{faults};
$session = join_in_background($turin);
poll('the copy to stand still', sub { my $s = $proxy->stats; return ($s->{faults} > $faults, $s->{faults}) });
$proxy->refuse;
$session->query_until(qr/ended/, '');
like($session->{stderr}, qr/tries again.*group_remove_local\(force => true\)/s, 'the error of the join says that undoing it is not over');
$session->quit;
isnt(traces($turin), '', 'what is known of the join is kept');
$proxy->pass;
poll('turin to be clean', sub { my $now = traces($turin); return ($now eq '', $now) }, 30);
clean($turin, 'the sponsor is back: nothing at the joiner');
unlike(traces($lisbon), qr/slot|center 2/, 'nor at the sponsor');

done_testing();
