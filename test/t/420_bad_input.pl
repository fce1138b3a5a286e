# Goal: bad input is refused with an error that says what is wrong and what to
# do, and breaks nothing.
#
# Method: a group of two takes every kind of bad call, and bad neighbours; of
# each error SQLSTATE, message and hint are checked, and after each block that
# changes still travel and that nothing of the attempt is left.
use strict;
use warnings;

use Multicenter::Cluster;
use PostgreSQL::Test::Utils ();
use Test::More;

my $lisbon = new_center('lisbon', dbname => 'lisbon');
my $oslo   = $lisbon->add_database('oslo');
$lisbon->sql('CREATE TABLE event (who text, n int); CREATE TABLE item (id int PRIMARY KEY, v text)');
group_create($lisbon);
group_join($oslo, $lisbon);
wait_ready($lisbon, $oslo);

my $user  = getpwuid($<);
my $count = 0;

# Nothing is broken: changes travel, and there is no one but the two.
sub unbroken
{
	my ($name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	$count++;
	$_->sql("INSERT INTO event VALUES ('" . $_->name . "', $count)") foreach $lisbon, $oslo;
	comes_true("$name: nothing is broken", sub {
			foreach my $center ($lisbon, $oslo)
			{
				$center->wait_for_sql("SELECT count(*) FROM event WHERE n = $count", '2', 15);
				$center->wait_for_sql("SELECT count(*) FROM multicenter.centers WHERE state <> 'parted'", '2', 15);
				$center->wait_for_sql(q{SELECT count(*) FROM pg_replication_slots WHERE database = current_database() AND slot_name !~ '_kept_'}, '1', 15);
			}
		});
	return;
}

# A database that was refused has nothing of a group.
sub clean
{
	my ($center, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is($center->sql(q{
			SELECT (SELECT count(*) FROM pg_replication_slots WHERE database = current_database())
				+ (SELECT count(*) FROM pg_replication_origin WHERE roname LIKE 'multicenter\_'
					|| (SELECT oid FROM pg_database WHERE datname = current_database()) || '\_%')
				+ (SELECT count(*) FROM multicenter.identity)
				+ (SELECT count(*) FROM multicenter.centers)}),
		'0', "$name: nothing is left at $center->{name}");
	return;
}

#
# Connection strings
#

my $rome = $lisbon->add_database('rome');
my $own  = $rome->dsn;
my $good = $lisbon->dsn;

sub join_with
{
	my (%argument) = @_;
	my %all = (center_name => 'rome', dsn => $own, join_dsn => $good, %argument);
	return 'SELECT multicenter.group_join('
	  . join(', ', map { "$_ => " . Multicenter::Cluster::quote($all{$_}) } sort keys %all) . ')';
}

my $nowhere = 'host=127.0.0.1 port=' . free_port() . " dbname=lisbon user=$user";
foreach my $argument ('dsn', 'join_dsn')
{
	$rome->fails(join_with($argument => $nowhere), '08001', qr/could not connect.*(?:refused)/s, undef, "$argument to a port where nobody is");
	$rome->fails(join_with($argument => 'host=nobody.invalid dbname=x'), '08001', qr/could not connect/, undef, "$argument to a host that does not exist");
	$rome->fails(join_with($argument => 'host=127.0.0.1 port=' . $lisbon->port . " dbname=atlantis user=$user"), '08001', qr/could not connect.*atlantis/s, undef, "$argument to a database that does not exist");
	$rome->fails(join_with($argument => 'this is no connection string'), '22023', qr/$argument is not a valid connection string/, undef, "malformed $argument");
	$rome->fails(join_with($argument => ''), '22023', qr/$argument is not a valid connection string/, qr/looks like/, "empty $argument");
	$rome->fails(join_with($argument => "$good colour=red"), '22023', qr/$argument is not a valid connection string/, undef, "unknown option in $argument");
	$rome->fails(join_with($argument => "$good password=hunter2"), '22023', qr/$argument must not contain a password/, qr/passfile/, "password in $argument");
	$rome->fails(join_with($argument => 'postgresql://a:hunter2@127.0.0.1/x'), '22023', qr/$argument must not contain a password/, qr/passfile/, "password in a URI as $argument");
	$rome->fails(join_with($argument => 'postgresql://a:hunter2@[bad'), '22023', qr/$argument is not a valid connection string/, undef, "malformed URI with a password as $argument");
	$rome->fails(join_with($argument => undef), '22004', qr/$argument must not be null/, undef, "null as $argument");
}
$rome->fails(join_with(dsn => $good), '22023', qr/does not lead to this database/, qr/other centers reach this database/, 'a dsn that leads to another database');
$lisbon->node->safe_psql('postgres', 'CREATE DATABASE plain');
$rome->fails(join_with(join_dsn => $good =~ s/dbname=lisbon/dbname=plain/r), '55000', qr/extension "multicenter" is not installed/, qr/CREATE EXTENSION/, 'a sponsor without the extension');
clean($rome, 'connection strings');
unbroken('connection strings');

#
# Authentication: a role with a password, which stands in a passfile
#

my $dir = PostgreSQL::Test::Utils::tempdir();
sub passfile
{
	my ($name, $password) = @_;
	open(my $out, '>', "$dir/$name") or die $!;
	print $out "*:*:*:link:$password\n";
	close($out);
	chmod(0600, "$dir/$name");
	return "$dir/$name";
}
$lisbon->sql("SET password_encryption = 'scram-sha-256'; CREATE ROLE link LOGIN REPLICATION PASSWORD 'correct horse' IN ROLE multicenter_peer");
my $hba = $lisbon->node->data_dir . '/pg_hba.conf';
my $old_hba = PostgreSQL::Test::Utils::slurp_file($hba);
open(my $out, '>', $hba) or die $!;
print $out "host all link 127.0.0.1/32 scram-sha-256\n$old_hba";
close($out);
$lisbon->reload;
my $wrong = $good =~ s/user=\S+/user=link passfile=@{[ passfile('wrong', 'hunter2') ]}/r;
my $error = $rome->error_of(join_with(join_dsn => $wrong));
is($error->{sqlstate}, '08001', 'wrong password: SQLSTATE');
like($error->{message}, qr/password authentication failed/, 'wrong password: message');
unlike($error->{text}, qr/hunter2/, 'wrong password: it is not shown');
$error = $rome->error_of(join_with(join_dsn => $good =~ s/user=\S+/user=link passfile=\/nonexistent/r));
like($error->{text}, qr/08001.*no password supplied/s, 'no password at all');
clean($rome, 'wrong password');
unbroken('wrong password');

#
# Arguments
#

$rome->fails(join_with(copy => 'all'), '22023', qr/invalid value for copy: "all"/, qr/data.*none/, 'copy => unknown');
$rome->fails(join_with(kind => 'lazy'), '22023', qr/invalid value for kind: "lazy"/, qr/active/, 'kind => unknown');
$rome->fails(join_with(center_name => undef), '22004', qr/center_name must not be null/, undef, 'null as center_name');
$rome->fails(join_with(center_name => ''), '42602', qr/center_name must not be empty/, qr/short name/, 'empty center_name');
$rome->fails("SELECT multicenter.group_create(group_name => '', center_name => 'rome', dsn => '$own')", '42602', qr/group_name must not be empty/, qr/short name/, 'empty group_name');
$rome->fails(join_with(center_name => 'lisbon'), '42710', qr/already has a center "lisbon"/, qr/another center_name/, 'two centers with one name');
$rome->fails(join_with(join_dsn => $own), '22023', qr/cannot join itself/, qr/a center that is in the group/, 'joining itself');
$lisbon->fails("SELECT multicenter.group_create(group_name => 'second', center_name => 'lisbon', dsn => '$good')", '55000', qr/already in group "test"/, qr/center_part/, 'a second group in one database');
$oslo->fails($oslo->group_join_sql($lisbon), '55000', qr/already in group "test"/, qr/center_part/, 'joining twice');
$lisbon->fails("SELECT multicenter.center_part(center_name => 'atlantis')", '42704', qr/no center "atlantis"/, qr/lisbon.*oslo/, 'parting a center that does not exist');
$rome->fails("SELECT multicenter.center_part(center_name => 'lisbon')", '55000', qr/in no group/, qr/group_create.*group_join/, 'parting, where there is no group');
$rome->fails('SELECT multicenter.wait_until_ready()', '55000', qr/in no group/, qr/group_create.*group_join/, 'waiting, where there is no group');
is($rome->sql('SELECT count(*) FROM multicenter.lag'), '0', 'views are empty, where there is no group');
clean($rome, 'arguments');
unbroken('arguments');

#
# Inside a transaction that has written
#

foreach my $call (
	join_with(),
	"SELECT multicenter.group_create(group_name => 'x', center_name => 'rome', dsn => '$own')")
{
	my ($function) = $call =~ /multicenter\.(\w+)/;
	$rome->fails("BEGIN; CREATE TABLE x (); $call;", '25001', qr/$function\(\) cannot run in a transaction that has written/, qr/Commit first/, "$function() in a transaction that has written");
}
foreach my $call (
	"SELECT multicenter.center_part(center_name => 'oslo')",
	'SELECT multicenter.group_remove_local(force => true)')
{
	my ($function) = $call =~ /multicenter\.(\w+)/;
	$oslo->fails("BEGIN; INSERT INTO event VALUES ('rolled back', 0); $call;", '25001', qr/$function\(\) cannot run in a transaction that has written/, qr/Commit first/, "$function() in a transaction that has written");
}
clean($rome, 'a transaction that has written');
unbroken('a transaction that has written');

#
# Tables of the joiner
#

$rome->sql("CREATE TABLE item (id int PRIMARY KEY, v text); INSERT INTO item VALUES (1, 'mine')");
$rome->fails(join_with(), '55000', qr/not empty/, qr/copy => 'none'/, 'tables of the joiner that are not empty');
$error = $rome->error_of(join_with());
like($error->{text}, qr/public\.item|"item"/, 'they are listed');
is($rome->sql('SELECT v FROM item'), 'mine', 'they are untouched');
clean($rome, 'tables that are not empty');
unbroken('tables that are not empty');

#
# Another group's member
#

my $paris = $lisbon->add_database('paris');
group_create($paris, group => 'other');
$paris->fails($paris->group_join_sql($lisbon), '55000', qr/already in group "other"/, qr/center_part/, 'a member of another group cannot join');
my $nice = $lisbon->add_database('nice');
group_join($nice, $paris);
$nice->fails($nice->group_join_sql($lisbon), '55000', qr/already in group "other"/, qr/center_part/, 'nor one that has joined it');

# A link that is led to a member of another group, and to a stranger.  A new
# dsn counts from the next connection on.
sub lead_link
{
	my ($dsn) = @_;
	$oslo->sql("SELECT multicenter.link_alter(peer => 'lisbon', options => jsonb_build_object('dsn', $dsn))");
	my $pid = $oslo->link_pid($lisbon);
	signal_pid('TERM', $pid) if $pid;
	return;
}
foreach my $where ([ $paris->dsn, 'another group, "other"' ], [ $rome->dsn, 'in no (?:multicenter )?group|no replication slot' ])
{
	lead_link("'$where->[0]'");
	$oslo->wait_for_sql("SELECT state <> 'streaming' AND stall_reason IS NOT NULL FROM multicenter.lag WHERE peer = 'lisbon' AND direction = 'in'");
	comes_true("a link that is led elsewhere stops, and says why: $where->[1]", sub {
			$oslo->wait_for_sql("SELECT last_error ~ '$where->[1]' FROM multicenter.stat_links WHERE peer = 'lisbon' AND direction = 'in'", 't', 20);
		});
	lead_link('NULL::text');
	wait_streaming($lisbon, $oslo, 30);
}
unbroken("another group's member");

#
# Readers that are no center
#

my $slot = $lisbon->slot_name($oslo);
$lisbon->sql("SELECT pg_create_logical_replication_slot('stranger', 'multicenter')");
sub reader
{
	my ($slot_name, %option) = @_;
	my ($stdout, $stderr) = PostgreSQL::Test::Utils::run_command([
		'pg_recvlogical', '-d', $lisbon->node->connstr('lisbon'), '--slot', $slot_name, '--start', '--no-loop', '-f', '-',
		map { ('-o', "$_=$option{$_}") } sort keys %option ]);
	return $stderr;
}
my %options = (
	proto_min => 1, proto_max => 1, origin_id => 1, target_id => 2, encoding => 'UTF8', position => '0/0', architecture => '00',
	group => $lisbon->sql('SELECT group_uuid FROM multicenter.identity'));
like(reader('stranger'), qr/only for centers of its multicenter group.*is missing/s, 'a reader without options');
like(reader('stranger', %options, proto_min => 9, proto_max => 9), qr/speaks protocol versions 9 to 9.*1 to 1.*Update the older/s, 'no version of the protocol in common');
like(reader('stranger', %options, proto_min => 'many'), qr/invalid value for option "proto_min"/, 'a version that is no number');
like(reader('stranger', %options, colour => 'red'), qr/unrecognized option "colour"/, 'an unknown option');
like(reader('stranger', %options, group => '00000000-0000-0000-0000-000000000000'), qr/another group, "test"/, 'the wrong group');
like(reader('stranger', %options, group => 'none'), qr/invalid input syntax for type uuid/, 'a group that is no uuid');
like(reader('stranger', %options, origin_id => 7), qr/is center 1 .* not center 7/, 'the wrong origin');
like(reader('stranger', %options, target_id => 77), qr/does not serve center 77|center 77 is not known/, 'an unknown target');
like(reader('stranger', %options), qr/does not serve center 2/, 'a slot that is not of this link');
like(reader('stranger', %options, encoding => 'LATIN99'), qr/invalid value for option "encoding"/, 'an unknown encoding');
foreach my $function ('pg_logical_slot_get_changes', 'pg_logical_slot_peek_binary_changes')
{
	my $reading = $lisbon->error_of("SELECT * FROM $function('stranger', NULL, NULL)");
	like($reading ? $reading->{text} : '', qr/22023: .*only for centers|0A000: .*produces binary output/, "$function() is refused");
}
$lisbon->sql("SELECT pg_drop_replication_slot('stranger')");
unbroken('readers that are no center');

#
# What is missing at one center
#

$lisbon->sql('CREATE TABLE late (id int PRIMARY KEY, v text)');
$lisbon->sql("INSERT INTO late VALUES (1, 'one')");
$oslo->wait_for_sql("SELECT state FROM multicenter.lag WHERE peer = 'lisbon' AND direction = 'in'", 'stalled');
is($oslo->sql(q{SELECT last_error_relation, last_error_sqlstate, last_error_lsn IS NOT NULL, last_error ~ 'late' FROM multicenter.stat_links WHERE direction = 'in'}),
	'public.late|42P01|t|t', 'a table that is missing stops the link, and is named');
$oslo->sql("INSERT INTO event VALUES ('other way', -1)");
$lisbon->wait_for_sql("SELECT count(*) FROM event WHERE who = 'other way'", '1');
pass('the other direction goes on');
$oslo->sql('CREATE TABLE late (v text, id int PRIMARY KEY)');
$oslo->wait_for_sql('SELECT v FROM late WHERE id = 1', 'one', 10);
unbroken('a table that was missing');

$lisbon->sql("ALTER TABLE late ADD COLUMN w int; UPDATE late SET w = 7 WHERE id = 1");
$oslo->wait_for_sql("SELECT state FROM multicenter.lag WHERE peer = 'lisbon' AND direction = 'in'", 'stalled');
is($oslo->sql(q{SELECT last_error_relation, last_error_sqlstate, last_error ~ '"w"' FROM multicenter.stat_links WHERE direction = 'in'}),
	'public.late|42703|t', 'a column that is missing stops the link, and is named');
$oslo->sql('ALTER TABLE late ADD COLUMN w int');
$oslo->wait_for_sql('SELECT w FROM late WHERE id = 1', '7', 10);
unbroken('a column that was missing');
identical($lisbon, $oslo);

#
# A server on which nothing is configured
#

my $bare = new_center('bare', bare => 1, conf => "wal_level = replica\nmax_wal_senders = 1\nmax_replication_slots = 1\nmax_worker_processes = 1\n");
my $create = "SELECT multicenter.group_create(group_name => 'bare', center_name => 'bare', dsn => '" . $bare->dsn . "')";
my $settings = q{SELECT check_name || ' | ' || fix FROM multicenter.check_setup() WHERE status = 'error' ORDER BY check_name};
my $found = $bare->sql($settings);
note($found);
like($found, qr/^shared_preload_libraries \| shared_preload_libraries = 'multicenter' /m, 'check_setup lists shared_preload_libraries, with the line');
like($found, qr/^wal_level \| wal_level = logical /m, 'check_setup lists wal_level, with the line');
like($found, qr/^track_commit_timestamp \| track_commit_timestamp = on /m, 'check_setup lists track_commit_timestamp, with the line');
like($found, qr/^max_worker_processes \| max_worker_processes = \d+ /m, 'check_setup lists max_worker_processes, with the line');
like($found, qr/^max_replication_slots \| max_replication_slots = \d+ /m, 'check_setup lists max_replication_slots, with the line');
like($found, qr/^max_wal_senders \| max_wal_senders = \d+ /m, 'check_setup lists max_wal_senders, with the line');
$bare->fails($create, '55000', qr/not loaded/, qr/shared_preload_libraries/, 'without shared_preload_libraries group_create is refused');

# The lines are taken over one by one; group_create refuses with one of those
# that are left.  The list of output plugins it corrects itself.
my %taken;
while (my @lines = grep { !/^output_plugin_libraries / } split(/\n/, $bare->sql($settings)))
{
	# Without the library there is nobody to look at the rest.
	my ($line) = grep { /^shared_preload_libraries / } @lines;
	if (!$line)
	{
		my $refusal = $bare->error_of($create);
		is($refusal->{sqlstate}, '55000', 'group_create is refused while ' . join(', ', map { (split(/ /, $_))[0] } @lines) . ' is wrong');
		($line) = grep { index($refusal->{hint} || '', (split(/ \| /, $_, 2))[1]) >= 0 } split(/\n/, $bare->sql($settings));
		ok($line, 'with a line of check_setup as its hint') or diag($refusal->{text});
		$line = $lines[0] if !$line || $line =~ /^output_plugin_libraries /;
	}
	my ($name, $fix) = split(/ \| /, $line, 2);
	if ($taken{$fix}++)
	{
		fail("\"$fix\" corrects $name");
		last;
	}
	$bare->append_conf($fix);
	$bare->restart;
}
is($bare->sql($create), '1', 'with the lines of check_setup group_create works');
is($bare->sql($settings), '', 'and nothing is wrong any more');

# The list of output plugins corrected by hand, where the server has one.
my $second = $bare->add_database('second');
foreach my $line (grep { /^output_plugin_libraries / } split(/\n/, $second->sql($settings)))
{
	my ($name, $fix) = split(/ \| /, $line, 2);
	$second->sql($fix);
	unlike($second->sql($settings), qr/^output_plugin_libraries /m, "$fix corrects $name");
}
clean($rome, 'missing configuration');

#
# No member can do what needs a role
#

$lisbon->sql('CREATE ROLE nobody LOGIN');
$lisbon->fails("SET ROLE nobody; SELECT multicenter.center_part(center_name => 'oslo')", '42501', qr/permission denied/, undef, 'an ordinary role cannot part a center');
unbroken('the end');
done_testing();
