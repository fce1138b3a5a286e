# Multicenter::Cluster: centers for the TAP tests.
#
#   use Multicenter::Cluster;
#   my ($lisbon, $oslo) = make_group([ 'lisbon', 'oslo' ],
#       setup => 'CREATE TABLE t (id int PRIMARY KEY, v text)');
#   $lisbon->sql(q{INSERT INTO t VALUES (1, 'one')});
#   wait_all_applied($lisbon, $oslo);
#   identical($lisbon, $oslo, 't');
#
# A center is an object of this class: one database of a server of
# PostgreSQL::Test::Cluster, which $center->node returns.  A server may hold
# several centers, see add_database().  Servers listen on 127.0.0.1 and on a
# socket, on ports below 30000.
#
# Nothing here waits by time: poll() is the one place that sleeps, between two
# looks at a condition, and every wait has a deadline and tells the last state
# that it saw.
package Multicenter::Cluster;

use strict;
use warnings;

use Carp;
use Cwd qw(abs_path);
use Exporter 'import';
use File::Basename qw(dirname);
use IPC::Run;
use Multicenter::Deadline qw(test_deadline);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils ();
use Test::More;
use Time::HiRes qw(time usleep);

our @EXPORT = qw(
  new_center make_group group_create group_join
  links_between hold_links release_links
  poll comes_true wait_applied wait_all_applied wait_server_applied wait_streaming wait_ready
  wait_conflicts wait_policies is_stalled_by
  identical table_state start_load finish_load start_sql finish_sql
  free_port signal_pid test_deadline
);

# Seconds that a wait lasts at most, and that the recovery of a link may take.
our $timeout = $ENV{PG_TEST_TIMEOUT_DEFAULT} || 60;
our $recovery_timeout = 5;

my $test_dir = abs_path(dirname(__FILE__) . '/../..');
my $release_conf;
my %modules;

# Running loads and statements, so that a test that dies leaves none behind.
my @loads;
my @statements;

#
# Servers
#

# A TCP port below 30000 that nobody uses, reserved for this test.
sub free_port
{
	# Cluster.pm goes up from the port that it found last, to 32767.
	while (1)
	{
		$PostgreSQL::Test::Cluster::last_port_assigned = 10200 + int(rand(18000))
		  if $PostgreSQL::Test::Cluster::last_port_assigned >= 29900;
		my $port = PostgreSQL::Test::Cluster::get_free_port();
		return $port if $port < 30000;
	}
}

# Build a library of test/modules, for servers to load, once; options of the
# compiler may follow.  Returns its file.
sub build_module
{
	my ($name, @options) = @_;
	return $modules{$name} if $modules{$name};
	my $source = "$test_dir/modules/$name/$name.c";
	my $target = PostgreSQL::Test::Utils::tempdir() . "/$name.so";
	chomp(my $headers = `pg_config --includedir-server`);
	system('cc', '-O2', '-Wall', '-shared', '-fPIC', '-D_GNU_SOURCE', "-I$test_dir/../src", "-I$headers", @options, '-o', $target, $source) == 0
	  or croak "could not build $source";
	return $modules{$name} = $target;
}

# Parameters that this release knows and others do not: with one of those a
# server would not start, so the server is asked.
sub release_conf
{
	return $release_conf if defined $release_conf;
	my ($known) = PostgreSQL::Test::Utils::run_command([ 'postgres', '--describe-config' ]);
	$release_conf = '';
	$release_conf .= "output_plugin_libraries = 'pgoutput, test_decoding, multicenter'\n"
	  if $known =~ /^output_plugin_libraries\t/m;
	$release_conf .= "max_active_replication_origins = 40\n"
	  if $known =~ /^max_active_replication_origins\t/m;
	return $release_conf;
}

