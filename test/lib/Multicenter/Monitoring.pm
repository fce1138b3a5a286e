# Multicenter::Monitoring: Prometheus, its exporter and HAProxy for the tests,
# from Debian's packages: installed, or unpacked by ./check into a directory of
# their own (unpack_monitoring in host.sh).
#
#   need_tools(qw(prometheus promtool));      # skips the test, or goes on
#   my $prometheus = run_tool('prometheus', [ "--config.file=$file", … ]);
#   $prometheus->log; $prometheus->stop;
#   my $answer = get_json("http://127.0.0.1:$port/api/v1/alerts");
#
# They run as the user of the test, on ports of 127.0.0.1, and end with it.
package Multicenter::Monitoring;

use strict;
use warnings;

use Carp;
use Cwd qw(abs_path);
use Exporter 'import';
use File::Basename qw(dirname);
use HTTP::Tiny;
use IPC::Run;
use JSON::PP ();
use PostgreSQL::Test::Utils ();
use Test::More;

our @EXPORT = qw(need_tools tool run_tool get get_json source_file write_file);

my $unpacked = '/var/cache/multicenter-tools';
my @running;
# No proxy of the environment: everything is on this machine.
my $http = HTTP::Tiny->new(timeout => 10, proxy => undef, http_proxy => undef, no_proxy => '127.0.0.1');

# Path of a program, or undef.
sub tool
{
	my ($name) = @_;
	my ($path) = grep { -x $_ } map { "$_/$name" } split(/:/, $ENV{PATH}), '/usr/sbin', "$unpacked/usr/bin", "$unpacked/usr/sbin";
	return $path;
}

# What a program needs to run: one processor does, and the libraries that came
# with it.
sub surroundings
{
	return (GOMAXPROCS => 1, LD_LIBRARY_PATH => join(':', glob("$unpacked/usr/lib/*-linux-gnu*"), $ENV{LD_LIBRARY_PATH} || ()));
}

# Skip the whole test, saying why, unless all of these programs are there and
# run.  In a root of another release, libraries may be missing.
sub need_tools
{
	my (@names) = @_;
	my %surroundings = surroundings();
	local @ENV{ keys %surroundings } = values %surroundings;
	foreach my $name (@names)
	{
		my $path = tool($name);
		plan(skip_all => "there is no $name: ./check fetches it where Debian's mirror can be reached") unless $path;
		my $output = '';
		plan(skip_all => "$name does not run: $output")
		  unless IPC::Run::run([ $path, $name eq 'haproxy' ? '-v' : '--version' ], '<', \'', '>&', \$output);
	}
	return;
}

# Start a program in the background.  Returns an object that stops it; its
# output goes to a log file beside those of the servers.
sub run_tool
{
	my ($name, $arguments, %environment) = @_;
	my $log = sprintf('%s/%s_%d.log', $PostgreSQL::Test::Utils::log_path, $name, scalar(@running) + 1);
	%environment = (surroundings(), %environment);
	local @ENV{ keys %environment } = values %environment;
	my $self = bless { name => $name, log => $log }, __PACKAGE__;
	$self->{run} = IPC::Run::start([ tool($name), @$arguments ], '<', \'', '>&', $log);
	push(@running, $self);
	return $self;
}

sub log { my ($self) = @_; return PostgreSQL::Test::Utils::slurp_file($self->{log}) }

sub stop
{
	my ($self) = @_;
	return unless $self->{run};
	eval { $self->{run}->kill_kill(grace => 10) };
	delete $self->{run};
	return;
}

# The body of a page, or undef if there is none.
sub get
{
	my ($url) = @_;
	my $answer = $http->get($url);
	return $answer->{success} ? $answer->{content} : undef;
}

# The data in an answer of Prometheus; undef if there is none.
sub get_json
{
	my ($url, %parameter) = @_;
	$url .= '?' . $http->www_form_urlencode(\%parameter) if %parameter;
	my $answer = $http->get($url);
	my $data = eval { JSON::PP->new->utf8->decode($answer->{content}) };
	return $data->{data} if $data && ($data->{status} || '') eq 'success';
	diag("$url: $answer->{status} $answer->{content}") if $answer->{status} != 599 && $answer->{status} != 503;
	return;
}

# Path of a file of our source.
sub source_file { my ($name) = @_; return abs_path(dirname(__FILE__) . '/../../..') . "/$name" }

# Write a file for the test; returns its path.
sub write_file
{
	my ($name, $text) = @_;
	my $file = PostgreSQL::Test::Utils::tempdir() . "/$name";
	open(my $out, '>', $file) or croak "could not write $file: $!";
	print $out $text;
	close($out) or croak "could not write $file: $!";
	return $file;
}

END
{
	my $status = $?;
	$_->stop foreach @running;
	$? = $status;
}

1;
