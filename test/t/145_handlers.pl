# Goal: whatever a conflict handler does, the answer is an action or an error
# as a value, and everything else is as before.
#
# Method: the function by which apply calls handlers is called from a session,
# with handlers of both forms in SQL, PL/pgSQL and C, good and bad ones.
use strict;
use warnings;

use Multicenter::Cluster;
use Multicenter::Handler;
use Test::More;
use Time::HiRes qw(time);

my ($lisbon) = make_group(1, setup => q{
	CREATE ROLE alice;
	CREATE ROLE mallory;
	GRANT CREATE ON SCHEMA public TO alice, mallory;
	CREATE TABLE t (id int, v text NOT NULL, n numeric DEFAULT 0, g int GENERATED ALWAYS AS (id * 2) STORED,
		gone int, j jsonb, a int[], PRIMARY KEY (id));
	ALTER TABLE t DROP COLUMN gone;
	ALTER TABLE t OWNER TO alice;
	INSERT INTO t VALUES (1, 'one', 1.50, DEFAULT, '{"x": 1}', '{1,2}'), (2, 'two', 2, DEFAULT, NULL, NULL), (3, 'three', 3, DEFAULT, NULL, NULL);
	CREATE TABLE other (id int PRIMARY KEY);
	ALTER TABLE other OWNER TO alice;
});
handler_install($lisbon);

# Make a handler as alice, in PL/pgSQL if the body begins with a word of it.
sub make_handler
{
	my ($name, $body, %options) = @_;
	my $type = $options{type} // 't';
	my $language = $options{language} // ($body =~ /^\s*(?:BEGIN|DECLARE)\b/ ? 'plpgsql' : 'sql');
	my $options = $options{options} // 'STABLE';
	my $owner = $options{owner} // 'alice';
	$lisbon->sql(qq{SET check_function_bodies = off;
		CREATE OR REPLACE FUNCTION $name(local_row $type, remote_row $type, info multicenter.conflict_info,
			OUT result_row $type, OUT action text) LANGUAGE $language $options AS \$body\$$body\$body\$;
		ALTER FUNCTION $name OWNER TO $owner});
	return $name;
}

my $local = q{{"id": "1", "v": "a", "n": "1.50", "j": "{\"x\": 1}", "a": "{1,2}"}};
my $remote = q{{"id": "1", "v": "b", "n": "2", "j": null, "a": null}};

# What a handler answers: action|row|error.
sub answer
{
	my ($name, %options) = @_;
	my ($l, $r) = map { defined $_ ? "'$_'" : 'NULL' }
	  (exists $options{local} ? $options{local} : $local, exists $options{remote} ? $options{remote} : $remote);
	return $lisbon->sql(($options{before} // '')
		. qq{SELECT action, result, error FROM multicenter_test.handler('$options{relation}', '$name', $l, $r)}) if $options{relation};
	return $lisbon->sql(($options{before} // '')
		. qq{SELECT action, result, error FROM multicenter_test.handler('t', '$name', $l, $r)});
}

sub answers
{
	my ($name, $expected, $what, %options) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return ref $expected ? like(answer($name, %options), $expected, $what) : is(answer($name, %options), $expected, $what);
}

#
# Good ones
#

make_handler('greater_sql', q{SELECT (CASE WHEN local_row.n >= remote_row.n THEN local_row ELSE remote_row END), 'row'});
answers('greater_sql', 'row|{"a": null, "j": null, "n": "2", "v": "b", "id": "1"}|', 'typed, SQL');

make_handler('sum_plpgsql', q{
	BEGIN
		result_row := local_row;
		result_row.n := local_row.n + remote_row.n;
		action := 'row';
	END});
answers('sum_plpgsql', 'row|{"a": "{1,2}", "j": "{\"x\": 1}", "n": "3.50", "v": "a", "id": "1"}|', 'typed, PL/pgSQL');

make_handler('json_sql', q{SELECT local_row || jsonb_build_object('n', greatest((local_row->>'n')::numeric, (remote_row->>'n')::numeric)), 'row'}, type => 'jsonb');
answers('json_sql', 'row|{"a": "{1,2}", "j": "{\"x\": 1}", "n": "2", "v": "a", "id": "1"}|', 'jsonb, SQL, with a number');

done_testing();