# Make and start a server with one database that can become a center, and
# create the extension there.  Options:
#   conf          more lines for postgresql.conf, which win over the others
#   dbname        its database (postgres)
#   site          for group_create and group_join
#   init          more options for PostgreSQL::Test::Cluster::init, a hash
#   bare          leave out our configuration: a server as initdb made it
#   clock         a Multicenter::Clock that the server runs by
#   no_start      do not start the server
#   no_extension  do not create the extension
sub new_center
{
	my ($name, %option) = @_;

	# Copies of a template have one system identifier, by which we would take
	# two servers for one.
	delete local $ENV{INITDB_TEMPLATE};
	my $node = PostgreSQL::Test::Cluster->new($name, port => free_port());
	Multicenter::Deadline::add_server($node);
	$node->init(allows_streaming => 'logical', %{ $option{init} || {} });
	$node->append_conf('postgresql.conf',
		"listen_addresses = '127.0.0.1'\nlog_statement = ddl\n");
	if (!$option{bare})
	{
		$node->append_conf('postgresql.conf', PostgreSQL::Test::Utils::slurp_file("$test_dir/test.conf"));
		$node->append_conf('postgresql.conf', release_conf());
		# Cluster.pm turns it off, but a worker's death is what we test.
		$node->append_conf('postgresql.conf', 'restart_after_crash = on');
	}
	$node->append_conf('postgresql.conf', $option{conf}) if defined $option{conf};

	my $center = bless {
		node   => $node,
		name   => $name,
		dbname => $option{dbname} || 'postgres',
		site   => $option{site},
		clock  => $option{clock},
	}, __PACKAGE__;
	return $center if $option{no_start};

	$center->start;
	$node->safe_psql('postgres', qq{CREATE DATABASE "$center->{dbname}"})
	  if $center->{dbname} ne 'postgres';
	$center->sql('CREATE EXTENSION multicenter') unless $option{no_extension};
	return $center;
}

# Another center on the server of this one: a database of its own.
sub add_database
{
	my ($self, $name, %option) = @_;
	my $center = bless {
		node   => $self->{node},
		name   => $name,
		dbname => $option{dbname} || $name,
		site   => $option{site},
	}, ref $self;
	$self->{node}->safe_psql('postgres', qq{CREATE DATABASE "$center->{dbname}"});
	$center->sql('CREATE EXTENSION multicenter') unless $option{no_extension};
	return $center;
}

sub node   { return $_[0]->{node} }
sub name   { return $_[0]->{name} }
sub dbname { return $_[0]->{dbname} }
sub port   { return $_[0]->{node}->port }

# Major version of the server.
sub release { return int($_[0]->sql('SHOW server_version_num') / 10000) }

# The connection string that peers use: TCP, no password.  Set $center->{dsn}
# to lead them elsewhere, through a proxy say.
sub dsn
{
	my ($self) = @_;
	return $self->{dsn} if defined $self->{dsn};
	return sprintf('host=127.0.0.1 port=%d dbname=%s user=%s',
		$self->port, $self->{dbname}, scalar getpwuid($<));
}

# What PostgreSQL::Test::Cluster can do with the server.
sub start
{
	my ($self, @rest) = @_;
	return $self->under_clock(sub { return $self->{node}->start(@rest) });
}
sub stop        { my ($self, @rest) = @_; return $self->{node}->stop(@rest) }

sub restart
{
	my ($self, @rest) = @_;
	return $self->under_clock(sub { return $self->{node}->restart(@rest) });
}

# Start a server under the clock that it was given, if it was.
sub under_clock
{
	my ($self, $code) = @_;
	return $self->{clock} ? $self->{clock}->under($code) : $code->();
}

sub reload      { my ($self, @rest) = @_; return $self->{node}->reload(@rest) }
sub append_conf { my ($self, @rest) = @_; return $self->{node}->append_conf('postgresql.conf', @rest) }

