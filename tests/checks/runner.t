#!/usr/bin/perl
# The runner of the tests itself, over tiny programs that hang, spin, crash, bail out or are only slow: each is judged for
# what it is, none keeps the others from running, and the closing line adds all of it up.
use strict;
use warnings;
use FindBin;
use File::Temp qw(tempdir);
use Time::HiRes qw(sleep);
my $run = "$FindBin::Bin/../run";
my $dir = tempdir(CLEANUP => 1);
chdir $dir or die;
my ($n, $bad) = (0, 0);
$| = 1;

sub ok { my ($good, $what, @why) = @_; $n++; $bad++ if !$good;
    print "# $_\n" for map { split /\n/ } $good ? () : @why; print $good ? "ok" : "not ok", " $n - $what\n"; }

# A program of the shell named NAME.
sub program {
    my ($name, $text) = @_;
    open my $out, '>', $name or die "$name: $!";
    print $out "#!/bin/bash\n$text\n";
    close $out or die;
    chmod 0755, $name;
}
sub run_all { # what it said, its closing line, its exit status
    my @words = @_;
    open my $in, '-|', 'sh', '-c', 'exec "$@" 2>&1', 'sh', $run, @words or die;
    my @lines = <$in>;
    close $in;
    chomp @lines;
    return (join("\n", @lines), $lines[-1], $? >> 8);
}
sub lives { # whether the process whose id is in the file is there
    open my $in, '<', $_[0] or return 0;
    my $pid = <$in> // 0;
    return kill 0 => $pid;
}

program('good', 'echo 1..2; echo "ok 1 - a"; echo "ok 2 - b # SKIP no need"');
program('skipped', 'echo "1..0 # SKIP nothing here"');
program('fails', 'echo "ok 1 - a"; echo "# why it failed"; echo "not ok 2 - b"; echo 1..2; exit 1');
program('hangs', 'echo "ok 1 - a"; echo "# in the middle"; setsid sleep 3000 & echo $! >hangs.pid; sleep 3000; echo "ok 2 - b"; echo 1..2');
program('deaf', 'trap "" TERM; echo "ok 1 - a"; while :; do sleep 1; done');
program('names', 'trap "echo not ok 1 - the long one; exit 143" TERM; sleep 3000 & wait');
program('spins', 'echo "ok 1 - a"; while :; do :; done');
program('chatters', 'echo "ok 1 - a"; while :; do echo "# still there"; sleep 0.2; done');
program('crashes', 'echo "ok 1 - a"; echo "# last words"; kill -SEGV $$');
program('quits', 'echo "ok 1 - a"; echo "ok 2 - b"; exit 3');
program('planless', 'echo "ok 1 - a"');
program('short', 'echo 1..3; echo "ok 1 - a"');
program('silent', 'exit 0');
program('bails', 'echo "ok 1 - a"; echo "Bail out! no use"');
program('slow', 'for i in 1 2 3 4 5 6 7 8 9; do sleep 1; echo "ok $i - slowly"; done; echo 1..9');
program('long', 'echo "# within 3000 s"; sleep 8; echo "ok 1 - a long one"; echo 1..1');
program('leaves', 'setsid sleep 3000 & echo $! >leaves.pid; echo "ok 1 - a"; echo 1..1');
program('last', 'echo "ok 1 - a"; echo 1..1');

