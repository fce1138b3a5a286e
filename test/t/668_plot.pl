# Goal: the picture that ./demo --plot draws shows its samples, and the one that
# the documentation shows is one.
#
# Method: known samples, whose places in the picture can be computed.
use strict;
use warnings;

use IPC::Run;
use Multicenter::Monitoring;
use PostgreSQL::Test::Utils ();
use Test::More;

sub plot
{
	my ($samples) = @_;
	my ($out, $err) = ('', '');
	my $fine = IPC::Run::run([ source_file('test/lib/plot'), 'a < b & c' ], '<', \$samples, '>', \$out, '2>', \$err);
	return ($fine, $out, $err);
}

# Elements that are opened are closed, and text has no bare < or &.
sub well_formed
{
	my ($svg) = @_;
	my @open;
	while ($svg =~ m{<(/?)(\w+)((?:\s+[\w:-]+="[^"<]*")*)\s*(/?)>|([^<>]+)}g)
	{
		my ($end, $name, undef, $empty, $text) = ($1, $2, $3, $4, $5);
		if (defined $text) { return 0 if $text =~ /&(?!(?:amp|lt|gt);)/ }
		elsif ($end) { return 0 unless @open && pop(@open) eq $name }
		elsif (!$empty) { push(@open, $name) }
	}
	return !@open && $svg =~ /\A<svg /;
}

my ($fine, $svg, $err) = plot(join("\n", "Lag\tx → y\t0\t10", "Lag\tx → y\t5\t50", "Lag\tx → y\t10\t90", "Rate\tz\t0\t1", "Rate\tz\t10\t1", "Lag\tx → y\t-1\t7", "Lag\tx → y\t3\t"));
ok($fine, 'it draws');
is($err, '', 'without a warning');
ok(well_formed($svg), 'the picture is well-formed');
like($svg, qr/>a &lt; b &amp; c</, 'with its title');
# 710 wide from 70 on; the first diagram from 60 to 270, up to 100.
like($svg, qr/<path d="M70\.0 249\.0L425\.0 165\.0L780\.0 81\.0"/, 'samples are where they belong, and others are left out');
is(scalar(() = $svg =~ /stroke-linejoin/g), 2, 'a line for each');
($fine, $svg, $err) = plot('');
ok(!$fine, 'nothing is no picture');

my $guide = PostgreSQL::Test::Utils::slurp_file(source_file('docs/monitoring.md'));
my ($shown) = $guide =~ /!\[[^\]]+\]\((\w+\.svg)\)/;
$svg = PostgreSQL::Test::Utils::slurp_file(source_file("docs/$shown"));
ok(well_formed($svg), "$shown is well-formed");
is(scalar(() = $svg =~ /stroke-linejoin/g), 9, 'it has six links and three centers');
foreach my $name (map { my $from = $_; map { "$from → $_" } grep { $_ ne $from } qw(lisbon oslo tokyo) } qw(lisbon oslo tokyo))
{
	like($svg, qr/>$name</, "the link $name");
}

done_testing();