# kill -9 of the postmaster.  Its children notice and go; a server cannot be
# started again before.
sub kill9
{
	my ($self) = @_;
	my $pid = $self->{node}->{_pid};
	my @processes = ($pid, grep { (process_state($_))[1] eq $pid } map { m{(\d+)$} } glob('/proc/[0-9]*'));
	$self->{node}->kill9;
	my $took = poll("processes of $self->{name} to end", sub {
			my @alive = grep { (process_state($_))[0] !~ /^[XZ]/ } @processes;
			return (!@alive, "alive: @alive");
		});
	# Until init fetches it, a dead postmaster looks alive to the next one.
	unlink($self->{node}->data_dir . '/postmaster.pid',
		$self->{node}->host . '/.s.PGSQL.' . $self->port . '.lock');
	return $took;
}

# State and parent of a process; X if there is none.
sub process_state
{
	my ($pid) = @_;
	open(my $stat, '<', "/proc/$pid/stat") or return ('X', 0);
	my $line = <$stat>;
	return defined $line && $line =~ /\) (\w) (\d+)/ ? ($1, $2) : ('X', 0);
}

#
# SQL
#

# Run SQL and return its output; an error ends the test.
sub sql
{
	my ($self, $sql, %option) = @_;
	return $self->{node}->safe_psql($self->{dbname}, $sql, timeout => 2 * $timeout, %option);
}

# Run SQL; (exit status, output, error output) of psql.
sub psql
{
	my ($self, $sql, %option) = @_;
	my ($out, $err) = ('', '');
	my $timed_out;
	my $rc = eval {
		$self->{node}->psql($self->{dbname}, $sql, stdout => \$out, stderr => \$err,
			timeout => 2 * $timeout, timed_out => \$timed_out, %option);
	};
	if (!defined $rc)
	{
		# A psql that finds no server may end before it has read a word.
		die $@ unless $@ =~ /Broken pipe/;
		return (2, '', 'psql could not connect');
	}
	$err .= "psql has timed out" if $timed_out;
	return ($rc, $out, $err);
}

# Run SQL that must fail.  Returns a hash of sqlstate, message, detail, hint
# of the error, or nothing if there was none.
sub error_of
{
	my ($self, $sql) = @_;
	my ($rc, $out, $err) = $self->psql("\\set VERBOSITY verbose\n$sql", on_error_stop => 1);
	return unless $err =~ /(?:ERROR|FATAL):  (\w{5}): (.*?)(?=\n[A-Z ]+: |\z)/s;
	my %error = (sqlstate => $1, message => $2, text => $err);
	$error{detail} = $1 if $err =~ /^DETAIL:  (.*?)(?=\n[A-Z ]+: |\z)/ms;
	$error{hint}   = $1 if $err =~ /^HINT:  (.*?)(?=\n[A-Z ]+: |\z)/ms;
	return \%error;
}

