# Columns: what tables must hold whose columns are merged one by one; see
# Model.pm.
#
# The rules (docs/convergence.md, columns that are merged):
#   - Each INSERT makes an incarnation of its key.  The greatest one counts.  An
#     UPDATE or DELETE is about the one that its author saw.  A deleted one is
#     gone, as is one that is older than a TRUNCATE.
#   - Each column is merged of the changes of that incarnation.
#   - What waited in quarantine where a change was made was not seen by it.
#   - The row has the greatest version of all changes of its key.
# What a statement has changed is known from a trigger, as text of each column.
package Columns;

use strict;
use warnings;

# Objects with which the tables of a group are watched, and the function that
# merges a column.
our $setup_sql = q{
	CREATE FUNCTION model_sum(a int, b int) RETURNS int LANGUAGE plpgsql STABLE SET search_path = public AS
		'BEGIN PERFORM model_fail(); RETURN a + b; END';
	CREATE UNLOGGED TABLE model_change (number bigserial, xid bigint, tab name, op text, old_row text, new_row text);
	CREATE INDEX ON model_change (xid);
	CREATE FUNCTION model_watch() RETURNS trigger LANGUAGE plpgsql AS $$
	DECLARE
		rows text[];
	BEGIN
		IF TG_OP IN ('UPDATE', 'DELETE') THEN
			rows[1] := concat_ws(';', OLD.id, coalesce(OLD.u::text, '~'), coalesce(OLD.w::text, '~'), coalesce(OLD.r::text, '~'), coalesce(OLD.v, '~'),
				coalesce(OLD.n::text, '~'), coalesce(length(OLD.big) || ':' || md5(OLD.big), '~'), coalesce(OLD.tags::text, '~'), coalesce(OLD.doc::text, '~'));
		END IF;
		IF TG_OP IN ('INSERT', 'UPDATE') THEN
			rows[2] := concat_ws(';', NEW.id, coalesce(NEW.u::text, '~'), coalesce(NEW.w::text, '~'), coalesce(NEW.r::text, '~'), coalesce(NEW.v, '~'),
				coalesce(NEW.n::text, '~'), coalesce(length(NEW.big) || ':' || md5(NEW.big), '~'), coalesce(NEW.tags::text, '~'), coalesce(NEW.doc::text, '~'));
		END IF;
		IF TG_OP = 'TRUNCATE' THEN
			rows[1] := TG_ARGV[1];
		END IF;
		INSERT INTO model_change (xid, tab, op, old_row, new_row) VALUES (pg_current_xact_id()::text::bigint, TG_ARGV[0], TG_OP, rows[1], rows[2]);
		RETURN NULL;
	END $$;
};

# What a table needs besides.
our $table_sql = q{
	ALTER TABLE {t} ALTER n SET NOT NULL, ALTER tags SET DEFAULT '{1}', ALTER doc SET DEFAULT '{"a": 1, "b": 1}';
	CREATE TRIGGER "~multicenter_keep_change" BEFORE UPDATE OR DELETE ON {t} FOR EACH ROW EXECUTE FUNCTION multicenter.keep_change();
	CREATE TRIGGER watch AFTER INSERT OR UPDATE OR DELETE ON {t} FOR EACH ROW EXECUTE FUNCTION model_watch('{t}');
};

# And one that has rows with these keys.
sub leaf_sql
{
	my ($leaf, @keys) = @_;
	return "CREATE TRIGGER watch_truncate AFTER TRUNCATE ON $leaf FOR EACH STATEMENT EXECUTE FUNCTION model_watch('{t}', '@keys');\n";
}

# The policies of a shape, written at one center: before there are rows no fence
# is needed.
sub policy_sql
{
	my ($shape) = @_;
	my %merge = %{ $shape->{columns} };
	return join('', map {
			my $handler = $merge{$_} eq 'handler' ? q{'public.model_sum(integer,integer)'} : 'NULL';
			"INSERT INTO multicenter.column_policy (schema_name, table_name, column_name, merge, handler, set_by) VALUES ('public', '{t}', '$_', '$merge{$_}', $handler, 'model');\n" }
		  sort keys %merge);
}

# The same by the functions for that, when there may be rows; or they are taken
# back.
sub switch_sql
{
	my ($shape, $on) = @_;
	my %merge = %{ $shape->{columns} };
	return "SELECT FROM multicenter.column_policy_reset('{t}');\n" if !$on;
	return join('', map {
			my $handler = $merge{$_} eq 'handler' ? q{'model_sum(int, int)'} : 'NULL';
			"SELECT FROM multicenter.column_policy_set('{t}', '$_', '$merge{$_}', $handler);\n" } sort keys %merge);
}

# A change as the trigger has written it.
sub operation
{
	my ($columns, $op, @rows) = @_;
	return [ $op, [ split(/ /, $rows[0]) ] ] if $op eq 'TRUNCATE';
	my @of = map {
		my ($id, @values) = split(/;/, $_, -1);
		my %row = (id => $id);
		@row{@$columns} = map { $_ eq '~' ? undef : $_ } @values;
		$_ eq '~' ? undef : \%row } @rows;
	return [ $op, @of ];
}

