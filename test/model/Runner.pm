# Runner: runs batches of schedules on three real centers, and compares what
# the centers hold in the end with the model.
#
# Many seeds run at once: each has a table of its own, all share the pattern
# of what the links do.  At each center two sessions run the transactions;
# what their statements return is the history that the model is given, with
# the commit timestamps that the server recorded.  A transaction that failed
# is not part of it.
package Runner;

use strict;
use warnings;

use Carp;
use Links;
use Model;
use Multicenter::Clock;
use Multicenter::Cluster;
use PostgreSQL::Test::Utils ();
use Schedule;
use Session;
use Time::HiRes qw(time usleep);

# Errors that a transaction may get: unique keys, exclusion, deadlock, TRUNCATE
# after a change that a deferred constraint has still to check.
my %expected_error = map { ($_ => 1) } qw(00000 23505 23P01 40P01 55006);

# And where a peer moves the row to another partition.
my $moved_error = '40001';

# Columns of a row, and how they are compared.
my @columns = qw(u w r v n big tags doc);
my $row_of = "%s.id, %1\$s.u, %1\$s.w, %1\$s.r, %1\$s.v, %1\$s.n, length(%1\$s.big) || ':' || md5(%1\$s.big), %1\$s.tags, %1\$s.doc";

# Names of servers must not come again in one process.
my $groups_made = 0;

# Options: databases (three databases of one server instead of three servers),
# policies (tables have conflict policies), columns (columns are merged), late
# (neither is set from the beginning, and each batch has a group of its own),
# workers (processes that apply what comes from a peer),
# settle (seconds that the end may take), say (a function that prints).
sub new
{
	my ($class, %option) = @_;
	my $self = bless {
		settle => 8, say => sub { print "@_\n" }, %option,
		runs => 0, groups => 0,
		count => { transactions => 0, failed => 0, seeds => 0, rows => 0, displaced => 0, races => 0, checks => 0 },
	}, $class;
	return $self;
}