# One test: the SQL fails with this SQLSTATE, and message and hint match.
sub fails
{
	my ($self, $sql, $sqlstate, $message, $hint, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $error = $self->error_of($sql);
	my $fine = $error && $error->{sqlstate} eq $sqlstate && $error->{message} =~ $message
	  && (!defined $hint || ($error->{hint} || '') =~ $hint);
	ok($fine, $name) or diag($error ? $error->{text} : "no error from: $sql");
	return $fine;
}

# A session that stays open; see PostgreSQL::Test::BackgroundPsql.
sub background_psql
{
	my ($self, %option) = @_;
	return $self->{node}->background_psql($self->{dbname}, %option);
}

# pg_dump's output; without the random key that newer minors put into it.
sub pg_dump
{
	my ($self, @options) = @_;
	my ($out, $err) = PostgreSQL::Test::Utils::run_command(
		[ 'pg_dump', @options, '-d', $self->{node}->connstr($self->{dbname}) ]);
	$out =~ s/^\\(?:un)?restrict .*\n//mg;
	return $out;
}

#
# Processes and links
#

# Id of the center in its group.
sub id { return $_[0]->sql('SELECT center_id FROM multicenter.identity') }

# Name of the slot here from which a peer is served.
sub slot_name
{
	my ($self, $peer) = @_;
	return sprintf('multicenter_%d_%d',
		$self->sql('SELECT oid FROM pg_database WHERE datname = current_database()'),
		$peer->id);
}

# Process id of a worker of this center, or 0: role is supervisor, manager,
# receiver or walsender; the latter two serve a link with a peer.
sub worker_pid
{
	my ($self, $role, $peer) = @_;
	my $and = $peer ? "AND peer = '" . $peer->name . "'" : '';
	return $self->sql("SELECT coalesce(max(pid), 0) FROM multicenter.workers WHERE role = '$role' $and");
}

# Process id of the receiver of the link from a peer, or 0.
sub link_pid { my ($self, $peer) = @_; return $self->worker_pid('receiver', $peer) }

# Send a signal to a process of a server.
sub signal_pid
{
	my ($signal, $pid) = @_;
	croak "no process to send SIG$signal to" unless $pid;
	return kill($signal => $pid);
}

# State of the link from a peer.
sub link_state
{
	my ($self, $peer) = @_;
	return $self->sql("SELECT state FROM multicenter.lag WHERE direction = 'in' AND peer = '" . $peer->name . "'");
}

# All links between these centers.  A link is a pair: [ from, to ].
sub links_between
{
	my (@centers) = @_;
	return map { my $from = $_; map { [ $from, $_ ] } grep { $_ != $from } @centers } @centers;
}

# Hold links: when this returns nothing comes through them any more.
sub hold_links
{
	my (@links) = @_;
	$_->[1]->sql(sprintf('SELECT multicenter.link_pause(peer => %s)', quote($_->[0]->name))) foreach @links;
	foreach my $link (@links)
	{
		my $peer = quote($link->[0]->name);
		$link->[1]->wait_for_sql("SELECT state = 'paused' AND NOT EXISTS (SELECT FROM multicenter.workers
			WHERE role = 'receiver' AND peer = $peer) FROM multicenter.lag WHERE direction = 'in' AND peer = $peer");
	}
	return;
}

# Release links, all at once, and wait for what they have held back.  Whoever
# wants to say what arrives first releases one after the other.
sub release_links
{
	my (@links) = @_;
	$_->[1]->sql(sprintf('SELECT multicenter.link_resume(peer => %s)', quote($_->[0]->name))) foreach @links;
	wait_applied(@$_) foreach @links;
	return;
}

# All that is known of the links, for a failure's diagnosis.
sub describe_links
{
	my ($self) = @_;
	my ($rc, $out, $err) = $self->psql(q{
		SELECT peer, direction, state, replay_lsn, coalesce(stall_reason, ''), coalesce(last_error, '')
		FROM multicenter.lag JOIN multicenter.stat_links USING (peer, direction) ORDER BY 1, 2},
		on_error_die => 0, on_error_stop => 0);
	return join('', map { "$self->{name}: $_\n" } split(/\n/, "$out\n$err"));
}

#
# Groups
#

# 'literal' of SQL.
sub quote
{
	my ($text) = @_;
	return 'NULL' unless defined $text;
	return "'" . ($text =~ s/'/''/gr) . "'";
}

# The first center of a group.
sub group_create
{
	my ($center, %option) = @_;
	return $center->sql(sprintf(
			'SELECT multicenter.group_create(group_name => %s, center_name => %s, dsn => %s, site => %s)',
			quote($option{group} || 'test'), quote($center->name),
			quote($center->dsn), quote($center->{site})));
}

# The call by which a center joins the group of another one.  Options are
# further arguments, such as copy => 'none'.
sub group_join_sql
{
	my ($self, $sponsor, %option) = @_;
	my $more = join('', map { ", $_ => " . quote($option{$_}) } sort keys %option);
	return sprintf('SELECT multicenter.group_join(center_name => %s, dsn => %s, join_dsn => %s, site => %s%s)',
		quote($self->name), quote($self->dsn), quote($sponsor->dsn), quote($self->{site}), $more);
}

# Join, and wait until every link works.
sub group_join
{
	my ($center, $sponsor, %option) = @_;
	return $center->sql($center->group_join_sql($sponsor, %option));
}

# A group of centers: their number, or a list of their names.  Options: setup
# (SQL for the first center, before the others join and copy its tables),
# databases (1: all of them are databases of one server), and those of
# new_center.  Returns the centers.
sub make_group
{
	my ($wanted, %option) = @_;
	my @names     = ref $wanted ? @$wanted : (qw(lisbon oslo tokyo lima cairo))[ 0 .. $wanted - 1 ];
	my $setup     = delete $option{setup};
	my $databases = delete $option{databases};
	my $first     = new_center(shift @names, %option);
	my @centers   = ($first);

	push(@centers, $databases ? $first->add_database($_) : new_center($_, %option))
	  foreach @names;
	$first->sql($setup) if defined $setup;
	group_create($first);
	group_join($_, $first) foreach @centers[ 1 .. $#centers ];
	wait_ready(@centers);
	return @centers;
}

#
# Waiting
#

# Call $look until it returns a true first value, at most $seconds long.  Its
# second value describes what it saw.  Returns the seconds that it took; ends
# the test when the time is up.
sub poll
{
	my ($what, $look, $seconds, @centers) = @_;
	$seconds = $timeout unless defined $seconds;
	my $start = time;
	while (1)
	{
		my ($done, $state) = $look->();
		return time - $start if $done;
		if (time - $start > $seconds)
		{
			diag("last state: " . (defined $state ? $state : 'unknown'));
			diag($_->describe_links) foreach @centers;
			croak "waited $seconds s for $what";
		}
		usleep(50_000);
	}
}

# Wait until a query at this center answers with 't' (or what is expected).
sub wait_for_sql
{
	my ($self, $sql, $expected, $seconds) = @_;
	$expected = 't' unless defined $expected;
	return poll("\"$sql\" at $self->{name}", sub {
			my ($rc, $out, $err) = $self->psql($sql, on_error_die => 0);
			return ($rc == 0 && $out eq $expected, "$out$err");
		}, $seconds, $self);
}

# Wait until everything that is committed at $from now is applied at $to.
sub wait_applied
{
	my ($from, $to, $seconds) = @_;
	my $lsn = $from->sql('SELECT pg_current_wal_insert_lsn()');
	my $name = $from->name;
	return poll("$to->{name} to apply $name up to $lsn", sub {
			my ($rc, $out, $err) = $to->psql(
				"SELECT replay_lsn >= '$lsn'::pg_lsn, replay_lsn, state FROM multicenter.lag
				 WHERE direction = 'in' AND peer = '$name'", on_error_die => 0);
			return (scalar($out =~ /^t\|/), "$out$err");
		}, $seconds, $from, $to);
}

# The same between all of these centers.
sub wait_all_applied
{
	my (@centers) = @_;
	foreach my $from (@centers)
	{
		foreach my $to (@centers)
		{
			wait_applied($from, $to) if $from != $to;
		}
	}
	return;
}

# The same where these centers are all of a group, and databases of one server:
# a position in its WAL says it for all links, at a fraction of the queries.
sub wait_server_applied
{
	my (@centers) = @_;
	my $lsn = $centers[0]->sql('SELECT pg_current_wal_insert_lsn()');
	$_->wait_for_sql("SELECT bool_and(replay_lsn >= '$lsn') FROM multicenter.lag WHERE direction = 'in'") foreach @centers;
	return;
}

# Wait until all links between these centers stream; the deadline is that of
# recovery unless $seconds says another.
sub wait_streaming
{
	my @centers = grep { ref } @_;
	my ($seconds) = grep { !ref } @_;
	$seconds = $recovery_timeout unless defined $seconds;
	my $names = join(', ', map { quote($_->name) } @centers);
	my $took = 0;
	foreach my $center (@centers)
	{
		$took += poll("the links to $center->{name} to stream", sub {
				my ($rc, $out, $err) = $center->psql(
					"SELECT peer, state, stall_reason FROM multicenter.lag
					 WHERE direction = 'in' AND peer IN ($names)", on_error_die => 0);
				my $streaming = () = $out =~ /\|(?:streaming|idle)\|/g;
				return ($streaming == @centers - 1, "$out$err");
			}, $seconds - $took > 0.1 ? $seconds - $took : 0.1, @centers);
	}
	return $took;
}

# Wait until each of these centers sees all of them as ready and streams.
sub wait_ready
{
	my (@centers) = @_;
	foreach my $center (@centers)
	{
		$center->wait_for_sql("SELECT count(*) FROM multicenter.centers WHERE state = 'ready'",
			scalar @centers);
	}
	return wait_streaming(@centers, $timeout);
}

# Wait until a center has decided at least $n conflicts.
sub wait_conflicts
{
	my ($center, $n) = @_;
	return $center->wait_for_sql("SELECT count(*) >= $n FROM multicenter.conflicts");
}

# Wait until these centers have taken over all conflict policies that are set.
sub wait_policies
{
	my (@centers) = @_;
	wait_all_applied(@centers);
	$_->wait_for_sql('SELECT count(*) FROM multicenter.conflict_policies WHERE NOT in_effect OR waits_for IS NOT NULL', 0) foreach @centers;
	return;
}

# One test: code that waits gets to its end.
sub comes_true
{
	my ($name, $code) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $true = eval { $code->(); 1 };
	ok($true, $name) or diag($@);
	return $true;
}

# One test: the link from a peer comes to a standstill by an error.
sub is_stalled_by
{
	my ($center, $peer, $sqlstate, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return comes_true("$name: the link is stalled by $sqlstate", sub {
			$center->wait_for_sql("SELECT l.state = 'stalled' AND s.last_error_sqlstate = '$sqlstate'
				FROM multicenter.lag l JOIN multicenter.stat_links s USING (peer, direction)
				WHERE direction = 'in' AND peer = " . quote($peer->name), 't', 20);
		});
}

#
# Comparing
#

# Columns of a table by name, since their order may differ between centers.
sub columns
{
	my ($self, $table) = @_;
	my $relation = quote($table);
	return $self->sql(
		"SELECT string_agg(quote_ident(attname), ', ' ORDER BY attname COLLATE \"C\") FROM pg_attribute
		 WHERE attrelid = $relation\::regclass AND attnum > 0 AND NOT attisdropped");
}

# Number of rows and a checksum that does not depend on their order.
sub table_state
{
	my ($center, $table) = @_;
	my $columns = $center->columns($table);
	return $center->sql(
		"SELECT count(*), coalesce(sum(hashtextextended(ROW($columns)::text, 0)::numeric), 0) FROM $table");
}

# Up to ten rows that only one of two centers has.
sub differing_rows
{
	my ($one, $other, $table) = @_;
	my @text;
	my %count;
	foreach my $center ($one, $other)
	{
		my $columns = $center->columns($table);
		my $sign = $center == $one ? 1 : -1;
		$count{$_} += $sign foreach split(/\n/, $center->sql("SELECT ROW($columns)::text FROM $table"));
	}
	foreach my $row (sort grep { $count{$_} } keys %count)
	{
		push(@text, sprintf("only at %s: %s", ($count{$row} > 0 ? $one : $other)->name, $row));
		last if @text == 10;
	}
	return @text;
}

# One test: these tables (all replicated ones, if none is named) are identical
# at these centers.
sub identical
{
	my @centers = grep { ref } @_;
	my @tables  = grep { !ref } @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	@tables = split(/\n/, $centers[0]->sql(
			"SELECT relation FROM multicenter.tables WHERE sets <> '{}' ORDER BY relation::text"))
	  unless @tables;

	my @differences;
	foreach my $table (@tables)
	{
		my @states = map { table_state($_, $table) } @centers;
		foreach my $i (1 .. $#centers)
		{
			next if $states[$i] eq $states[0];
			push(@differences,
				"$table: $centers[0]{name} has $states[0], $centers[$i]{name} has $states[$i]",
				differing_rows($centers[0], $centers[$i], $table));
		}
	}
	ok(!@differences,
		join(', ', map { $_->name } @centers) . ' are identical: ' . join(', ', @tables));
	diag($_) foreach @differences;
	return !@differences;
}

#
# Statements and load beside the test
#

# Wait until a program that was started has ended; kill it if it does not.
sub wait_run
{
	my ($run, $what) = @_;
	my $ended = eval { poll($what, sub { $run->pump_nb; return (!$run->pumpable, 'it runs') }); 1 };
	my $error = $@;
	return if $ended || $error !~ /^waited /;
	$run->kill_kill;
	croak $error;
}

# Start statements in a session of its own, as a list of psql commands; an
# error ends it.  Returns a handle for finish_sql.
sub start_sql
{
	my ($center, @sql) = @_;
	my $statement = { center => $center, output => '' };
	$statement->{run} = IPC::Run::start(
		[ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-h', $center->node->host, '-p', $center->port,
			'-d', $center->dbname, map { ('-c', $_) } @sql ],
		'<', \'', '>&', \$statement->{output});
	push(@statements, $statement);
	return $statement;
}

# Wait for such a session to end.  Returns its success and its output.
sub finish_sql
{
	my ($statement) = @_;
	wait_run($statement->{run}, "a statement at $statement->{center}{name}");
	@statements = grep { $_ != $statement } @statements;
	my $succeeded = $statement->{run}->finish;
	chomp $statement->{output};
	return ($succeeded, $statement->{output});
}

# Start pgbench with a script at a center.  Options: clients (2), seconds
# (until finish_load), transactions (per client), define (a hash).  A \sleep in
# a script is the pace of the load; no test waits by it.  Returns a handle.
sub start_load
{
	my ($center, $script, %option) = @_;
	my $file = PostgreSQL::Test::Utils::tempdir() . '/load.sql';
	open(my $out, '>', $file) or croak "could not write $file: $!";
	print $out $script;
	close($out);

	my $load = { center => $center, output => '' };
	my @limit = defined $option{transactions} ? ('-t', $option{transactions}) : ('-T', $option{seconds} || 3600);
	$load->{stops_itself} = $option{transactions} || $option{seconds};
	$load->{run} = IPC::Run::start(
		[ 'pgbench', '-n', '-f', $file, '-c', $option{clients} || 2, @limit,
			(map { ('-D', "$_=$option{define}{$_}") } keys %{ $option{define} || {} }),
			'-h', $center->node->host, '-p', $center->port, $center->dbname ],
		'<', \'', '>&', \$load->{output});
	push(@loads, $load);
	return $load;
}

# Wait for a load that ends by itself, or end it.  Returns pgbench's output.
sub finish_load
{
	my ($load) = @_;
	@loads = grep { $_ != $load } @loads;
	# pgbench tells nothing when it is interrupted; what it has committed stands.
	$load->{run}->signal('TERM') unless $load->{stops_itself};
	wait_run($load->{run}, 'pgbench to end');
	# A server that was killed makes pgbench fail, which is the test's affair.
	eval { $load->{run}->finish };
	note("pgbench: $load->{output}");
	return $load->{output};
}

END
{
	my $status = $?;
	eval { $_->{run}->kill_kill } foreach @loads, @statements;
	$? = $status;
}

1;
