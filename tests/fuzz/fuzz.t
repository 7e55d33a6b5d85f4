#!/usr/bin/perl
# Every fuzz target: first its corpus, where each former find lies, then some time of fuzzing from there. A failure prints the
# input in base64, to be put into the corpus once it is understood.
#   TRIMTAB_FUZZ_BUILD     build folder of the fuzz preset, build/fuzz
#   TRIMTAB_FUZZ_SECONDS   of each target, 15; 0 with TRIMTAB_QUICK: the corpus only
#   TRIMTAB_FUZZ_JOBS      targets at the same time, 2
# Build: fuzz/all
use strict;
use warnings;
use File::Basename qw(basename dirname);
use File::Temp qw(tempdir);
use Cwd qw(abs_path);
use MIME::Base64 qw(encode_base64);

my $root = abs_path(dirname(abs_path($0)) . '/../..');
my $build = $ENV{TRIMTAB_FUZZ_BUILD} || "$root/build/fuzz";
my $seconds = $ENV{TRIMTAB_FUZZ_SECONDS} // ($ENV{TRIMTAB_QUICK} ? 0 : 15);
my $jobs = $ENV{TRIMTAB_FUZZ_JOBS} || 2;
my $scratch = tempdir(CLEANUP => 1);
my @targets = sort grep { -f && -x } glob "$build/fuzz/fuzz_*";

$| = 1;
$ENV{ASAN_OPTIONS} = 'allocator_may_return_null=1:detect_leaks=1:handle_abort=1';
$ENV{UBSAN_OPTIONS} = 'print_stacktrace=1';

# One pass of a target in a process of its own, its output in a file.
sub start {
    my ($target, $pass, @args) = @_;
    my $log = "$scratch/" . basename($target) . ".$pass";
    my $pid = fork // die "fork: $!";
    return ($pid, $log) if $pid;
    open STDOUT, '>', $log or die "$log: $!";
    open STDERR, '>&', \*STDOUT or die "stderr: $!";
    exec $target, '-timeout=10', '-rss_limit_mb=2048', "-artifact_prefix=$log.", @args;
    die "$target: $!";
}

sub seeds { my @files = glob "$root/fuzz/corpus/$_[0]/*"; return scalar @files }

sub report {
    my ($log) = @_;
    open my $in, '<', $log or return;
    my @lines = <$in>;
    # What was wrong comes first, the stack behind it: the tail alone may be only statistics.
    my ($first) = grep { $lines[$_] =~ /ERROR|broken promise|runtime error/ } 0 .. $#lines;
    @lines = @lines[($first // ($#lines > 30 ? $#lines - 30 : 0)) .. $#lines];
    splice @lines, 40 if @lines > 40;
    print "# $_" for @lines;
    print "\n" if @lines && $lines[-1] !~ /\n\z/;
    for my $artifact (glob "$log.crash-* $log.leak-* $log.timeout-* $log.oom-*") {
        open my $bytes, '<:raw', $artifact or next;
        local $/;
        print '# ', basename($artifact), ': ', encode_base64(<$bytes>, ''), "\n";
    }
}

my ($n, $failed, %running) = (0, 0);
sub result {
    my ($good, $what, $log) = @_;
    $n++;
    print $good ? "ok $n - $what\n" : "not ok $n - $what\n";
    return if $good;
    $failed++;
    report($log);
}

sub reap {
    my $pid = wait;
    my $status = $?;
    my $r = delete $running{$pid} or return;
    result($status == 0, "$r->{name}: $r->{what}", $r->{log});
    return if $status || $r->{pass} eq 'fuzz' || !$seconds;
    my $own = "$scratch/corpus.$r->{name}";
    mkdir $own or die "$own: $!";
    # What is found goes to the scratch folder: the repository's corpus is only read.
    my ($next, $log) = start($r->{target}, 'fuzz', "-max_total_time=$seconds", '-max_len=8192', '-print_final_stats=0', $own,
        (-d "$root/fuzz/corpus/$r->{name}" ? "$root/fuzz/corpus/$r->{name}" : ()));
    $running{$next} = { %$r, pass => 'fuzz', log => $log, what => "nothing is found in $seconds seconds" };
}

if (!@targets) {
    print "1..1\nnot ok 1 - there are fuzz targets in $build\n";
    exit 1;
}
for my $target (@targets) {
    (my $name = basename($target)) =~ s/^fuzz_//;
    if (!seeds($name)) {
        result(0, "$name: it has a corpus", '/dev/null');
        next;
    }
    reap() while keys %running >= $jobs;
    my ($pid, $log) = start($target, 'corpus', '-runs=0', "$root/fuzz/corpus/$name");
    $running{$pid} = { target => $target, name => $name, pass => 'corpus', log => $log,
        what => 'all of ' . seeds($name) . ' inputs of the corpus hold' };
}
reap() while %running;
print "1..$n\n";
exit($failed ? 1 : 0);
