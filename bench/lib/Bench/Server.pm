# Bench::Server: one PostgreSQL server in a folder of its own.
package Bench::Server;

use strict;
use warnings;

use Bench::Processes;
use File::Temp;

# What all systems have in common.  Autovacuum would come at random.
my $conf = q{
listen_addresses = '127.0.0.1'
unix_socket_directories = '/tmp'
shared_buffers = 512MB
max_wal_size = 3GB
checkpoint_timeout = 30min
wal_level = logical
track_commit_timestamp = on
autovacuum = off
max_replication_slots = 40
max_wal_senders = 20
max_worker_processes = 40
max_connections = 60
jit = off
wal_retrieve_retry_interval = 500ms
};

my $next_port = 6500;

# Make and start a server.  Options: data, out (folders), conf (more lines).
sub new
{
	my ($class, $name, %option) = @_;
	my $self = bless {
		name => $name, port => $next_port++,
		dir => "$option{data}/$name", log => "$option{out}/$name.log",
	}, $class;
	command('initdb', '-D', $self->{dir}, '-A', 'trust', '-U', 'postgres', '--no-sync', '--no-instructions');
	open(my $out, '>>', "$self->{dir}/postgresql.conf") or die "could not configure $name: $!\n";
	print $out $conf, $option{conf} || '', plugins(), "port = $self->{port}\ncluster_name = '$name'\n";
	close($out);
	$self->start;
	return $self;
}

# Start it, and stop it in the usual way.
sub start
{
	my ($self) = @_;
	command('pg_ctl', '-D', $self->{dir}, '-l', $self->{log}, '-w', 'start');
	($self->{pid}) = slurp("$self->{dir}/postmaster.pid") =~ /^(\d+)/;
	return;
}

sub stop
{
	my ($self) = @_;
	command('pg_ctl', '-D', $self->{dir}, '-m', 'fast', '-w', 'stop');
	return;
}

sub name { return $_[0]->{name} }
sub port { return $_[0]->{port} }
sub dsn  { my ($self) = @_; return "host=127.0.0.1 port=$self->{port} dbname=postgres user=postgres" }

# Newer minor releases admit only the plugins that are listed.
sub plugins
{
	my $known = qx{postgres --describe-config};
	return '' unless $known =~ /^output_plugin_libraries\t/m;
	return "output_plugin_libraries = 'pgoutput, test_decoding, multicenter, pglogical_output'\n";
}

# Run a program; its output is only told when it fails.
sub command
{
	my (@command) = @_;
	my $log = File::Temp->new;
	open(my $saved_out, '>&', \*STDOUT);
	open(my $saved_err, '>&', \*STDERR);
	open(STDOUT, '>', $log->filename);
	open(STDERR, '>&', \*STDOUT);
	my $status = system(@command);
	open(STDOUT, '>&', $saved_out);
	open(STDERR, '>&', $saved_err);
	my $text = slurp($log->filename);
	die "@command has failed:\n$text" if $status != 0;
	return $text;
}

sub slurp
{
	my ($file) = @_;
	open(my $in, '<', $file) or die "could not read $file: $!\n";
	local $/;
	return scalar <$in>;
}

# psql's arguments, for one or more commands; each is one statement, or
# several in one transaction.
sub psql
{
	my ($self, @sql) = @_;
	return ('psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-h', '/tmp', '-p', $self->{port}, '-U', 'postgres',
		'-d', 'postgres', map { ('-c', $_) } @sql);
}

# Run statements; returns their output.
sub sql
{
	my ($self, @sql) = @_;
	my $text = command($self->psql(@sql));
	chomp $text;
	return $text;
}

# Start statements in a process of its own.  Returns a handle; its output is
# what finish returns.
sub start_sql
{
	my ($self, @sql) = @_;
	my $pid = open(my $out, '-|', $self->psql(@sql)) or die "could not start psql: $!\n";
	return bless { pid => $pid, out => $out }, 'Bench::Server::Session';
}

# Who gives up does not wait for statements that wait for what will not come.
sub Bench::Server::Session::DESTROY
{
	my ($session) = @_;
	kill('TERM', $session->{pid}) if $session->{out} && defined fileno($session->{out});
	return;
}

# Output of such a process, when it has ended.
sub finish_sql
{
	my ($session) = @_;
	my $text = join('', readline($session->{out}));
	close($session->{out}) or die "statements beside the benchmark have failed\n";
	chomp $text;
	return $text;
}

# The name of a file with a text; it goes when the object that is returned does.
sub file_with
{
	my ($text) = @_;
	my $file = File::Temp->new;
	print $file $text;
	close($file) or die "could not write $file: $!\n";
	return $file;
}

# Wait until a query says t.
sub wait_for
{
	my ($self, $sql, $seconds) = @_;
	my $deadline = time + ($seconds || 120);
	while ($self->sql($sql) ne 't')
	{
		die "waited too long for $sql at $self->{name}\n" if time > $deadline;
		select(undef, undef, undef, 0.1);
	}
	return;
}

# Statements that wait, in the server, until a row is in bench_marker; they
# tell when it is seen.
sub marker_wait
{
	my ($id) = @_;
	return (qq{
		DO \$\$ BEGIN
			WHILE NOT EXISTS (SELECT FROM bench_marker WHERE id = $id) LOOP
				PERFORM pg_sleep(0.005);
				COMMIT;
			END LOOP;
		END \$\$}, 'SELECT extract(epoch FROM clock_timestamp())');
}

# CPU seconds of the whole server until now, processes that have ended too.
sub cpu
{
	my ($self) = @_;
	return Bench::Processes::tree_cpu($self->{pid});
}

# A statement that tells CPU seconds of its own session until now, and the time.
sub own_cpu
{
	return q{SELECT split_part(pg_read_file('/proc/self/schedstat'), ' ', 1)::numeric / 1e9, extract(epoch FROM clock_timestamp())};
}

# Stop it and remove its files.
sub remove
{
	my ($self) = @_;
	eval { command('pg_ctl', '-D', $self->{dir}, '-m', 'immediate', 'stop') };
	system('rm', '-rf', $self->{dir});
	return;
}

1;