sub same { my ($a, $b) = @_; return ($a // '~') eq ($b // '~') }

# The changes of a column, by version: [ transaction, old value, new value ].
sub changes_of
{
	my ($incarnation, $column) = @_;
	my @changes = grep { !same($_->[1]{$column}, $_->[2]{$column}) } @{ $incarnation->{changes} };
	return map { [ $_->[0], $_->[1]{$column}, $_->[2]{$column} ] } @changes;
}

sub last_value { my ($value, @changes) = @_; return @changes ? $changes[-1][2] : $value }

sub sum_up
{
	my ($value, @changes) = @_;
	$value += $_->[2] - $_->[1] foreach @changes;
	return $value;
}

# The members of an object; undef if it is none.
sub members { my ($text) = @_; return defined $text && $text =~ /^\{/ ? { $text =~ /"(\w+)": (\w+)/g } : undef }

sub merge_json
{
	my ($value, @changes) = @_;
	foreach my $change (@changes)
	{
		my ($old, $new) = (members($change->[1]), members($change->[2]));
		if (!$old || !$new)
		{
			$value = $change->[2];
			next;
		}
		my $here = members($value) || {};
		foreach my $name (grep { !same($old->{$_}, $new->{$_}) } keys %{ { %$old, %$new } })
		{
			delete $here->{$name};
			$here->{$name} = $new->{$name} if defined $new->{$name};
		}
		$value = '{' . join(', ', map { qq("$_": $here->{$_}) } sort keys %$here) . '}';
	}
	return $value;
}

# What a merge makes of all values that nobody has seen together.
my %combine = (
	min => sub { $_[0] < $_[1] ? $_[0] : $_[1] },
	max => sub { $_[0] > $_[1] ? $_[0] : $_[1] },
	handler => sub { $_[0] + $_[1] },
	set_union => sub { my %has = map { ($_ => 1) } map { /\d+/g } @_; '{' . join(',', sort { $a <=> $b } keys %has) . '}' });

# Had the author of a transaction seen what another one has done to a key?
sub saw
{
	my ($transaction, $other, $key) = @_;
	return Model::saw($transaction, $other) && !$transaction->{waiting}{"$key.$other->{center}.$other->{time}"};
}

sub combine
{
	my ($merge, $key, $value, @changes) = @_;
	my @last;
	foreach my $change (@changes)
	{
		@last = grep { $_->[0] != $change->[0] } @last;
		push(@last, $change);
	}
	my @unseen = grep { my $one = $_; !grep { $_ != $one && saw($_->[0], $one->[0], $key) } @last } @last;
	return $value if !@unseen;
	my ($first, @rest) = grep { defined } map { $_->[2] } @unseen;
	$first = $combine{$merge}->($first, $_) foreach @rest;
	return $first;
}

# The row of an incarnation of a key.
sub row_of
{
	my ($columns, $key, $incarnation) = @_;
	my %row;
	foreach my $column (grep { $_ ne 'id' } keys %{ $incarnation->{row} })
	{
		my $merge = $columns->{$column} // 'last_update_wins';
		my @of = ($incarnation->{row}{$column}, changes_of($incarnation, $column));
		$row{$column} = $merge eq 'last_update_wins' ? last_value(@of) : $merge eq 'delta' ? sum_up(@of)
		  : $merge eq 'jsonb_merge' ? merge_json(@of) : combine($merge, $key, @of);
	}
	return \%row;
}

# The incarnation that a transaction has changed: its own, or the greatest that
# it has seen.
sub seen_incarnation
{
	my ($transaction, $key, @incarnations) = @_;
	my ($greatest) = grep { $_->{version} == $transaction || saw($transaction, $_->{version}, $key) } reverse @incarnations;
	return $greatest // die "$transaction->{name} has changed a row that it cannot have seen";
}

# The map after all transactions, if it was this before: key => { row, version }.
sub merge
{
	my ($columns, $before, @transactions) = @_;
	my %incarnations = map { ($_ => [ { %{ $before->{$_} }, changes => [] } ]) } keys %$before;
	my %last = map { ($_ => $before->{$_}{version}) } keys %$before;
	my (%truncates, %map);
	foreach my $transaction (sort { Model::by_version($a, $b) } @transactions)
	{
		my @operations = map { my ($op, $old, $new) = @$_;
			$op eq 'UPDATE' && $old->{id} != $new->{id} ? ([ 'DELETE', $old ], [ 'INSERT', undef, $new ]) : $_ } @{ $transaction->{changes} };
		foreach my $operation (@operations)
		{
			my ($op, $old, $new) = @$operation;
			if ($op eq 'TRUNCATE')
			{
				push(@{ $truncates{$_} }, $transaction) foreach @$old;
				@$_ = grep { $_->{version} != $transaction } @$_ foreach grep { $_ } @incarnations{@$old};
				next;
			}
			my $key = ($old || $new)->{id};
			my $of = $incarnations{$key} //= [];
			$last{$key} = $transaction;
			if ($op eq 'INSERT')
			{
				@$of = ((grep { $_->{version} != $transaction } @$of), { version => $transaction, row => $new, changes => [] });
				next;
			}
			my $incarnation = seen_incarnation($transaction, $key, @$of);
			if ($op eq 'DELETE') { $incarnation->{deleted} = 1 }
			else                 { push(@{ $incarnation->{changes} }, [ $transaction, $old, $new ]) }
		}
	}
	foreach my $key (keys %incarnations)
	{
		my $incarnation = $incarnations{$key}[-1] or next;
		next if $incarnation->{deleted} || grep { Model::by_version($incarnation->{version}, $_) < 0 } @{ $truncates{$key} };
		$map{$key} = { row => row_of($columns, $key, $incarnation), version => $last{$key} };
	}
	return \%map;
}

1;
