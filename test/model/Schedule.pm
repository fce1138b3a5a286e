# Schedule: random schedules, the same for the same seed.
#
# A *pattern* is what the links do: a list of events that a batch of seeds
# shares.  Write events say which centers write then, delivery events how far
# a link gets.  How far is said by the write event up to which a link carries
# its origin's transactions, so that a seed meets the same schedule whether
# it runs in a batch or alone.
#
#   { id, kind => 'write', centers => [0..2] }
#   { id, kind => 'deliver', from, to, upto => id of a write event }
#   { id, kind => 'free' | 'hold', from, to }   let go of the link, stop it
#   { id, kind => 'race', center, from, rollback }   one transaction for all
#       seeds stays open at a center while links bring it changes
#   { id, kind => 'maintain', center, command }   VACUUM and the like
#   { id, kind => 'clock', center, seconds }   its clock is wrong from now on
#   { id, kind => 'check' }   everything flows until all is quiet, and what
#       the centers hold then is compared, as it is at the end
#   { id, kind => 'policy', center, level }   other policies are set there
#   { id, kind => 'restart', center }   a crash of its server (--restarts)
#   { id, kind => 'columns', center, merge }   from now on columns are merged,
#       or not: set there for all that comes then (--resets)
#   { id, kind => 'block', center, block }   handlers fail there, so that changes
#       wait in quarantine, or work again (--blocks)
#
# A seed has a table of its own, of a random shape, and a random list of
# transactions, each at a center within a write event.
package Schedule;

use strict;
use warnings;

# What --without can switch off.
our @features = qw(delete key truncate toast unique exclusion partitions free race clock);

#
# Random numbers: a stream per purpose, independent of Perl's own.
#