my @all = qw(good skipped fails hangs deaf names spins chatters crashes quits planless short silent bails slow long leaves ./none last);
my ($said, $closing, $status) = run_all('-j', 6, '-t', 5, @all, 'good');
my %told = map { my $name = $_; $name => ($said =~ /^(failed: \Q$name\E(?:\n    .*|: .*)(?:\n    .*)*)/m)[0] // '' } @all;
my $other = sub { join "\n", grep { /^(failed|note|skipped): \Q$_[0]\E/ } split /\n/, $said };
ok($told{hangs} =~ /no result for 5 s of its own time, in which it used 0\.\d s/, 'a program that hangs is ended, and told to have hung', $said);
ok($told{hangs} =~ /in the middle/, 'what it said last is told', $told{hangs});
ok(!lives('hangs.pid'), 'what it had started in a session of its own is ended too');
ok($told{deaf} =~ /no result for/, 'so is one that does not listen to SIGTERM', $said);
ok($said =~ /^failed: names\n    not ok 1 - the long one/m, 'a program that is ended may say which case it was in', $said);
ok($told{spins} =~ /no result for 5 s of its own time, in which it used [1-9]/, 'a program that spins is ended, and told to have spun', $said);
ok($told{chatters} =~ /no result for/, 'remarks are no progress', $said);
ok($told{crashes} =~ /exit 139; killed by signal 11.*\n    # last words/, 'a program that crashes has failed, by which signal, and with its last words', $said);
ok($told{quits} =~ /exit 3/, 'so has one that told good cases only and ended badly', $said);
ok($told{planless} =~ /No plan/ && $told{short} =~ /planned 3/ && $told{silent} =~ /No plan/, 'so has one without a plan, or with more in it than came', $said);
ok($told{bails} =~ /exit 125.*\n    # Bail out! no use/, 'one that bails out has failed alone', $said);
ok($told{'./none'} =~ /cannot run/, 'one that is not there has failed alone', $said);
ok($told{fails} =~ /# why it failed\n    not ok 2 - b/, 'a failed case is told with what it said', $said);
ok(!grep({ $other->($_) } qw(slow long last good)), 'one that is slow and goes on is left alone, so is one that says how much it needs', $said);
ok($other->('leaves') =~ /^note: .*left running, and was killed: \S+ \(\d+\)/ && !lives('leaves.pid'), 'what a program leaves running is told and ended', $said);
ok($other->('skipped') =~ /^skipped: skipped: nothing here/, 'a skip is told with its reason', $said);
# Passed: good 1, fails 1, hangs 1, deaf 1, spins 1, chatters 1, crashes 1, quits 2, planless 1, short 1, bails 1, slow 9, long 1, leaves 1, last 1.
# Failed: one case each of fails and names; and hangs deaf names spins chatters crashes quits planless short silent bails none as programs;
# what did not come of short counts as its cases.
ok($closing eq '24 passed, 14 failed, 2 skipped', 'the closing line adds all up', $closing);
ok($status == 1, 'and the exit status says that something failed', $status);

($said, $closing, $status) = run_all('good', 'last');
ok($closing eq '2 passed, 0 failed, 1 skipped' && $status == 0, 'when nothing failed it is 0', $said);
($said, $closing, $status) = run_all('skipped');
ok($closing eq '0 passed, 0 failed, 1 skipped' && $status == 1, 'nothing but skips is no success', $said);
($said, $closing, $status) = run_all();
ok($closing eq '0 passed, 0 failed, 0 skipped' && $status == 1, 'nor is nothing at all', $said);

# Beside so many that keep the machine busy, each result takes several times as long as is allowed, by the clock.
open my $cpuinfo, '<', '/proc/stat' or die;
my $processors = grep { /^cpu\d/ } <$cpuinfo>;
program('works', 'for i in 1 2 3; do perl -e \'while ((times)[0] < 1) { $x++ for 1 .. 1e5 }\'; echo "ok $i - worked"; done; echo 1..3');
my @load = map { my $pid = fork // die; if (!$pid) { alarm 120; while (1) { } } $pid } 1 .. 6 * $processors;
($said, $closing, $status) = run_all('-t', 3, 'works');
kill KILL => @load;
waitpid $_, 0 for @load;
ok($closing eq '3 passed, 0 failed, 0 skipped', 'a machine that others keep busy ends nobody', $said);

# Whoever ends the runner ends what it started.
program('waits', 'echo $$ >waits.pid; mv waits.pid waits.here; sleep 3000');
my $runner = fork // die;
if (!$runner) {
    open STDOUT, '>', '/dev/null';
    open STDERR, '>&', \*STDOUT;
    exec $run, 'waits';
}
sleep 0.05 until -e 'waits.here';
kill KILL => $runner;
waitpid $runner, 0;
sleep 0.05 while lives('waits.here');
ok(1, 'a runner that is killed leaves nothing running');
print "1..$n\n";
exit($bad ? 1 : 0);