# The group, made when it is needed first and after one was broken.
sub group
{
	my ($self) = @_;
	return $self->{group} if $self->{group};
	$self->{groups}++;
	$groups_made++;
	my @names = map { "$_$groups_made" } qw(lisbon oslo tokyo);
	my @clocks = map { Multicenter::Clock->new } 1 .. 3;
	my $conf = "multicenter.heartbeat_interval = '100ms'\ndeadlock_timeout = '200ms'\nautovacuum_naptime = '5s'\nmulticenter.apply_workers = " . ($self->{workers} || 0) . "\n";
	my @centers = new_center($names[0], clock => $clocks[0], conf => $conf);
	push(@centers, $self->{databases} ? $centers[0]->add_database($names[$_])
		: new_center($names[$_], clock => $clocks[$_], conf => $conf)) foreach 1, 2;
	group_create($centers[0]);
	group_join($_, $centers[0]) foreach @centers[ 1, 2 ];
	wait_ready(@centers);
	my $prefix = PostgreSQL::Test::Utils::tempdir() . '/session';
	my @members;
	foreach my $center (@centers)
	{
		push(@members, { center => $center, name => $center->name, index => scalar @members, id => $center->id,
				commits => 0, clock => $clocks[ $self->{databases} ? 0 : @members ] });
		connect_to($members[-1], $prefix);
		$center->sql('CREATE EXTENSION IF NOT EXISTS amcheck');
		$center->sql($Schedule::block_sql) if $self->{policies} || $self->{columns};
		$center->sql($Schedule::handler_sql) if $self->{policies};
		$center->sql($Columns::setup_sql) if $self->{columns};
		$center->sql("SELECT multicenter.center_alter('$names[$#members]', site => '" . ($names[$#members] =~ s/\d+//r) . "')") if $self->{policies};
	}
	$self->{group} = { members => \@members, links => Links->new(@members) };
	$self->{group}{links}->set_up;
	return $self->{group};
}

# Two sessions at a center: one writes while the other one commits.
sub connect_to
{
	my ($member, $prefix) = @_;
	my $center = $member->{center};
	$member->{prefix} = $prefix;
	$member->{sessions} =
	  [ map { Session->new($center->node->connstr($center->dbname), "$prefix.$center->{name}.$_") } 0 .. 1 ];
	$member->{session} = $member->{sessions}[0];
	return;
}

# Give a group up, for example because a link is stalled for good.
sub abandon
{
	my ($self) = @_;
	my $group = delete $self->{group} or return;
	foreach my $member (@{ $group->{members} })
	{
		eval { $_->end } foreach @{ $member->{sessions} };
	}
	my %nodes = map { ($_->{center}->node->name => $_->{center}) } @{ $group->{members} };
	foreach my $center (values %nodes)
	{
		eval { $center->stop('immediate') };
	}
	return;
}

# Run entries on one pattern.  An entry is { seed, shape, transactions }; it
# gets: problems (a list of texts, empty if it passed), history, visible,
# displaced, and rows (of each center).  Returns what was wrong with the batch
# as a whole, as a list of texts.
sub run_batch
{
	my ($self, $pattern, $entries) = @_;
	my $run = ++$self->{runs};
	my @trouble;
	@$self{qw(segment merge)} = (0, $self->{columns} && !$self->{late});
	foreach my $i (0 .. $#$entries)
	{
		my $entry = $entries->[$i];
		$entry->{table} = "m${run}_$entry->{seed}_$i";
		@$entry{qw(history problems errors)} = ([], [], []);
	}
	my $fine = eval {
		my $group = $self->group;
		$self->everywhere(map { my $sql = Schedule::create_sql($_->{shape}); $sql =~ s/\{t\}/$_->{table}/g; $sql } @$entries);
		$self->set_policies($entries) if $self->{policies};
		$self->set_columns($entries) if $self->{merge};
		$group->{links}->hold_all;
		(my $finished, @trouble) = $self->play($pattern, $entries);
		if ($finished)
		{
			@trouble = $self->settle($entries);
		}
		push(@trouble, $self->check_group($entries)) unless @trouble;
		$self->everywhere(map { "DROP TABLE $_->{table};\n" } @$entries) unless @trouble;
		$_->{clock}->set(0) foreach @{ $group->{members} };
		1;
	};
	push(@trouble, "the run has failed: $@") unless $fine;
	if (@trouble)
	{
		push(@trouble, map { $_->{center}->describe_links } @{ $self->{group}{members} }) if $self->{group};
		$self->abandon;
	}
	$self->abandon if $self->{late};
	$self->{count}{seeds} += @$entries;
	return @trouble;
}

# The tables that hold the rows of an entry.
sub tables_of
{
	my ($entry) = @_;
	return map { s/\{t\}/$entry->{table}/r } Schedule::leaves($entry->{shape});
}

# Run SQL at all centers.
sub everywhere
{
	my ($self, @sql) = @_;
	my @sessions = map { $_->{session} } @{ $self->group->{members} };
	$_->start(join('', @sql)) foreach @sessions;
	foreach my $session (@sessions)
	{
		my @lines = $session->finish;
		croak "unexpected output: @lines" if @lines;
	}
	return;
}

# Set the policies of entries at a center, all at once.
sub set_level
{
	my ($self, $entries, $center, $level) = @_;
	my $session = $self->group->{members}[$center]{session};
	$session->run(join('', "BEGIN;\n", (map { Schedule::policy_sql($_->{shape}, $level) =~ s/\{t\}/$_->{table}/gr } @$entries), "COMMIT;\n"));
	$self->{epochs}[$level] = $session->value('SELECT multicenter.internal_policy_newest()');
	return $self->{epochs}[$level];
}

# Which level of policies had a center taken over when it committed a
# transaction?  It is that of the greatest epoch which it knew.  Before the
# first one that sets something for a table all are alike.
sub read_levels
{
	my ($self, @entries) = @_;
	my %taken;
	foreach my $line ($self->group->{members}[0]{session}->run(
			"SELECT center_id, epoch, (extract(epoch FROM ts) * 1000000)::bigint FROM multicenter.policy_epoch;\n"))
	{
		my ($center, $epoch, $time) = split(/\|/, $line);
		push(@{ $taken{$center} }, [ $epoch, $time ]);
	}
	foreach my $entry (@entries)
	{
		foreach my $transaction (@{ $entry->{history} })
		{
			my @known = grep { my $from = $_;
				grep { $_->[0] >= $self->{epochs}[$from] && $_->[1] < $transaction->{time} } @{ $taken{ $transaction->{center} } } } 0 .. $#{ $self->{epochs} };
			my $level = @known ? $known[-1] : 0;
			$transaction->{level} = grep({ $_ ne 'last' } @{ $entry->{shape}{policies} }[ 0 .. $level ]) ? $level : 0;
		}
	}
	return;
}

# Set the first policies of entries, and wait until all centers have taken them
# over.
sub set_policies
{
	my ($self, $entries) = @_;
	my @members = @{ $self->group->{members} };
	$self->{epochs} = [];
	my $newest = $self->set_level($entries, 0, 0);
	poll('the policies to be in effect', sub {
			return !grep { $_->{session}->value('SELECT multicenter.internal_policy_own_epoch()') != $newest } @members; });
	$self->group->{links}->wait_quiet;
	my @incomplete = map { tables_of($_) } grep { $_->{shape}{incomplete} } @$entries;
	$self->everywhere("ALTER EVENT TRIGGER multicenter_complete_policies DISABLE;\n",
		(map { "ALTER TABLE $_ REPLICA IDENTITY DEFAULT;\n" } @incomplete),
		"ALTER EVENT TRIGGER multicenter_complete_policies ENABLE ALWAYS;\n");
	$self->group->{links}->wait_quiet;
	return;
}

# Merge columns of entries, and wait until all centers know.
sub set_columns
{
	my ($self, $entries) = @_;
	my ($first) = @{ $self->group->{members} };
	$first->{session}->run(join('', 'DELETE FROM multicenter.column_policy;', map { Columns::policy_sql($_->{shape}) =~ s/\{t\}/$_->{table}/gr } @$entries));
	$self->group->{links}->wait_quiet;
	return;
}

# Let columns be merged from now on, or not.  Links bring what they have held
# meanwhile.
sub switch_columns
{
	my ($self, $entries, $center, $merge) = @_;
	my @members = @{ $self->group->{members} };
	my $links = $self->group->{links};
	$self->free_all;
	$members[$center]{session}->run(join('', map { Columns::switch_sql($_->{shape}, $merge) =~ s/\{t\}/$_->{table}/gr } @$entries));
	$links->wait_quiet;
	my $should = 0;
	$should += $merge ? keys %{ $_->{shape}{columns} } : 0 foreach @$entries;
	my @is = map { $_->{session}->value('SELECT count(*) FROM multicenter.column_policies WHERE problem IS NULL') } @members;
	croak "@is columns are merged instead of $should" if grep { $_ != $should } @is;
	$links->hold_all;
	$self->{segment}++;
	$self->{merge} = $merge;
	return;
}

# Let handlers fail at a center, or work again.
sub block
{
	my ($self, $center, $block) = @_;
	$self->group->{members}[$center]{session}->run($block ? "INSERT INTO model_block VALUES (true);\n"
		: "TRUNCATE model_block;\nSELECT FROM multicenter.quarantine_retry();\n");
	return;
}

# Let everything flow.
sub free_all
{
	my ($self) = @_;
	$self->group->{links}->free_all;
	if ($self->{blocks})
	{
		$self->block($_, 0) foreach 0 .. 2;
	}
	return;
}

# What the author of a transaction had seen, and a position before its commit.
# After a crash of its server only the origin knows, until the link comes back.
# And the changes of which tables and keys wait in quarantine there.
my $seen_sql = "SELECT 'seen', %d, coalesce(string_agg(center_id || '=' || (coalesce(applied_lsn, multicenter.peer_applied(center_id)) - '0/0'), ' '), ''), pg_current_wal_insert_lsn() - '0/0'"
  . ", (SELECT string_agg(format('%%s=%%s.%%s.%%s', relation::regclass, key ->> 'id', peer_id, (extract(epoch FROM version) * 1000000)::bigint), ' ') FROM multicenter.quarantine_entry)"
  . ' FROM multicenter.peer_progress()';

# The events of a pattern, one after the other, until a check finds something
# wrong.  Returns whether the end was reached, and what is wrong with the group.
sub play
{
	my ($self, $pattern, $entries) = @_;
	my $links = $self->group->{links};
	my @members = @{ $self->group->{members} };
	my @by_event;
	foreach my $entry (@$entries)
	{
		push(@{ $by_event[ $_->{event} ][ $_->{center} ] }, { entry => $entry, transaction => $_ })
		  foreach @{ $entry->{transactions} };
	}
	# How many transactions each center had committed after a write event.
	my @ends = map { [] } @members;
	foreach my $event (@$pattern)
	{
		my ($kind, $from, $to) = @$event{qw(kind from to)};
		if ($kind eq 'write')
		{
			my @centers = grep { $by_event[ $event->{id} ][$_] } @{ $event->{centers} };
			$self->write_at($by_event[ $event->{id} ], @centers);
			push(@{ $ends[$_] }, [ $event->{id}, $self->{round}, $members[$_]{commits} ]) foreach @centers;
		}
		elsif ($kind eq 'race')
		{
			my $work = $by_event[ $event->{id} ][ $event->{center} ] or next;
			$self->race($event, $work);
			push(@{ $ends[ $event->{center} ] }, [ $event->{id}, $self->{round}, $members[ $event->{center} ]{commits} ]);
		}
		elsif ($kind eq 'deliver')
		{
			my @reached = grep { $_->[0] <= $event->{upto} } @{ $ends[$from] };
			$links->deliver($from, $to, @{ $reached[-1] }[ 1, 2 ]) if @reached;
		}
		elsif ($kind eq 'maintain')
		{
			$members[ $event->{center} ]{session}->run(
				join('', map { "$event->{command} $_->{table};\n" } @$entries));
		}
		elsif ($kind eq 'policy')  { $self->set_level($entries, @$event{qw(center level)}) }
		elsif ($kind eq 'clock')   { $members[ $event->{center} ]{clock}->set($event->{seconds}) }
		elsif ($kind eq 'restart') { $self->restart($event->{center}) }
		elsif ($kind eq 'columns') { $self->switch_columns($entries, @$event{qw(center merge)}) }
		elsif ($kind eq 'block')   { $self->block(@$event{qw(center block)}) }
		elsif ($kind eq 'check')
		{
			my $before = map { @{ $_->{problems} } } @$entries;
			my @trouble = $self->settle($entries);
			return (0, @trouble) if @trouble || $before < map { @{ $_->{problems} } } @$entries;
			$links->hold_all;
		}
		elsif ($kind eq 'free') { $links->free($from, $to) }
		else                    { $links->hold($from, $to) }
	}
	return 1;
}

# A center's server crashes and comes back.
sub restart
{
	my ($self, $index) = @_;
	my $group = $self->group;
	my $center = $group->{members}[$index]{center};
	$center->stop('immediate');
	$center->start;
	foreach my $member (grep { $_->{center}->node == $center->node } @{ $group->{members} })
	{
		$_->end foreach @{ $member->{sessions} };
		connect_to($member, $member->{prefix});
	}
	$group->{links}->set_limits_again;
	return;
}

# The transactions of one event at these centers, at the same time.
sub write_at
{
	my ($self, $by_center, @centers) = @_;
	my @members = @{ $self->group->{members} };
	my %work;
	$self->{round}++;
	foreach my $center (@centers)
	{
		my @work = @{ $by_center->[$center] };
		$work{$center} = \@work;
		my @scripts = ('', '');
		my $gate = $self->group->{links}->gate_sql($center, $self->{round});
		$scripts[ $_ % 2 ] .= script_of($gate, $work[$_]{entry}, $work[$_]{transaction}, $_) foreach 0 .. $#work;
		$members[$center]{sessions}[$_]->start($scripts[$_]) foreach 0 .. 1;
	}
	foreach my $center (@centers)
	{
		my @results = map { { rows => [] } } @{ $work{$center} };
		take_output(\@results, map { $_->finish } @{ $members[$center]{sessions} });
		$self->remember($members[$center], $work{$center}, \@results);
	}
	return;
}

# One transaction with the statements of many entries, which stays open until
# a link that was let go waits for it, or has nothing to bring.
sub race
{
	my ($self, $event, $work) = @_;
	my ($group, $center) = ($self->group, $event->{center});
	my $session = $group->{members}[$center]{session};
	my @results = map { { rows => [] } } @$work;
	my $gate = $group->{links}->gate_sql($center, ++$self->{round});
	my $script = "\\set ON_ERROR_ROLLBACK on\nBEGIN;\n$gate;\n";
	foreach my $number (0 .. $#$work)
	{
		my ($entry, $transaction) = @{ $work->[$number] }{qw(entry transaction)};
		$script .= "$_;\n" foreach statements_of($entry, $transaction, $number);
	}
	my @lines = $session->run("${script}SELECT 'xid', 0, pg_current_xact_id();\n\\set ON_ERROR_ROLLBACK off\n");
	$group->{links}->free($_, $center) foreach @{ $event->{from} };
	$self->{count}{races} += $group->{links}->wait_blocked($center, @{ $event->{from} }) if @{ $event->{from} };
	push(@lines, $session->run(($self->{policies} || $self->{columns} ? sprintf($seen_sql, 0) . ";\n" : '') . ($event->{rollback} ? 'ROLLBACK' : 'COMMIT')
			. ";\n\\echo state|0|:SQLSTATE\nROLLBACK;\n"));
	$group->{links}->hold($_, $center) foreach @{ $event->{from} };
	take_output(\@results, @lines);
	foreach my $result (@results)
	{
		@$result{qw(xid state seen lsn waiting)} = @{ $results[0] }{qw(xid state seen lsn waiting)};
		$result->{rolled_back} = $event->{rollback};
	}
	$self->remember($group->{members}[$center], $work, \@results);
	return;
}

# A transaction as one query string, so that an error ends it.
sub script_of
{
	my ($gate, $entry, $transaction, $number) = @_;
	my @sql = ('BEGIN', $gate, statements_of($entry, $transaction, $number), "SELECT 'xid', $number, pg_current_xact_id()",
		$entry->{shape}{policies} || $entry->{shape}{columns} ? sprintf($seen_sql, $number) : (), 'COMMIT');
	return join(" \\;\n", @sql) . ";\n\\echo state|$number|:SQLSTATE\nROLLBACK;\n";
}

# Its statements, each of which returns what it does.
sub statements_of
{
	my ($entry, $transaction, $number) = @_;
	my @sql;
	my @statements = @{ $transaction->{statements} };
	foreach my $i (0 .. $#statements)
	{
		my $sql = $statements[$i]{sql};
		$sql .= " RETURNING 'row', $number, $i, " . sprintf($row_of, '{t}')
		  if $statements[$i]{kind} =~ /^(?:put|key|delete)$/;
		push(@sql, $sql =~ s/\{t\}/$entry->{table}/gr);
	}
	return @sql;
}

# Sort output into the results of transactions.
sub take_output
{
	my ($results, @lines) = @_;
	foreach my $line (@lines)
	{
		my ($what, $number, @rest) = split(/\|/, $line, -1);
		if    ($what eq 'row')   { push(@{ $results->[$number]{rows} }, \@rest) }
		elsif ($what eq 'xid')   { $results->[$number]{xid} = $rest[0] }
		elsif ($what eq 'seen')
		{
			$results->[$number]{seen} = { map { split(/=/, $_) } split(/ /, $rest[0]) };
			@{ $results->[$number] }{qw(lsn waiting)} = @rest[ 1, 2 ];
		}
		elsif ($what eq 'state') { $results->[$number]{state} = $rest[0] }
		else                     { croak "unexpected output: $line" }
	}
	return;
}

# Enter what was committed into the history of its seed.
sub remember
{
	my ($self, $member, $work, $results) = @_;
	my @xids = map { $_->{xid} } grep { $_->{xid} } @$results;
	my %time;
	if (@xids)
	{
		foreach my $line ($member->{session}->run(
				"SELECT x, (extract(epoch FROM pg_xact_commit_timestamp(x::text::xid)) * 1000000)::bigint"
				  . " FROM unnest('{" . join(',', @xids) . "}'::bigint[]) x;\n"))
		{
			my ($xid, $time) = split(/\|/, $line);
			$time{$xid} = $time if $time ne '~';
		}
	}
	my $changes = $self->{columns} ? changes($member, keys %time) : {};
	$member->{commits} += keys %time;
	foreach my $i (0 .. $#$work)
	{
		my ($entry, $transaction) = @{ $work->[$i] }{qw(entry transaction)};
		my $result = $results->[$i];
		$self->{count}{transactions}++;
		my $time = defined $result->{xid} ? $time{ $result->{xid} } : undef;
		if (!defined $time)
		{
			$self->{count}{failed}++;
			my $state = $result->{state} || 'unknown';
			my $expected = $expected_error{$state} || $entry->{shape}{split} && $state eq $moved_error;
			push(@{ $entry->{errors} }, "$transaction->{name}: error $state");
			push(@{ $entry->{problems} }, "transaction $transaction->{name} at $member->{name}: unexpected error $state")
			  if ($state eq '00000' || !$expected) && !$result->{rolled_back};
			next;
		}
		push(@{ $entry->{history} }, {
			name => $transaction->{name}, center => $member->{id}, time => $time, xid => $result->{xid},
			seen => $result->{seen}, lsn => $result->{lsn}, waiting => waiting($entry, $result->{waiting}),
			segment => $self->{segment}, merge => $self->{merge},
			sequence => ++$self->{sequence}, operations => operations($transaction, $result->{rows}),
			changes => $changes->{ $result->{xid} }{ $entry->{table} } // [] });
	}
	return;
}

# Of changes in quarantine those of an entry: { "key.center.time" => 1 }.
sub waiting
{
	my ($entry, $list) = @_;
	my %table = map { ($_ => 1) } tables_of($entry);
	return { map { my ($table, $change) = split(/=/, $_); $table{$table} ? ($change => 1) : () } split(/ /, $list // '') };
}

# What committed transactions did, as a trigger has seen it: by number and table.
sub changes
{
	my ($member, @xids) = @_;
	my %changes;
	foreach my $line (@xids ? $member->{session}->run("SELECT xid, tab, op, old_row, new_row FROM model_change"
			  . " WHERE xid = ANY ('{" . join(',', @xids) . "}') ORDER BY number;\n") : ())
	{
		my ($xid, $table, @change) = split(/\|/, $line, -1);
		push(@{ $changes{$xid}{$table} }, Columns::operation(\@columns, @change));
	}
	return \%changes;
}

# What a committed transaction did, in the order of its statements.
sub operations
{
	my ($transaction, $rows) = @_;
	my @statements = @{ $transaction->{statements} };
	my @returned;
	push(@{ $returned[ $_->[0] ] }, $_) foreach @$rows;
	my @operations;
	foreach my $i (grep { !$statements[$_]{undone} } 0 .. $#statements)
	{
		my $statement = $statements[$i];
		push(@operations, [ 'truncate', $statement->{keys} ]) if $statement->{kind} eq 'truncate';
		foreach my $returned (@{ $returned[$i] || [] })
		{
			my (undef, $id, @values) = @$returned;
			push(@operations, [ 'delete', $statement->{old} ]) if $statement->{kind} eq 'key';
			push(@operations, $statement->{kind} eq 'delete' ? [ 'delete', $id ] : [ 'put', $id, row(@values) ]);
		}
	}
	return \@operations;
}

# A row as a hash of its values.
sub row
{
	my (@values) = @_;
	my %row;
	@row{@columns} = map { $_ eq '~' ? undef : $_ } @values;
	return \%row;
}

sub row_text
{
	my ($row) = @_;
	return '(' . join(', ', map { "$_ " . ($row->{$_} // '~') } @columns) . ')';
}

#
# The end
#

# Wait until all is applied and the centers hold what the model says; what
# differs still when the time is up are the problems of each entry.
sub settle
{
	my ($self, $entries) = @_;
	my @members = @{ $self->group->{members} };
	$self->free_all;
	my @trouble = $self->group->{links}->wait_quiet;
	$self->read_levels(@$entries) if $self->{policies};
	foreach my $entry (@$entries)
	{
		@$entry{qw(visible displaced)} = Model::final(Schedule::clash($entry->{shape}), $entry->{shape}, @{ $entry->{history} });
		$self->{count}{checks}++;
		$self->{count}{rows} += keys %{ $entry->{visible} };
		$self->{count}{displaced} += keys %{ $entry->{displaced} };
	}
	my $deadline = time + $self->{settle};
	my @open = @$entries;
	while (1)
	{
		$self->look(@open);
		my @differ = grep { differences($_, @members) } @open;
		# What was right once must stay so: look at all of them again.
		if (!@differ)
		{
			last if @open == @$entries;
			@open = @$entries;
			next;
		}
		@open = @differ;
		last if @trouble || time > $deadline;
		usleep(100_000);
	}
	push(@{ $_->{problems} }, differences($_, @members)) foreach @$entries;
	return @trouble;
}

# Read the tables of entries at each center, and what is displaced there.
sub look
{
	my ($self, @entries) = @_;
	my @members = @{ $self->group->{members} };
	my $script = join('', map {
			"SELECT $_, " . sprintf($row_of, 't')
			  . ", (extract(epoch FROM pg_xact_commit_timestamp(t.xmin)) * 1000000)::bigint"
			  . " FROM $entries[$_]{table} t ORDER BY 2;\n" } 0 .. $#entries);
	$script .= "SELECT 'displaced', relation::regclass, key ->> 'id', row ->> 'v' FROM multicenter.displaced;\n";
	@$_{qw(rows shown)} = ([ map { {} } @members ], [ map { {} } @members ]) foreach @entries;
	my %by_table = map { my $entry = $_; map { ($_ => $entry) } tables_of($entry) } @entries;
	$_->{session}->start($script) foreach @members;
	foreach my $member (@members)
	{
		foreach my $line ($member->{session}->finish)
		{
			my ($i, $id, @values) = split(/\|/, $line, -1);
			if ($i eq 'displaced')
			{
				my $entry = $by_table{$id};
				$entry->{shown}[ $member->{index} ]{ $values[0] } = $values[1] if $entry;
				next;
			}
			my $time = pop(@values);
			my $rows = $entries[$i]{rows}[ $member->{index} ];
			push(@{ $entries[$i]{problems} }, "$member->{name} has two rows with the key $id") if $rows->{$id};
			$rows->{$id} = { %{ row(@values) }, time => $time };
		}
	}
	return;
}

# Lines that say where the centers differ from the model: rows, and those that
# the view shows as displaced.
sub differences
{
	my ($entry, @members) = @_;
	my @lines;
	my %displaced = map { ($_ => $entry->{displaced}{$_}{v}) } keys %{ $entry->{displaced} };
	foreach my $member (@members)
	{
		my ($is, $should) = map { my $of = $_; join(', ', map { "$_ $of->{$_}" } sort keys %$of) }
		  $entry->{shown}[ $member->{index} ], \%displaced;
		push(@lines, "$member->{name}: the view displaced has ($is), should have ($should)") if $is ne $should;
		my $rows = $entry->{rows}[ $member->{index} ];
		my %keys = (%$rows, %{ $entry->{visible} });
		foreach my $key (sort { $a <=> $b } keys %keys)
		{
			my ($here, $visible, $displaced) = ($rows->{$key}, $entry->{visible}{$key}, $entry->{displaced}{$key});
			my $is = $here ? row_text($here) : 'nothing';
			my $should = $visible ? row_text($visible) : 'nothing';
			next if $is eq $should;
			$should = 'displaced ' . row_text($displaced) if $displaced;
			push(@lines, "$member->{name}, key $key: has $is, should have $should");
		}
	}
	return @lines;
}

# What must be true of the group as a whole when it is quiet.
sub check_group
{
	my ($self, $entries) = @_;
	my @trouble;
	foreach my $member (@{ $self->group->{members} })
	{
		my $session = $member->{session};
		push(@trouble, map { "$member->{name}: the link has failed: $_" } $session->run(
				q{SELECT peer, retries, last_error_sqlstate, last_error FROM multicenter.stat_links
				  WHERE direction = 'in' AND last_error_sqlstate !~ '^(40001|40P01|08...|57P0.|38000)$'
					AND last_error !~ '^waiting for changes of center';}));
		# What is void is found to be so within a second.
		my @waiting;
		my $deadline = time + $self->{settle};
		while (@waiting = $session->run("SELECT * FROM multicenter.quarantine;\n"))
		{
			last if time > $deadline;
			usleep(100_000);
		}
		push(@trouble, map { "$member->{name}: in quarantine: $_" } @waiting);
		check_indexes($member, $entries);
	}
	return @trouble;
}

# When the tables are gone and everything is quiet nothing has to be
# remembered any more.  Returns what is not forgotten in time.
sub check_forgotten
{
	my ($self) = @_;
	my $group = $self->{group} or return;
	my @left;
	my $deadline = time + 20;
	foreach my $member (@{ $group->{members} })
	{
		foreach my $table (grep {
				$member->{session}->value("SELECT to_regclass('multicenter.$_')") ne '~' } qw(key_note truncation))
		{
			my @rows;
			do
			{
				@rows = $member->{session}->run("SELECT * FROM multicenter.$table LIMIT 5;\n");
				usleep(100_000) if @rows;
			} while (@rows && time < $deadline);
			push(@left, map { "$member->{name}: multicenter.$table: $_" } @rows);
		}
	}
	return @left;
}

# Indexes hold what the tables hold.
sub check_indexes
{
	my ($member, $entries) = @_;
	my $script = '';
	foreach my $i (0 .. $#$entries)
	{
		$script .= "SELECT CASE relam WHEN 403 THEN bt_index_check(indexrelid, true) END"
		  . " FROM pg_index JOIN pg_class c ON c.oid = indexrelid"
		  . " WHERE indrelid = '$_'::regclass;\n\\echo $i|:SQLSTATE|:LAST_ERROR_MESSAGE\n" foreach tables_of($entries->[$i]);
	}
	foreach my $line (grep { /^\d+\|/ } $member->{session}->run($script))
	{
		my ($i, $state, $message) = split(/\|/, $line);
		push(@{ $entries->[$i]{problems} }, "$member->{name}: index check: $message") if $state ne '00000';
	}
	return;
}

#
# What a person reads
#

# The whole story of an entry.
sub story
{
	my ($self, $entry, $pattern) = @_;
	my $table = Schedule::create_sql($entry->{shape});
	my @lines = split(/\n/, $table);
	my %history = map { ($_->{name} => $_) } @{ $entry->{history} };
	my @names = map { $_->{name} } @{ ($self->{group} || { members => [] })->{members} };
	@names = ('center 0', 'center 1', 'center 2') unless @names;
	foreach my $event (@$pattern)
	{
		if ($event->{kind} eq 'race')
		{
			push(@lines, "event $event->{id}: race at $names[ $event->{center} ] with the links from "
				  . join(', ', map { $names[$_] } @{ $event->{from} }));
		}
		elsif (defined $event->{center})
		{
			push(@lines, "event $event->{id}: " . ($event->{command} || join(' ', grep { defined } @$event{qw(kind seconds merge block)})) . " at $names[ $event->{center} ]");
			next;
		}
		elsif ($event->{kind} eq 'check')
		{
			push(@lines, "event $event->{id}: check");
			next;
		}
		elsif ($event->{kind} ne 'write')
		{
			my $upto = defined $event->{upto} ? " up to event $event->{upto}" : '';
			push(@lines, "event $event->{id}: $event->{kind} $names[ $event->{from} ] -> $names[ $event->{to} ]$upto");
			next;
		}
		foreach my $transaction (grep { $_->{event} == $event->{id} } @{ $entry->{transactions} })
		{
			my $done = $history{ $transaction->{name} };
			push(@lines, "event $event->{id}: transaction $transaction->{name} at $names[ $transaction->{center} ], "
				  . ($done ? "version $done->{time}." . "$done->{center}, xid $done->{xid}" . ($done->{level} ? ", level $done->{level}" : '') : 'rolled back'));
			push(@lines, map { "    $_->{sql}" } @{ $transaction->{statements} });
			push(@lines, map { my ($kind, $old, $new) = @$_;
					"    => $kind" . ($kind eq 'TRUNCATE' ? " @$old" : join(' to', map { " $_->{id} " . row_text($_) } grep { $_ } $old, $new)) }
				  @{ $done->{changes} }) if $done && $done->{merge};
			push(@lines, map { my ($kind, $key, $row) = @$_;
					"    => $kind " . ($kind eq 'truncate' ? "@$key" : $key) . ($row ? ' ' . row_text($row) : '') }
				  @{ $done->{operations} }) if $done && !$done->{merge};
		}
	}
	push(@lines, 'problems:', map { "    $_" } @{ $entry->{problems} });
	push(@lines, 'the model says:',
		(map { "    $_: visible " . row_text($entry->{visible}{$_}) } sort keys %{ $entry->{visible} || {} }),
		(map { "    $_: displaced " . row_text($entry->{displaced}{$_}) } sort keys %{ $entry->{displaced} || {} }));
	foreach my $i (0 .. $#names)
	{
		my $rows = $entry->{rows}[$i] || {};
		push(@lines, "$names[$i] holds, written at:",
			map { "    $_: " . row_text($rows->{$_}) . " $rows->{$_}{time}" } sort keys %$rows);
	}
	return join("\n", @lines) =~ s/\{t\}/t/gr . "\n";
}

1;