sub random_stream
{
	my ($seed, $purpose) = @_;
	my $state = 0;
	{
		use integer;
		$state = $state * 31 + ord($_) foreach split(//, "$purpose/$seed/$purpose");
	}
	my $self = { state => $state };
	bless $self, __PACKAGE__;
	$self->below(2) foreach 1 .. 4;
	return $self;
}

# 0 to n - 1
sub below
{
	my ($self, $n) = @_;
	use integer;
	$self->{state} = $self->{state} * 6364136223846793005 + 1442695040888963407;
	return (($self->{state} >> 33) & 0x7fffffff) % $n;
}

sub chance { my ($self, $percent) = @_; return $self->below(100) < $percent }
sub one_of { my ($self, @list) = @_; return $list[ $self->below(scalar @list) ] }

# A key of a hash of weights.
sub weighted
{
	my ($self, %weight) = @_;
	my $sum = 0;
	$sum += $_ foreach values %weight;
	my $n = $self->below($sum);
	foreach my $key (sort keys %weight)
	{
		return $key if $n < $weight{$key};
		$n -= $weight{$key};
	}
	die 'no weights';
}

#
# Patterns
#

my @links = map { my $from = $_; map { [ $from, $_ ] } grep { $_ != $from } 0 .. 2 } 0 .. 2;

# The pattern of a batch, with up to $events events after the first rows
# are everywhere.
sub pattern
{
	my ($batch, %option) = @_;
	my $random = random_stream($batch, 'pattern');
	my @events;
	my $add = sub { push(@events, { id => scalar @events, @_ }); return $#events };

	my $author = $random->below(3);
	my $last = $add->(kind => 'write', centers => [$author], first => 1);
	$add->(kind => 'deliver', from => $author, to => $_, upto => $last)
	  foreach grep { $_ != $author } 0 .. 2;

	# Each link has its own speed, so that some lag far behind others.
	my %speed = map { ("@$_" => $random->one_of(1, 3, 10, 30)) } @links;
	my %upto  = map { ("@$_" => $last) } @links;
	my %free;
	my @written = map { [] } 0 .. 2;
	# In a storm links flow, and race with transactions everywhere.
	my $storm = !$option{without}{free} && $random->chance(15);
	my %weight = $storm ? (write => 20, all => 50, deliver => 0, free => 20, hold => 4)
	  : (write => 40, all => 6, deliver => 50, free => $option{without}{free} ? 0 : 3, hold => 4);
	%weight = (%weight, race => $option{without}{race} ? 0 : 3, maintain => 3, check => 2,
		clock => $option{without}{clock} ? 0 : 2,
		policy => $option{policies} ? 3 : 0,
		columns => $option{columns} && ($option{resets} || $option{late}) ? 2 : 0,
		block => $option{blocks} ? 6 : 0,
		restart => $option{restarts} || 0);
	my ($level, $merge) = (0, !$option{late});
	my @blocked;
	my $governor = $option{policies} ? $random->below(3) : undef;
	my $end = @events + int($option{events} * $random->one_of(40, 70, 100) / 100);
	while (@events < $end)
	{
		my $what = $random->weighted(%weight);
		if ($what eq 'write' || $what eq 'all')
		{
			my @centers = $what eq 'all' ? (0 .. 2) : $random->below(3);
			my $id = $add->(kind => 'write', centers => \@centers);
			push(@{ $written[$_] }, $id) foreach @centers;
			next;
		}
		if ($what eq 'maintain')
		{
			$add->(kind => 'maintain', center => $random->below(3), command => $random->weighted(
					VACUUM => 6, 'VACUUM FREEZE' => 3, 'VACUUM FULL' => 2, 'REINDEX TABLE' => 2));
			next;
		}
		if ($what eq 'policy')
		{
			# By one center: where two do a third change joins them.
			$add->(kind => 'policy', center => $governor, level => ++$level) if $level < 3;
			next;
		}
		if ($what eq 'clock')
		{
			$add->(kind => 'clock', center => $random->below(3),
				seconds => $random->one_of(-3, -1, -0.05, 0, 0, 0.05, 1, 3, 20));
			next;
		}
		if ($what eq 'block')
		{
			my $center = $random->below(3);
			$blocked[$center] = !$blocked[$center];
			$add->(kind => 'block', center => $center, block => $blocked[$center]);
			next;
		}
		if ($what eq 'check' || $what eq 'columns')
		{
			my $id = $what eq 'check' ? $add->(kind => 'check')
			  : $add->(kind => 'columns', center => $random->below(3), merge => $merge = !$merge);
			$upto{$_} = $id foreach keys %upto;
			%free = ();
			@blocked = ();
			next;
		}
		if ($what eq 'restart')
		{
			$add->(kind => 'restart', center => $random->below(3));
			next;
		}
		if ($what eq 'race')
		{
			my $center = $random->below(3);
			my @from = grep { $_ != $center && $random->chance(70) } 0 .. 2;
			my $id = $add->(kind => 'race', center => $center, centers => [$center], from => \@from,
				rollback => $random->chance(25));
			push(@{ $written[$center] }, $id);
			$free{"$_ $center"} = 0 foreach @from;
			$upto{"$_ $center"} = $id foreach @from;
			next;
		}
		my $link = $random->weighted(%speed);
		my ($from, $to) = split(/ /, $link);
		if ($what eq 'free' && !$free{$link})
		{
			$add->(kind => 'free', from => $from, to => $to);
			$free{$link} = 1;
		}
		elsif ($free{$link})
		{
			next unless $what eq 'hold';
			$add->(kind => 'hold', from => $from, to => $to);
			$free{$link} = 0;
			$upto{$link} = $#events;
		}
		else
		{
			my @waiting = grep { $_ > $upto{$link} } @{ $written[$from] } or next;
			my $many = $random->weighted(1 => 5, 2 => 2, 100 => 3);
			my $upto = $waiting[ $many > @waiting ? $#waiting : $many - 1 ];
			$add->(kind => 'deliver', from => $from, to => $to, upto => $upto);
			$upto{$link} = $upto;
		}
	}
	return \@events;
}

#
# Tables
#

# The table of a seed: which constraints it has.
sub shape
{
	my ($seed, %option) = @_;
	my $random = random_stream($seed, 'shape');
	my %shape = (seed => $seed,
		keys => 2 + $random->below(4), values => 2 + $random->below(3));
	$shape{u} = $random->weighted(plain => 40, deferrable => 15, deferred => 10, distinct => 10,
		expression => 10, partial => 10, none => 5);
	$shape{w} = $random->chance(25) ? 'plain' : 'none';
	$shape{r} = $random->chance(15) ? 'exclusion' : 'none';
	$shape{full} = $random->chance(10);
	# The first one, and what each further event makes of it.
	if ($option{policies})
	{
		my @all = qw(first site insert skip handler);
		$shape{policies} = [ $option{blocks} ? 'handler' : $all[ $seed % 5 ] ];
		$shape{policies} = ['last'] if $option{late};
		push(@{ $shape{policies} }, $random->chance(30) ? $shape{policies}[-1] : $random->one_of(@all, 'last')) foreach 1 .. 3;
	}
	$shape{columns} = { n => $option{blocks} ? 'handler' : (qw(delta min max handler last_update_wins))[ $seed % 5 ], tags => 'set_union', doc => 'jsonb_merge' }
	  if $option{columns};

	# Setting a policy makes replica identities FULL; some lack it nevertheless.
	# Where columns are merged that is an error.
	$shape{incomplete} = $option{policies} && !$option{columns} && !$shape{full} && $random->chance(30);
	$shape{full} = 1 if $option{columns};
	@shape{qw(u w r)} = ('none') x 3 if $option{without}{unique};
	$shape{r} = 'none' if $option{without}{exclusion};

	# The least key of the upper one of two partitions.
	my $other = random_stream($seed, 'partitions');
	$shape{split} = 2 + $other->below($shape{keys} - 1) if !$option{without}{partitions} && $other->chance(30);
	return \%shape;
}

# The tables that hold the rows of a table: its partitions, or itself.
sub leaves
{
	my ($shape) = @_;
	return $shape->{split} ? ('{t}_low', '{t}_high') : ('{t}');
}

# The keys that rows of a table, or of a partition, can have.
sub keys_in
{
	my ($shape, $table) = @_;
	return grep { $table !~ /_(low|high)$/ || ($_ < $shape->{split}) == ($1 eq 'low') } 1 .. $shape->{keys};
}

# CREATE TABLE of a shape.  {t} stands for the table in all SQL here, because
# the runner gives each run of a seed a table of its own.
sub create_sql
{
	my ($shape) = @_;
	my @sql = ('CREATE TABLE {t} (id int PRIMARY KEY, u int, w int, r int4range, v text, n int, big text, tags int[], doc jsonb)'
			. ($shape->{split} ? ' PARTITION BY RANGE (id)' : ''),
		'ALTER TABLE {t} ALTER big SET STORAGE EXTERNAL');
	push(@sql, "CREATE TABLE {t}_low PARTITION OF {t} FOR VALUES FROM (MINVALUE) TO ($shape->{split})",
		"CREATE TABLE {t}_high PARTITION OF {t} FOR VALUES FROM ($shape->{split}) TO (MAXVALUE)") if $shape->{split};
	push(@sql, constraints_of($shape, $_)) foreach leaves($shape);
	return join(";\n", @sql) . ";\n"
	  . ($shape->{columns} ? join('', $Columns::table_sql, map { Columns::leaf_sql($_, keys_in($shape, $_)) } leaves($shape)) : '');
}

# What makes rows of a table, or of a partition, clash.
sub constraints_of
{
	my ($shape, $t) = @_;
	my %index = (
		none       => '',
		plain      => "ALTER TABLE $t ADD UNIQUE (u)",
		deferrable => "ALTER TABLE $t ADD UNIQUE (u) DEFERRABLE",
		deferred   => "ALTER TABLE $t ADD UNIQUE (u) DEFERRABLE INITIALLY DEFERRED",
		distinct   => "ALTER TABLE $t ADD UNIQUE NULLS NOT DISTINCT (u)",
		expression => "CREATE UNIQUE INDEX ON $t ((u / 2))",
		partial    => "CREATE UNIQUE INDEX ON $t (u) WHERE n % 2 = 0");
	my @sql = grep { $_ } $index{ $shape->{u} };
	push(@sql, "ALTER TABLE $t ADD UNIQUE (w)") if $shape->{w} ne 'none';
	push(@sql, "ALTER TABLE $t ADD EXCLUDE USING gist (r WITH &&)") if $shape->{r} ne 'none';
	push(@sql, "ALTER TABLE $t REPLICA IDENTITY FULL") if $shape->{full};
	return @sql;
}

# The policy of a shape, as conflict_policy_set() takes it; see Model.pm.
my %policy = (
	first   => [ 'NULL', 'first_update_wins' ],
	site    => [ 'NULL', 'site_priority', q{options => '{"sites": ["tokyo", "lisbon"]}'} ],
	insert  => [ q{'update_deleted'}, 'insert_or_skip' ],
	skip    => [ q{'update_deleted'}, 'skip' ],
	last    => [ 'NULL', 'last_update_wins' ],
	handler => [ 'NULL', 'handler', q{handler => 'model_handler(jsonb, jsonb, multicenter.conflict_info)'} ]);

sub policy_sql
{
	my ($shape, $level) = @_;
	return '' if $shape->{policies}[$level] eq ($level ? $shape->{policies}[ $level - 1 ] : 'last');
	my ($type, $resolver, @rest) = @{ $policy{ $shape->{policies}[$level] } };
	return ($level && $type ne 'NULL' ? "SELECT FROM multicenter.conflict_policy_set('{t}', 'update_origin_differs', 'last_update_wins');\n" : '')
	  . 'SELECT FROM multicenter.conflict_policy_set(' . join(', ', q{'{t}'}, $type, "'$resolver'", @rest) . ");\n";
}

# The greater label wins, and a row over a delete.
our $handler_sql = q{
	CREATE FUNCTION model_handler(local_row jsonb, remote_row jsonb, info multicenter.conflict_info, OUT result_row jsonb, OUT action text)
	LANGUAGE plpgsql STABLE SET search_path = public AS $$
	BEGIN
		PERFORM model_fail();
		action := CASE WHEN local_row IS NULL OR remote_row->>'v' COLLATE "C" > local_row->>'v' COLLATE "C"
			THEN 'apply_remote' ELSE 'keep_local' END;
	END $$;
};

# Handlers fail where the table has a row.
our $block_sql = q{
	CREATE UNLOGGED TABLE model_block (blocked boolean);
	CREATE FUNCTION model_fail() RETURNS void LANGUAGE plpgsql STABLE SET search_path = public AS $$
	BEGIN
		IF EXISTS (SELECT FROM model_block) THEN
			RAISE EXCEPTION 'handlers fail here' USING ERRCODE = '38000';
		END IF;
	END $$;
};

# A function that says whether two rows clash, of which it gets the keys, too.
sub clash
{
	my ($shape) = @_;
	my %same = (
		none       => sub { 0 },
		plain      => sub { defined $_[0]{u} && defined $_[1]{u} && $_[0]{u} == $_[1]{u} },
		distinct   => sub { ($_[0]{u} // 'null') eq ($_[1]{u} // 'null') },
		expression => sub { defined $_[0]{u} && defined $_[1]{u} && int($_[0]{u} / 2) == int($_[1]{u} / 2) },
		partial    => sub { defined $_[0]{u} && defined $_[1]{u} && $_[0]{u} == $_[1]{u}
			  && $_[0]{n} % 2 == 0 && $_[1]{n} % 2 == 0 });
	@same{qw(deferrable deferred)} = ($same{plain}) x 2;
	my $u = $same{ $shape->{u} };
	return sub {
		my ($a, $b, @keys) = @_;
		return 0 if $shape->{split} && grep({ $_ < $shape->{split} } @keys) == 1;
		return 1 if $u->($a, $b);
		return 1 if $shape->{w} ne 'none' && defined $a->{w} && defined $b->{w} && $a->{w} == $b->{w};
		return 0 if $shape->{r} eq 'none' || !defined $a->{r} || !defined $b->{r};
		my ($a_low, $a_high) = $a->{r} =~ /(\d+),(\d+)/;
		my ($b_low, $b_high) = $b->{r} =~ /(\d+),(\d+)/;
		return $a_low < $b_high && $b_low < $a_high;
	};
}

#
# Transactions
#

my %default_weight = (
	insert => 12, upsert => 14, small => 16, claim => 14, big => 8, clear => 2, both => 4,
	delete => 12, recreate => 5, key => 7, key_over => 3, many => 4, delete_many => 3,
	swap => 4, truncate => 3);

# Where columns are merged: changes of one column, and fewer ends of a row.
my %column_weight = (add => 30, tags => 20, doc => 25, delete => 6, insert => 16, many => 8);

# The transactions of a seed: { name, event, center, statements }.
sub transactions
{
	my ($shape, $pattern, %option) = @_;
	my $random = random_stream($shape->{seed}, 'transactions');
	my %weight = (%default_weight, $shape->{columns} ? %column_weight : (), %{ $option{weights} || {} });
	my %without = %{ $option{without} || {} };
	# A TRUNCATE cannot wait in quarantine, nor can what is in its transaction.
	delete $weight{truncate} if $without{truncate} || $option{blocks};
	delete @weight{qw(key key_over)} if $without{key} || $without{delete};
	delete @weight{qw(delete recreate delete_many)} if $without{delete};
	delete @weight{qw(claim swap)} if $without{unique};
	delete @weight{qw(big clear both)} if $without{toast};

	my $busy = 30 + $random->below(60);
	my @transactions;
	foreach my $event (grep { $_->{centers} } @$pattern)
	{
		foreach my $center (@{ $event->{centers} })
		{
			# Drawn in any case, so that one choice does not move all others.
			my $stream = random_stream($shape->{seed}, "transaction $event->{id} $center");
			next if !$event->{first} && !$random->chance($busy) || $event->{first} && !$random->chance(85);
			# At the end of a race the transaction must not fail.
			next if $event->{kind} eq 'race' && $shape->{u} eq 'deferred';
			my $writer = { shape => $shape, random => $stream, without => \%without,
				name => "$event->{id}.$center", statements => [] };
			if ($event->{first})
			{
				first_rows($writer);
			}
			else
			{
				my $n = $stream->weighted(1 => 55, 2 => 25, 3 => 12, 5 => 8);
				add_statements($writer, $stream->weighted(%weight)) foreach 1 .. $n;
			}
			push(@transactions, { name => $writer->{name}, event => $event->{id},
					center => $center, statements => $writer->{statements} });
		}
	}
	return \@transactions;
}

sub add
{
	my ($writer, $kind, $sql, %more) = @_;
	push(@{ $writer->{statements} }, { kind => $kind, sql => $sql, %more });
	return;
}

sub key { my ($writer) = @_; return 1 + $writer->{random}->below($writer->{shape}{keys}) }

sub null_or
{
	my ($writer, $percent, $value) = @_;
	return $writer->{random}->chance($percent) ? 'NULL' : $value;
}

# A new row's values, by column.
sub values_of
{
	my ($writer) = @_;
	my ($shape, $random) = @$writer{qw(shape random)};
	my $low = $random->below(8);
	return (
		u   => null_or($writer, 25, 1 + $random->below($shape->{values} * ($shape->{u} eq 'expression' ? 2 : 1))),
		w   => null_or($writer, 30, 1 + $random->below($shape->{values})),
		r   => $shape->{r} eq 'none' ? 'NULL'
			: null_or($writer, 30, sprintf("'[%d,%d)'", $low, $low + 1 + $random->below(3))),
		v   => "'$writer->{name}/" . (1 + @{ $writer->{statements} }) . "'",
		n   => $random->below(4),
		big => big($writer));
}

# A value that is stored out of line, mostly.
sub big
{
	my ($writer) = @_;
	my $random = $writer->{random};
	return 'NULL' if $writer->{without}{toast} || $random->chance(40);
	return sprintf("repeat(md5('%s.%d'), %d)", $writer->{name}, scalar @{ $writer->{statements} },
		$random->one_of(10, 80, 120, 300));
}

# A condition: no other row than $key's clashes with these values.
sub nobody_has
{
	my ($writer, $key, %value) = @_;
	my $shape = $writer->{shape};
	return 'true' if $writer->{random}->chance(15);
	my @same;
	push(@same, $shape->{u} eq 'distinct' ? "u IS NOT DISTINCT FROM $value{u}"
		: $shape->{u} eq 'expression' ? "u / 2 = $value{u} / 2" : "u = $value{u}")
	  if $shape->{u} ne 'none' && exists $value{u};
	push(@same, "w = $value{w}") if $shape->{w} ne 'none' && exists $value{w};
	push(@same, "r && $value{r}") if $shape->{r} ne 'none' && exists $value{r};
	return 'true' unless @same;
	$key .= " AND (id < $shape->{split}) = ($key < $shape->{split})" if $shape->{split};
	return "NOT EXISTS (SELECT FROM {t} WHERE id <> $key AND (" . join(' OR ', @same) . '))';
}

sub insert
{
	my ($writer, $key) = @_;
	my $t = '{t}';
	my %value = values_of($writer);
	return add($writer, 'put',
		"INSERT INTO $t (id, u, w, r, v, n, big) SELECT $key, $value{u}, $value{w}, $value{r}, $value{v}, $value{n}, $value{big}"
		  . " WHERE NOT EXISTS (SELECT FROM $t WHERE id = $key) AND " . nobody_has($writer, $key, %value));
}

sub first_rows
{
	my ($writer) = @_;
	foreach my $key (1 .. $writer->{shape}{keys})
	{
		insert($writer, $key) if $writer->{random}->chance(70);
	}
	insert($writer, key($writer)) unless @{ $writer->{statements} };
	return;
}

# Append the statements of one kind of operation.
sub add_statements
{
	my ($writer, $kind) = @_;
	my $random = $writer->{random};
	my $before = @{ $writer->{statements} };
	no strict 'refs';
	&{"add_$kind"}($writer);
	use strict 'refs';

	# Some are taken back, some live in subtransactions of their own.
	my $how = $random->below(100);
	return if $how >= 10 || @{ $writer->{statements} } == $before;
	if ($how < 5)
	{
		$_->{undone} = 1 foreach @{ $writer->{statements} }[ $before .. $#{ $writer->{statements} } ];
	}
	splice(@{ $writer->{statements} }, $before, 0, { kind => 'none', sql => 'SAVEPOINT s' });
	add($writer, 'none', $how < 5 ? 'ROLLBACK TO s' : 'RELEASE s');
	return;
}

sub add_insert { my ($writer) = @_; return insert($writer, key($writer)) }

sub add_upsert
{
	my ($writer) = @_;
	my $t = '{t}';
	my $key = key($writer);
	my %value = values_of($writer);
	my $also = $writer->{random}->chance(50) ? ', big = EXCLUDED.big' : '';
	return add($writer, 'put',
		"INSERT INTO $t (id, u, w, r, v, n, big) SELECT $key, $value{u}, $value{w}, $value{r}, $value{v}, $value{n}, $value{big}"
		  . " WHERE " . nobody_has($writer, $key, %value)
		  . " ON CONFLICT (id) DO UPDATE SET u = EXCLUDED.u, w = EXCLUDED.w, r = EXCLUDED.r, v = EXCLUDED.v, n = EXCLUDED.n$also");
}

# UPDATE of one row.
sub update
{
	my ($writer, $set, $condition, $key) = @_;
	my %value = values_of($writer);
	$key = key($writer) unless defined $key;
	my $label = $writer->{shape}{columns} && $writer->{random}->chance(60) ? '' : "v = $value{v}, ";
	return add($writer, 'put', "UPDATE {t} SET $label$set WHERE id = $key"
		  . ($condition ? " AND $condition" : ''));
}

# The partial index depends on n.
sub add_small
{
	my ($writer) = @_;
	return update($writer, $writer->{shape}{u} eq 'partial' ? 'n = n + 2' : 'n = n + 1');
}

sub add_add
{
	my ($writer) = @_;
	return update($writer, sprintf('n = %s %d', $writer->{shape}{u} eq 'partial' ? 'n + 2 *' : 'n +', $writer->{random}->below(7) - 3));
}

sub add_tags
{
	my ($writer) = @_;
	my $element = $writer->{random}->below(9);
	return update($writer, 'tags = ' . $writer->{random}->weighted(
			"array_append(tags, $element)" => 10, "array_remove(tags, $element)" => 5, "'{$element}'" => 3, NULL => 1));
}

sub add_doc
{
	my ($writer) = @_;
	my $random = $writer->{random};
	my ($name, $number) = ($random->one_of(qw(a b c)), $random->below(100));
	return update($writer, 'doc = ' . $random->weighted(
			qq(CASE jsonb_typeof(doc) WHEN 'object' THEN doc || '{"$name": $number}' ELSE '{"$name": $number}' END) => 12,
			qq(CASE jsonb_typeof(doc) WHEN 'object' THEN doc - '$name' ELSE '{}' END) => 5,
			"'$number'" => 1, NULL => 1));
}

sub add_claim
{
	my ($writer) = @_;
	my $shape = $writer->{shape};
	my %value = values_of($writer);
	my @columns = grep { $shape->{$_} ne 'none' } qw(u w r);
	return add_small($writer) unless @columns;
	my $column = $writer->{random}->one_of(@columns);
	my $key = key($writer);
	return update($writer, "$column = $value{$column}",
		nobody_has($writer, $key, $column => $value{$column}), $key);
}

sub add_big   { my ($writer) = @_; return update($writer, 'big = ' . big($writer)) }
sub add_clear { my ($writer) = @_; return update($writer, 'big = NULL') }
sub add_both  { my ($writer) = @_; add_big($writer); return add_small($writer) }

sub add_delete
{
	my ($writer, $key) = @_;
	$key = key($writer) unless defined $key;
	return add($writer, 'delete', "DELETE FROM {t} WHERE id = $key");
}

sub add_recreate
{
	my ($writer) = @_;
	my $key = key($writer);
	add_delete($writer, $key);
	return insert($writer, $key);
}

sub add_key
{
	my ($writer, $old, $new) = @_;
	my $t = '{t}';
	my %value = values_of($writer);
	($old, $new) = (key($writer), key($writer)) unless defined $old;
	return add_small($writer) if $old == $new;
	my $set = $writer->{random}->chance(20) ? ", big = $value{big}" : '';
	return add($writer, 'key',
		"UPDATE $t SET id = $new, v = $value{v}$set WHERE id = $old AND NOT EXISTS (SELECT FROM $t WHERE id = $new)",
		old => $old);
}

# A row takes the place of another one.
sub add_key_over
{
	my ($writer) = @_;
	my ($old, $new) = (key($writer), key($writer));
	return add_small($writer) if $old == $new;
	add_delete($writer, $new);
	return add_key($writer, $old, $new);
}

sub add_many
{
	my ($writer) = @_;
	my %value = values_of($writer);
	my $set = $writer->{random}->chance(30) ? ", big = $value{big}" : '';
	return add($writer, 'put',
		"UPDATE {t} SET v = $value{v}, n = n + 2$set WHERE id >= " . key($writer));
}

sub add_delete_many
{
	my ($writer) = @_;
	return add($writer, 'delete', "DELETE FROM {t} WHERE id >= " . key($writer));
}

# Two rows change their values with each other, or get new ones.
sub add_swap
{
	my ($writer) = @_;
	my $shape = $writer->{shape};
	my $t = '{t}';
	my ($a, $b) = (key($writer), key($writer));
	return add_small($writer) if $a == $b || $shape->{u} eq 'none';
	my %value = values_of($writer);
	if ($shape->{u} =~ /^defer/)
	{
		return add($writer, 'put', "UPDATE $t SET v = $value{v}, u = o.u FROM $t o"
			  . " WHERE ($t.id, o.id) IN (($a, $b), ($b, $a))");
	}
	my %other = values_of($writer);
	add($writer, 'put', "UPDATE $t SET v = $value{v}, u = NULL WHERE id IN ($a, $b)")
	  if $shape->{u} ne 'distinct';
	update($writer, "u = $value{u}", nobody_has($writer, $a, u => $value{u}), $a);
	return update($writer, "u = $other{u}", nobody_has($writer, $b, u => $other{u}), $b);
}

sub add_truncate
{
	my ($writer) = @_;
	my $shape = $writer->{shape};
	my $table = $shape->{split} ? $writer->{random}->one_of('{t}', leaves($shape)) : '{t}';
	return add($writer, 'truncate', "TRUNCATE $table", keys => [ keys_in($shape, $table) ]);
}

1;
