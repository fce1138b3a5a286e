# Goal: docs/reference.md names everything that there is, and nothing else.
#
# Method: the catalog is compared with the headings of the document, by these
# rules, which are simple on purpose:
#   ### multicenter.name(argument, ...)    a function, with the names of its
#                                          arguments in their order
#   ### multicenter.name                   a view; the tables of its section
#                                          have the column's name in backticks
#                                          as the first cell of each row, in
#                                          the order of the columns
#   ### multicenter.name                   under a heading "## Settings": a
#                                          configuration parameter
#   ## Internal functions                  under it, a list whose items begin
#                                          with `multicenter.name` in backticks,
#                                          with or without (...): functions that
#                                          nobody calls by hand
#   ## Roles                               under it, each role in backticks
use strict;
use warnings;

use Cwd qw(abs_path);
use File::Basename qw(dirname);
use Multicenter::Cluster;
use PostgreSQL::Test::Utils ();
use Test::More;

my $file = abs_path(dirname(__FILE__) . '/../..') . '/docs/reference.md';
ok(-e $file, 'docs/reference.md exists') or do { done_testing(); exit };

#
# What the document says
#

my (%function, %view, %setting, %internal, %role);
my ($chapter, $section) = ('', '');
foreach my $line (split(/\n/, PostgreSQL::Test::Utils::slurp_file($file)))
{
	if ($line =~ /^## +(.*?) *$/) { ($chapter, $section) = ($1, '') }
	elsif ($line =~ /^### +`?multicenter\.(\w+)`? *$/)
	{
		$section = $1;
		if ($chapter eq 'Settings') { $setting{$section} = 1 }
		else { $view{$section} = [] }
	}
	elsif ($line =~ /^### +`?multicenter\.(\w+)\((.*)\)/)
	{
		# Of "name type DEFAULT 'a, b'" only the name counts.
		my ($name, $arguments) = ($1, $2);
		$arguments =~ s/'[^']*'//g;
		$function{"$name(" . join(', ', map { /^\s*(\w+)/ ? $1 : () } split(/,/, $arguments)) . ')'} = 1;
		$section = '';
	}
	elsif ($line =~ /^###? /) { $section = '' }
	elsif ($chapter eq 'Internal functions' && $line =~ /^\s*[-*] +`multicenter\.(\w+)/) { $internal{$1} = 1 }
	elsif ($line =~ /^\| *`(\w+)` *\|/ && $view{$section}) { push(@{ $view{$section} }, $1) }
	if ($chapter eq 'Roles') { $role{$1} = 1 while $line =~ /`(multicenter_\w+)`/g }
}

#
# What there is
#

my $center = new_center('center');
my %have_view;
foreach (split(/\n/, $center->sql(q{
	SELECT c.relname || ' ' || a.attname
	FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
	WHERE c.relnamespace = 'multicenter'::regnamespace AND c.relkind = 'v'
	ORDER BY c.relname, a.attnum})))
{
	my ($name, $column) = split(/ /);
	push(@{ $have_view{$name} }, $column);
}
my %have_function = map { /^(\w+)(.*)/; ("$1$2" => $1) } split(/\n/, $center->sql(q{
	SELECT p.proname || '(' || coalesce((
		SELECT string_agg(name, ', ' ORDER BY i)
		FROM unnest(p.proargnames, p.proargmodes) WITH ORDINALITY AS u(name, mode, i)
		WHERE mode IS NULL OR mode IN ('i', 'b', 'v')), '') || ')'
	FROM pg_proc p WHERE p.pronamespace = 'multicenter'::regnamespace}));
my %have_setting = map { $_ => 1 } split(/\n/, $center->sql(
		q{SELECT substr(name, 13) FROM pg_settings WHERE name LIKE 'multicenter.%'}));
my %have_role = map { $_ => 1 } split(/\n/, $center->sql(
		q{SELECT rolname FROM pg_roles WHERE rolname LIKE 'multicenter\_%'}));

#
# The comparison
#

sub lacks
{
	my ($what, @names) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return is(join("\n", sort @names), '', $what);
}

lacks('every view is in the reference', grep { !$view{$_} } keys %have_view);
lacks('every view of the reference exists', grep { !$have_view{$_} } keys %view);
foreach my $name (sort grep { $have_view{$_} } keys %view)
{
	is(join(' ', @{ $view{$name} }), join(' ', @{ $have_view{$name} }), "columns of view $name");
}
lacks('every function is in the reference', grep { !$function{$_} && !$internal{ $have_function{$_} } } keys %have_function);
lacks('every function of the reference exists with these arguments', grep { !$have_function{$_} } keys %function);
my %names = map { $_ => 1 } values %have_function;
lacks('every internal function of the reference exists', grep { !$names{$_} } keys %internal);
lacks('every setting is in the reference', grep { !$setting{$_} } keys %have_setting);
lacks('every setting of the reference exists', grep { !$have_setting{$_} } keys %setting);
lacks('every role is in the reference', grep { !$role{$_} } keys %have_role);
lacks('every role of the reference exists', grep { !$have_role{$_} } keys %role);

# And each says in the catalog what it is for.
is($center->sql(q{
		SELECT string_agg(relname, ', ') FROM pg_class
		WHERE relnamespace = 'multicenter'::regnamespace AND relkind IN ('v', 'r') AND obj_description(oid, 'pg_class') IS NULL}),
	'', 'every view and table has a comment');
is($center->sql(q{
		SELECT string_agg(proname, ', ') FROM pg_proc
		WHERE pronamespace = 'multicenter'::regnamespace AND obj_description(oid, 'pg_proc') IS NULL}),
	'', 'every function has a comment');

done_testing();
